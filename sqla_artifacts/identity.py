"""Identity: what a store is, and whose.

``store.json``
    ``{"format": 1, "digest": "blake3", "id": "…"}``: the version of the layout, the algorithm
    of all digests, and an id that a copy of the store keeps.
``owner.json``
    ``{"ledger": "…", …}``: the identity of the ledger that alone may write and collect here;
    with PostgreSQL the system's identifier and the database's OID as well, so that a copy of
    the database is told apart.

Each is created once, exclusively, and never changed: whoever comes second finds what the
first has written, and that is what makes a claim safe.
"""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from .errors import ForeignStoreError, StoreFormatError, StoreWriteError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .backends import Backend
    from .digest import Algorithm

FORMAT = 1
"""The version of the layout that this code writes, and the only one that it reads."""


class About(NamedTuple):
    """What ``store.json`` says."""

    id: str
    algorithm: Algorithm


class Identity:
    """The two files of one store. Thread-safe; what was read once is not read again."""

    def __init__(self, backend: Backend, algorithm: Algorithm) -> None:
        self._backend = backend
        self._algorithm = algorithm
        self._about: About | None = None

    @property
    def is_known(self) -> bool:
        """Whether ``store.json`` has been read, so that it will not be read again."""
        return self._about is not None

    def read(self) -> About | None:
        """Return what ``store.json`` says, or None while there is none.

        Raises :class:`StoreFormatError`.
        """
        if self._about is None:
            try:
                self._about = self._checked(self._backend.get("store.json"))
            except FileNotFoundError:
                return None
        return self._about

    def create(self) -> About:
        """Return what ``store.json`` says, created if there was none.

        Raises :class:`StoreWriteError` and :class:`StoreFormatError`.
        """
        about = self.read()
        if about is None:
            content = {"format": FORMAT, "digest": self._algorithm, "id": uuid.uuid4().hex}
            about = self._about = self._checked(self._first("store.json", content))
        return about

    def claim(self, owner: Mapping[str, str | None]) -> None:
        """Make the store an owner's, unless it is somebody else's.

        Raises :class:`ForeignStoreError` and :class:`StoreWriteError`.
        """
        self.create()
        data = self._first("owner.json", dict(owner))
        try:
            found = json.loads(data)
        except ValueError:
            msg = f"owner.json of {self._backend.url} is damaged: it is no JSON"
            raise StoreFormatError(msg) from None
        if found != owner:
            msg = (
                f"the store {self._backend.url} belongs to another database (its owner.json says "
                f"{found}, this one is {dict(owner)}): attach a store of its own to this database; "
                "if the other one is gone for ever, remove owner.json"
            )
            raise ForeignStoreError(msg)

    def _first(self, key: str, content: dict[str, Any]) -> bytes:
        """Return what stands under a key, which is ``content`` if there was nothing."""
        data = json.dumps(content, sort_keys=True).encode()
        try:
            try:
                return self._backend.get(key)
            except FileNotFoundError:
                created = self._backend.create(key, data)
            # If not, another process came first, and what it wrote holds.
            return data if created else self._backend.get(key)
        except OSError as error:
            msg = f"cannot read or create {key} of the store {self._backend.url}: {error}"
            raise StoreWriteError(msg) from error

    def _checked(self, data: bytes) -> About:
        try:
            about = json.loads(data)
            valid = about["format"] == FORMAT and isinstance(about["id"], str)
            valid = valid and about["digest"] in {"blake3", "sha256"}
        except (ValueError, TypeError, KeyError):
            valid = False
        if not valid:
            msg = (
                f"store.json of {self._backend.url} is not one of format {FORMAT}: the store is "
                "damaged, or was written by a later version of sqla_artifacts"
            )
            raise StoreFormatError(msg)
        return About(about["id"], cast("Algorithm", about["digest"]))
