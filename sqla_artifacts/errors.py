"""The exceptions of this package.

Every one of them is an :class:`ArtifactError`, and where Python has a natural builtin for
the same condition the exception is that, too, so that ``except FileNotFoundError`` means
what it says::

    ArtifactError
    ├── InvalidReferenceError      (ValueError)         a string that is no reference
    ├── InvalidTreeError           (ValueError)         a directory or manifest that is no safe tree
    ├── InvalidValueError          (ValueError)         a value that its column cannot store
    ├── SourceError                (OSError)            a path or file to store that cannot be read
    ├── UnknownDataTypeError       (LookupError)        no datatype of that name
    ├── DecodeError                (ValueError)         stored bytes that their datatype cannot read
    ├── ComparisonError            (TypeError)          a comparison that has no meaning in SQL
    ├── NotStoredError             (RuntimeError)       a value that has not been flushed yet
    ├── UnpackError                (OSError)            a local copy that cannot be made
    ├── StoreError                                      what concerns a whole store
    │   ├── UnknownProtocolError   (ValueError)         a store URL that nothing here can open
    │   ├── NotAttachedError       (LookupError)        no store attached to the engine
    │   ├── ForeignStoreError      (PermissionError)    a store that belongs to another database
    │   ├── StoreFormatError       (ValueError)         a store.json that this version cannot read
    │   └── StoreWriteError        (OSError)            bytes that could not be written: a full disk
    ├── BlobError                                       what concerns one blob
    │   ├── BlobNotFoundError      (FileNotFoundError)  referenced, but not in the store
    │   └── BlobCorruptedError     (ValueError)         its bytes do not have its digest
    └── LedgerError                                     what concerns the ledger's tables
        ├── NoLedgerError          (LookupError)        the tables are not in the database
        ├── LedgerBusyError        (TimeoutError)       others kept taking what was being written
        ├── UnsafeTransactionError (RuntimeError)       a connection on which storing is not safe
        └── CollectError           (RuntimeError)       a collector that deletes nothing, and why
            └── VanishedColumnError (LookupError)       a noted column that is not there any more

The root carries SQLAlchemy's ``DontWrapMixin``: an error raised while a statement's values
are bound arrives as itself, never inside a ``StatementError``.

The message never holds a payload, nor a credential.
"""

from __future__ import annotations

from sqlalchemy.exc import DontWrapMixin


class ArtifactError(DontWrapMixin, Exception):
    """The root of this package's exceptions.

    ``column`` is the ``table.column`` whose value was at fault, where one is known; the
    message then starts with it.
    """

    column: str | None = None

    def __str__(self) -> str:
        message = str(self.args[0]) if self.args else type(self).__name__
        return f"{self.column}: {message}" if self.column else message

    def __reduce__(self) -> tuple[object, ...]:
        # OSError's own way of pickling would look for errno and file name.
        return (type(self), self.args, {"column": self.column})


class InvalidReferenceError(ArtifactError, ValueError):
    """A string that should be a reference is none, or is one of another kind."""


class InvalidTreeError(ArtifactError, ValueError):
    """A directory that cannot be stored as a tree, or a manifest that cannot be trusted."""


class InvalidValueError(ArtifactError, ValueError):
    """The value cannot be stored in its column: its datatype cannot encode it, say."""


class SourceError(ArtifactError, OSError):
    """A path or open file that was to be stored is missing, unreadable, or changed meanwhile."""


class UnknownDataTypeError(ArtifactError, LookupError):
    """No datatype has that identifier, or the row names one that its column does not accept."""


class DecodeError(ArtifactError, ValueError):
    """The stored bytes are whole, and yet their datatype cannot decode them."""


class ComparisonError(ArtifactError, TypeError):
    """The comparison has no meaning for a column of references."""


class NotStoredError(ArtifactError, RuntimeError):
    """The value was assigned but has not been flushed: there is nothing in the store yet."""


class UnpackError(ArtifactError, OSError):
    """A local copy of a file or tree cannot be made here."""


class StoreError(ArtifactError):
    """What concerns a whole store."""


class UnknownProtocolError(StoreError, ValueError):
    """The URL's protocol is unknown, or the package that speaks it is not installed."""


class NotAttachedError(StoreError, LookupError):
    """The engine has no artifact store of that name."""


class ForeignStoreError(StoreError, PermissionError):
    """The store belongs to another database, which alone may write to it and collect it."""


class StoreFormatError(StoreError, ValueError):
    """The store was written in a format that this version cannot read."""


class StoreWriteError(StoreError, OSError):
    """A payload could not be written, to the store or to the stage: a full disk, say."""


class BlobError(ArtifactError):
    """What concerns one blob."""


class BlobNotFoundError(BlobError, FileNotFoundError):
    """A reference names a blob that the store does not hold."""


class BlobCorruptedError(BlobError, ValueError):
    """A blob's bytes do not have the digest that names them; they are kept as evidence."""


class LedgerError(ArtifactError):
    """What concerns the ledger's tables."""


class NoLedgerError(LedgerError, LookupError):
    """The ledger's tables are missing from the database, or hold no identity."""


class LedgerBusyError(LedgerError, TimeoutError):
    """A blob was taken again and again while it was being written."""


class UnsafeTransactionError(LedgerError, RuntimeError):
    """The connection has no transaction that could protect what is being stored."""


class CollectError(LedgerError, RuntimeError):
    """It is not sure that what seems to be garbage is: nothing is taken, nothing deleted."""


class VanishedColumnError(CollectError, LookupError):
    """The ledger knows of references in a column that is not there any more."""
