"""Where what was accepted is unpacked: nothing may appear beside it, and no link may lead out."""

import io
import os
from pathlib import Path

from sqla_artifacts import ArtifactStore
from sqla_artifacts.checkout import unpack_to
from sqla_artifacts.digest import digest_of
from sqla_artifacts.errors import (
    BlobCorruptedError,
    BlobNotFoundError,
    InvalidTreeError,
    UnpackError,
)
from sqla_artifacts.folder import DESCRIPTORS
from sqla_artifacts.leftovers import remove_tree
from sqla_artifacts.payload import Payload
from sqla_artifacts.reference import Reference, label_of
from sqla_artifacts.unpacking import unpack_tree
from tests.trees import listing

from .manifests import CONTENTS, LARGE, expected

ONE = b"x"
PROPER = (BlobNotFoundError, BlobCorruptedError, InvalidTreeError, UnpackError)


class Sandbox:
    """Directories in each other, and a store with one blob."""

    def __init__(self, root):
        self.root = Path(root)
        self.inner = self.root / "a" / "b" / "c"
        self.inner.mkdir(parents=True)
        self.store = ArtifactStore("memory://")
        self.digest = digest_of(ONE, "blake3")
        self.store.put([(Payload(self.digest, len(ONE), ONE), 0)])
        self.before = self._everything()

    def _everything(self):
        return sorted(os.walk(self.root))

    def unpack_tree(self, manifest, blobs):
        """Unpack a manifest in both ways, and return what came of it."""
        results = {self._unpack(manifest, blobs, way) for way in {DESCRIPTORS, False}}
        assert len(results) == 1, results
        return results.pop()

    def _unpack(self, manifest, blobs, descriptors):
        blobs = CONTENTS | LARGE | blobs
        target = self.inner / "target"

        def open_blob(digest):
            if digest not in blobs:
                raise BlobNotFoundError(digest)
            return io.BytesIO(blobs[digest])

        try:
            unpack_tree(manifest, open_blob, target, algorithm="blake3", descriptors=descriptors)
        except PROPER as error:
            assert self._everything() == self.before
            return type(error).__name__
        assert os.listdir(self.inner) == ["target"]
        assert listing(target) == expected(manifest, blobs)
        root = os.path.realpath(target)
        for member in manifest.members:
            real = os.path.realpath(os.path.join(root, member.path))
            assert os.path.commonpath([root, real]) == root, (member, real)
        remove_tree(os.fspath(target))
        assert self._everything() == self.before
        return "unpacked"

    def unpack_file(self, name):
        """Unpack a file of that name out of the store."""
        reference = Reference("file", self.digest, len(ONE), label_of(name))
        path = unpack_to(self.store, reference, self.inner)
        assert path.parent == self.inner
        assert [path.name] == os.listdir(self.inner)
        assert path.read_bytes() == ONE
        path.unlink()
        assert self._everything() == self.before
        return "unpacked"
