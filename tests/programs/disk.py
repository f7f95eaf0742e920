"""A disk that loses whatever was not flushed, as strace's record of a process describes it.

`sync_file_range` counts for nothing, and flushing a file does not flush its name.
"""

import re
import shutil
import subprocess
from itertools import count
from pathlib import Path
from typing import NamedTuple

_WRITES = "write,pwrite64,writev,pwritev,copy_file_range,sendfile,ftruncate,fallocate"
_NAMES = "open,openat,creat,mkdir,mkdirat,rename,renameat,renameat2,link,linkat,unlink,unlinkat"
_FLUSHES = "fsync,fdatasync,syncfs,sync"
_SENDS = "sendto,sendmsg"

_CALL = re.compile(r"(\d+) +(\w+)\((.*)\) += (.*)")
_STARTED = re.compile(r"(\d+) +(.*) <unfinished \.\.\.>")
_RESUMED = re.compile(r"(\d+) +<\.\.\. \w+ resumed>(.*)")
_DESCRIPTOR = re.compile(r"\b\d+<([^>]*)>")
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')


def works():
    """Say whether strace is here, and may trace."""
    if shutil.which("strace") is None:
        return False
    return subprocess.run(["strace", "true"], capture_output=True, check=False).returncode == 0


def strace(output, *options):
    """The words to put before a command, for `calls` to read what it did from `output`."""
    trace = f"trace={_WRITES},{_NAMES},{_FLUSHES},{_SENDS}"
    return ["strace", "-f", "-qq", "-y", "-s", "4096", "-e", trace, *options, "-o", output]


class Call(NamedTuple):
    """A system call that succeeded, and the lines on which it began and ended."""

    began: int
    ended: int
    name: str
    arguments: str
    result: str

    @property
    def files(self):
        """What its descriptors stand for."""
        return _DESCRIPTOR.findall(self.arguments)

    @property
    def strings(self):
        return _STRING.findall(self.arguments)

    def writes_to(self, *paths):
        return self.name in _WRITES.split(",") and self.files[-1 if self._copies else 0] in paths

    @property
    def sends(self):
        return self.name in _SENDS.split(",")

    @property
    def _copies(self):
        return self.name == "copy_file_range"


def calls(path):
    """The calls in a record: one that sends stands where it began, the others where they ended."""
    found, started = [], {}
    for number, line in enumerate(Path(path).read_text(errors="replace").splitlines()):
        began, text = number, line
        if match := _STARTED.fullmatch(line):
            started[match[1]] = number, match[2]
            continue
        if match := _RESUMED.fullmatch(line):
            began, first = started.pop(match[1])
            text = f"{match[1]} {first}{match[2]}"
        match = _CALL.fullmatch(text)
        if match and not match[4].startswith(("-1", "?")) and "(INJECTED)" not in match[4]:
            found.append(Call(began, number, *match.groups()[1:]))
    return sorted(found, key=lambda call: call.began if call.sends else call.ended)


class Disk:
    """What the calls so far have left in memory only, of the files that they made."""

    def __init__(self):
        self._numbers = count()
        self._files = {}  # path: the number of the file
        self._bytes = {}  # the number of a file: when it was last written to, if not flushed since
        self._names = {}  # path: when it was made, if not flushed since

    def apply(self, call):
        """Do what a call did."""
        kind = call.name
        if kind in {"open", "openat", "creat"}:
            self._opened(call)
        elif kind in _WRITES.split(","):
            path = call.files[1 if kind == "copy_file_range" else 0]
            if path in self._files:
                self._bytes[self._files[path]] = call.ended
        elif kind.startswith("mkdir"):
            self._made(call.strings[0], next(self._numbers), call)
        elif kind.startswith(("rename", "link")):
            self._named(*call.strings[:2], call)
        elif kind.startswith("unlink"):
            self._gone(call.strings[0])
        elif kind in {"syncfs", "sync"}:
            self._flush(call, self._bytes, self._names)
        elif kind in {"fsync", "fdatasync"}:
            place = call.files[0]
            inside = [path for path in self._names if str(Path(path).parent) == place]
            self._flush(call, [self._files.get(place)], inside)

    def lost(self, path):
        """Say why a file would not survive a power failure now, or None if it would."""
        path = str(path)
        if path not in self._files:
            return f"{path} was never made"
        if self._files[path] in self._bytes:
            return f"the bytes of {path} were not flushed"
        for name in (path, *map(str, Path(path).parents)):
            if name in self._names:
                return f"the name {name} was not flushed"
        return None

    def _opened(self, call):
        path = _DESCRIPTOR.findall(call.result)[0]
        if "O_CREAT" in call.arguments and path not in self._files:
            self._made(path, next(self._numbers), call)
        if "O_TRUNC" in call.arguments and path in self._files:
            self._bytes[self._files[path]] = call.ended

    def _named(self, old, new, call):
        if old in self._files:
            self._made(new, self._files[old], call)
            if call.name.startswith("rename"):
                self._gone(old)

    def _made(self, path, number, call):
        self._files[path] = number
        self._names[path] = call.ended

    def _gone(self, path):
        self._files.pop(path, None)
        self._names.pop(path, None)

    def _flush(self, call, files, paths):
        for what, keys in ((self._bytes, files), (self._names, paths)):
            for key in list(keys):
                if what.get(key, call.began) < call.began:
                    del what[key]
