"""What the cursors of an engine are given: no statement may name a blob before it is stored."""

import re

from sqlalchemy import event

from sqla_artifacts.location import key_of
from sqla_artifacts.reference import parse
from sqla_artifacts.tree import parse_manifest

REFERENCE = re.compile(r"&:(?:blob|file|tree):[0-9a-f]{64}:[0-9]+:[^\s\"']*")


class Watch:
    """The references that statements named, and the digests that were not stored by then."""

    def __init__(self, place):
        self._backend = place.backend
        self.seen = []
        self.too_early = []
        for name in ("do_execute", "do_executemany"):  # in the place of the cursor's own methods
            event.listen(place.sync(place.engine), name, self._look)

    def _look(self, cursor, statement, parameters, context):
        for reference in map(parse, REFERENCE.findall(repr(parameters))):
            self.seen.append(reference)
            digests = [reference.digest, *self._parts(reference)]
            self.too_early += [digest for digest in digests if not self._is_stored(digest)]

    def _parts(self, reference):
        if reference.kind != "tree" or not self._is_stored(reference.digest):
            return []
        manifest = self._backend._backend.get(key_of(reference.digest))
        return [part.digest for part in parse_manifest(manifest).parts]

    def _is_stored(self, digest):
        try:
            self._backend.size(key_of(digest))
        except FileNotFoundError:
            return False
        return True
