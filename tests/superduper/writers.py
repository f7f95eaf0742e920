"""What the versions of Superduper write: rows, and the folder `filesystem://` names.

Each writer does what Superduper's code of that version does to a document with a pickled value in
`x` and a file or directory in `f`, as its FileSystemArtifactStore, DataType and Document have it.
"""

import hashlib
import os
import pickle
import random
import shutil
from pathlib import Path


def sha1(data):
    return hashlib.sha1(data).hexdigest()


class Writer:
    """FileSystemArtifactStore, and the document that refers to it."""

    def __init__(self, folder, blobs="", files=""):
        self.blobs, self.files = Path(folder, blobs), Path(folder, files)
        self.blobs.mkdir(parents=True, exist_ok=True)
        self.files.mkdir(parents=True, exist_ok=True)

    def put_bytes(self, data, file_id):
        (self.blobs / file_id).write_bytes(data)

    def put_file(self, path, file_id):
        target = self.files / file_id / Path(path).name
        target.parent.mkdir(exist_ok=True)
        if Path(path).is_dir():
            shutil.copytree(path, target)
        else:
            shutil.copy(path, target)

    def put_pickle(self, value, file_id):
        self.put_bytes(pickle.dumps(value), file_id)
        return file_id

    def document(self, key, x, f):
        raise NotImplementedError


class Content(Writer):
    """The releases before 0.1.4: leaves in the row, and random ids of files."""

    def document(self, key, x, f):
        file_id = hashlib.sha1(random.Random(key).randbytes(256)).hexdigest()
        self.put_file(f, file_id)
        blob = {"bytes": None, "datatype": "pickle", "leaf_type": "lazy_artifact", "sha1": None}
        blob |= {"uri": None, "file_id": self.put_pickle(x, sha1(pickle.dumps(x)))}
        file = {"datatype": "file", "leaf_type": "file", "uri": str(f), "artifact_type": "file"}
        # save_artifact() puts what _save_file() returns in the place of the id.
        file |= {"file_id": f"{file_id}/{Path(f).name}", "id": f"_file/{file_id}"}
        row = {"id": key, "x": {"_content": blob}, "f": {"_content": file}}
        return row | {"_fold": "train", "_id": object()}


class Builds(Writer):
    """0.1.4 to 0.3 without a schema: leaves in `_builds`, and files by the MD5 of metadata."""

    def document(self, key, x, f):
        blob, file_id = self.put_pickle(x, sha1(pickle.dumps(x))), self._hash_path(f)
        self.put_file(f, file_id)
        leaf = {"uuid": f"uuid-{key}", "uri": None, "datatype": "?pickle"}
        module = "superduper.components.datatype"
        name = Path(f).name.replace(".", "__")
        builds = {
            blob: {"_path": f"{module}.Artifact", **leaf, "blob": f"&:blob:{blob}"},
            file_id: {"_path": f"{module}.File", **leaf, "x": f"&:file:{name}:{file_id}"},
            "pickle": {"_path": f"{module}.get_serializer", "method": "pickle"},
        }
        row = {"id": key, "x": f"?{blob}", "f": f"?{file_id}", "_builds": builds}
        return row | {"_blobs": {}, "_files": {}, "_fold": "train"}

    @staticmethod
    def _hash_path(path):
        digest = hashlib.md5(os.path.abspath(path).encode())
        files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        for file in files:
            stat = file.stat()
            digest.update(f"{file.name}{stat.st_size}{stat.st_mtime}".encode())
        return digest.hexdigest()


class Named(Writer):
    """0.1.4 to 0.3 with a schema: references in the row, and files by the SHA-1 of the path."""

    def reference(self, f):
        name = os.path.basename(str(f).rstrip("/")).replace(".", "__")
        return f"&:file:{name}:{sha1(str(f).encode())}"

    def document(self, key, x, f):
        self.put_file(f, sha1(str(f).encode()))
        blob = self.put_pickle(x, sha1(pickle.dumps(x)))
        row = {"id": key, "x": f"&:blob:{blob}", "f": self.reference(f), "_schema": "my-schema"}
        return row | {"_builds": {}, "_blobs": {}, "_files": {}, "_fold": "train"}


class Unnamed(Named):
    """0.4 and 0.5: the same, without the name of the file."""

    def reference(self, f):
        return f"&:file:{sha1(str(f).encode())}"


class Hashed(Writer):
    """0.6 and later: blobs by a hash of the value, and files by the SHA-256 of metadata."""

    def document(self, key, x, f):
        stat = f.stat()
        header = f"{f.name}:{stat.st_size}:{stat.st_mtime}"
        file_id = hashlib.sha256(header.encode()).hexdigest()
        self.put_file(f, file_id)
        blob = self.put_pickle(x, self._hash_indescript(x))
        return {"id": key, "x": f"&:blob:{blob}", "f": f"&:file:{file_id}", "_fold": "train"}

    @staticmethod
    def _hash_indescript(x):
        if isinstance(x, str):
            return hashlib.sha256(x.encode()).hexdigest()
        return hex(hash(x))


WRITERS = (Content, Builds, Named, Unnamed, Hashed)
