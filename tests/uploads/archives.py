"""Zip and tar files for the tests: of directories, of members, and of members that lie."""

import io
import os
import stat
import tarfile
import warnings
import zipfile
from pathlib import Path

COMPRESSIONS = {"tar": "w", "tar.gz": "w:gz", "tar.bz2": "w:bz2", "tar.xz": "w:xz"}


def member(name, data=b"", **attributes):
    """A tar member: its header and its content."""
    header = tarfile.TarInfo(name)
    header.size = len(data)
    for key, value in attributes.items():
        setattr(header, key, value)
    return header, data


def tar_of(*members, mode="w", **options):
    """The bytes of a tar file."""
    fp = io.BytesIO()
    with tarfile.open(fileobj=fp, mode=mode, **options) as tar:
        for header, data in members:
            tar.addfile(header, io.BytesIO(data))
    return fp.getvalue()


def zip_member(name, data=b"", mode=None, **attributes):
    """A zip member; without a mode it says nothing of permissions."""
    header = zipfile.ZipInfo(name)
    header.external_attr = (mode or 0) << 16
    for key, value in attributes.items():
        setattr(header, key, value)
    return header, data


def zip_of(*members, compression=zipfile.ZIP_DEFLATED):
    """The bytes of a zip file."""
    fp = io.BytesIO()
    with zipfile.ZipFile(fp, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that come twice
        for header, data in members:
            mode = header.external_attr
            archive.writestr(header, data, compression)
            header.external_attr = mode  # for which writestr has a value of its own
    return fp.getvalue()


def link(name, target):
    return member(name, type=tarfile.SYMTYPE, linkname=target)


def hard_link(name, target):
    return member(name, type=tarfile.LNKTYPE, linkname=target)


def zip_link(name, target):
    return zip_member(name, os.fsencode(target), stat.S_IFLNK | 0o777)


def pack_tar(directory, mode="w", tar_format=tarfile.PAX_FORMAT):
    """A directory as a tar file."""
    fp = io.BytesIO()
    with tarfile.open(fileobj=fp, mode=mode, format=tar_format) as tar:
        tar.add(directory, arcname=".")
    return fp.getvalue()


def pack_zip(directory, compression=zipfile.ZIP_DEFLATED):
    """A directory as a zip file, of those that can be one."""
    members = [zip_member("./", mode=directory.stat().st_mode)]
    for above, directories, files in os.walk(directory):
        for name in directories + files:
            path = Path(above, name)
            inside = path.relative_to(directory).as_posix()
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                members.append(zip_link(inside, os.readlink(path)))
            elif stat.S_ISDIR(mode):
                members.append(zip_member(f"{inside}/", mode=mode))
            else:
                members.append(zip_member(inside, path.read_bytes(), mode))
    return zip_of(*members, compression=compression)
