# ruff: noqa: D102, S101, S301, S311 (these are tests, which pytest calls)
"""What a column relies on in every datatype, as tests."""

from __future__ import annotations

import contextlib
import copy
import gc
import pickle
import random
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from .. import Artifact, ArtifactStore, LazyArtifact, LazyMapped
from ..errors import DecodeError, InvalidValueError
from ..payload import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from ..datatypes import DataType

_THREADS = 8
_CUTS = 40
_FLIPS = 400
_LONG = 12  # a shorter repr may be in a message by chance


class DataTypeConformance:
    """What a datatype promises. Subclass it, with ``datatype`` and ``values``.

    ``values`` are examples, ``refused`` what it does not take, ``corrupt`` bytes that it cannot
    decode; ``strategy`` makes more values, by Hypothesis. Any of them may be a property.
    ``safe`` says that bytes which somebody has changed may be decoded: then it is tried.
    """

    datatype: DataType
    values: Sequence[Any]
    refused: Sequence[Any] = ()
    corrupt: Sequence[bytes] = ()
    strategy: Any = None
    safe: bool = True

    def equal(self, found: Any, expected: Any) -> bool:
        """Say whether a value is the one that was stored: override where ``==`` does not."""
        return type(found) is type(expected) and bool(found == expected)

    def encode(self, value: Any) -> bytes:
        """Return the bytes of a value, as a column would store them."""
        payload = self.datatype.encode(value, Stage("blake3"))
        with payload.open() as fp:
            return fp.read()

    # -- round trips ------------------------------------------------------------------------------

    def test_a_value_comes_back(self) -> None:
        for value in self.values:
            self._check(value)

    def test_generated_values_come_back(self) -> None:
        if self.strategy is None:
            pytest.skip("no strategy")
        from hypothesis import given

        decorate: Any = given(self.strategy)
        decorate(self._check)()

    def _check(self, value: Any) -> None:
        data = self.encode(value)
        assert self.equal(self.datatype.decode(data), value)

    def test_both_forms_read_and_write_the_same(self) -> None:
        info, encoder = self.datatype.info, self.datatype.encoder
        assert encoder is not None
        for value in self.values:
            whole, streamed = bytes(encoder(value, info)), self.encode(value)
            for data in (whole, streamed):
                assert self.equal(self.datatype.decode(data), value)
                with _file(data) as fp:
                    assert self.equal(self.datatype.decode_stream(fp, len(data)), value)
            if self.datatype.deterministic:
                assert whole == streamed

    def test_equal_values_have_equal_bytes(self) -> None:
        if not self.datatype.deterministic:
            pytest.skip("not deterministic")
        for value in self.values:
            data = self.encode(value)
            assert self.encode(copy.deepcopy(value)) == data
            assert self.encode(self.datatype.decode(data)) == data

    def test_a_value_does_not_depend_on_its_bytes(self) -> None:
        found = []
        for value in self.values:
            data = self.encode(value)
            before = bytes(bytearray(data))
            found.append(self.datatype.decode(data))
            assert data == before
        del data, before
        self._check_kept(found)

    def test_a_mapped_value_outlives_its_file(self) -> None:
        found = []
        for value in self.values:
            data = self.encode(value)
            with _file(data) as fp:
                if self.datatype.mappable:
                    found.append(self.datatype.decode_mapped(fp, len(data)))
                else:
                    with pytest.raises(DecodeError, match="mmap=True"):
                        self.datatype.decode_mapped(fp, len(data))
        if self.datatype.mappable:
            self._check_kept(found)

    def _check_kept(self, found: list[Any]) -> None:
        gc.collect()
        for each, value in zip(found, self.values, strict=True):
            assert self.equal(each, value)

    def test_threads_do_not_disturb_each_other(self) -> None:
        barrier = threading.Barrier(_THREADS, timeout=60)
        values = list(self.values)

        def check(number: int) -> None:
            barrier.wait()
            for value in values[number % len(values) :] + values:
                self._check(value)

        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(check, range(_THREADS)))

    # -- what is refused --------------------------------------------------------------------------

    def test_other_values_are_refused_without_showing_them(self) -> None:
        for value in self.refused:
            with pytest.raises(InvalidValueError) as caught:
                self.encode(value)
            message, shown = str(caught.value), repr(value)
            assert repr(self.datatype.identifier) in message
            assert type(value).__qualname__ in message
            assert len(shown) < _LONG or shown.startswith("<") or shown not in message

    def test_bytes_that_are_no_value_are_a_decode_error(self) -> None:
        for data in self.corrupt:
            with pytest.raises(DecodeError, match=f"cannot decode {len(data)} bytes"):
                self.datatype.decode(data)

    def test_truncated_bytes_are_a_decode_error_or_a_value(self) -> None:
        for value in self.values:
            data = self.encode(value)
            for length in range(0, len(data), len(data) // _CUTS + 1):
                self._decode_or_fail(data[:length])

    def test_changed_bytes_are_a_decode_error_or_a_value(self) -> None:
        if not self.safe:
            pytest.skip("not safe")
        chance = random.Random(0)
        for value in self.values:
            data = self.encode(value)
            for _ in range(_FLIPS // len(self.values) + 10 if data else 0):
                changed = bytearray(data)
                # The first bytes say how the rest is read.
                end = chance.choice((min(100, len(data)), len(data)))
                changed[chance.randrange(end)] ^= 1 << chance.randrange(8)
                self._decode_or_fail(bytes(changed))

    def _decode_or_fail(self, data: bytes) -> None:
        with contextlib.suppress(DecodeError, MemoryError):  # a length may have become a huge one
            self.datatype.decode(data)

    # -- in a column ------------------------------------------------------------------------------

    def test_it_is_pickled_with_the_columns_that_name_it(self) -> None:
        data = pickle.dumps(self.datatype)
        assert len(data) < 1000  # noqa: PLR2004 (its functions are named, not copied)
        assert vars(pickle.loads(data)) == vars(self.datatype)

    def test_it_works_in_a_column(self, tmp_path: Path) -> None:
        class Base(DeclarativeBase):
            pass

        class Sample(Base):
            __tablename__ = "sample"
            id: Mapped[int] = mapped_column(primary_key=True)
            eager: Mapped[Any] = mapped_column(Artifact(self.datatype))
            lazy: LazyMapped[Any] = mapped_column(LazyArtifact(self.datatype))

        engine = create_engine(f"sqlite:///{tmp_path / 'conformance.db'}")
        ArtifactStore(str(tmp_path / "store")).attach(engine, metadata=Base.metadata)
        Base.metadata.create_all(engine)
        values = [value for value in self.values if value is not None]  # which would be NULL
        with Session(engine) as session:
            session.add_all([Sample(eager=value, lazy=value) for value in values])
            session.commit()
        with Session(engine) as session:
            rows = session.scalars(select(Sample).order_by(Sample.id)).all()
            for row, value in zip(rows, values, strict=True):
                assert self.equal(row.eager, value)
                assert self.equal(row.lazy.unpack(), value)
        engine.dispose()


@contextlib.contextmanager
def _file(data: bytes) -> Iterator[Any]:
    with tempfile.TemporaryFile() as fp:
        fp.write(data)
        fp.seek(0)
        yield fp
