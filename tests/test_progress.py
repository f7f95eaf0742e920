"""Progress: what each step says, and the bars of tqdm and rich that show it."""

import datetime as dt
import io
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from rich.console import Console
from rich.live import _RefreshThread
from sqlalchemy import delete, select
from sqlalchemy.orm import Session
from tqdm import tqdm

from sqla_artifacts.collect import collect
from sqla_artifacts.ext.progress import rich_progress, tqdm_progress
from sqla_artifacts.progress import Progress, reporting
from sqla_artifacts.verify import verify
from sqla_artifacts.verify.checks import STEP

from .models import set_up

ZERO = dt.timedelta(0)
ALL = {"dry_run": False, "grace": ZERO, "retention": ZERO, "limit_share": 1}
MIB = 1 << 20


def store_values(engine, directory, *values):
    """(Sample, store): a row for each of these values."""
    sample, store = set_up(engine, directory)
    with Session(engine) as session:
        session.add_all(sample(data=value) for value in values)
        session.commit()
    return sample, store


def drop_rows(engine, sample):
    with engine.begin() as connection:
        connection.execute(delete(sample))


# -- what the steps say ----------------------------------------------------------------------


def test_each_step_of_collect_says_how_many_objects_and_bytes(engine, tmp_path):
    sample, store = store_values(engine, tmp_path, b"x", b"yy")
    drop_rows(engine, sample)
    stray = "3" * 64
    assert store.backend.create(f"blobs/33/33/{stray}", b"stray")
    told = []
    collect(store, engine, progress=told.append, **ALL)
    assert told == [
        Progress("mark", 2, 3),
        Progress("take", 2, 3),
        Progress("sweep", 1, 5),
        Progress("delete", 3, 8, 8),
    ]


def test_a_dry_run_of_collect_has_no_steps(engine, tmp_path):
    _, store = store_values(engine, tmp_path, b"x")
    told = []
    collect(store, engine, progress=told.append)
    assert told == []


def test_each_step_of_verify_says_how_many_objects_and_bytes(engine, tmp_path):
    _, store = store_values(engine, tmp_path, b"x", b"yy")
    told = []
    verify(store, engine, depth="content", progress=told.append)
    assert told == [Progress("list", 2, 3), Progress("hash", 2, 3, 3)]


def test_a_verification_that_goes_on_is_about_what_is_left(engine, tmp_path):
    values = [number.to_bytes(100, "big") for number in range(2 * STEP)]
    _, store = store_values(engine, tmp_path, *values)
    first = verify(store, engine, depth="content", stop_after=ZERO)
    told = []
    verify(store, engine, depth="content", after=first.after, progress=told.append)
    # The half that is left, as far as digests are spread evenly.
    assert told[-1][:3] == ("hash", STEP, 100 * STEP)
    assert 80 * STEP < told[-1].bytes_total < 120 * STEP


# -- bars ------------------------------------------------------------------------------------


class Tqdm:
    """tqdm, writing to memory."""

    def __init__(self):
        self.file = io.StringIO()

    def bars(self, **options):
        return tqdm_progress(file=self.file, ascii=True, mininterval=0, **options)

    @property
    def lines(self):
        """What a terminal shows in the end."""
        rows, here = [""], 0
        for text, move in re.findall(r"([^\r\n\x1b]*)(\r|\n|\x1b\[A|$)", self.file.getvalue()):
            rows[here] = text + rows[here][len(text) :]
            here += {"\n": 1, "\x1b[A": -1}.get(move, 0)
            rows += [""] * (here + 1 - len(rows))
        return [row.rstrip() for row in rows if row.strip()]

    @property
    def is_open(self):
        return bool(getattr(tqdm, "_instances", ()))


class Rich:
    """rich, writing to memory."""

    def __init__(self):
        self.file = io.StringIO()

    def bars(self, **options):
        return rich_progress(console=Console(file=self.file, width=120), **options)

    @property
    def lines(self):
        return [line.rstrip() for line in self.file.getvalue().splitlines() if line.strip()]

    @property
    def is_open(self):
        return any(
            isinstance(thread, _RefreshThread) and not thread.done.is_set()
            for thread in threading.enumerate()
        )


@pytest.fixture(params=[Tqdm, Rich], ids=["tqdm", "rich"])
def screen(request):
    return request.param()


def steps(screen):
    return [line.split()[0].rstrip(":") for line in screen.lines]


def test_each_step_is_a_bar_with_bytes_a_total_and_objects(screen):
    with screen.bars() as show:
        show(Progress("mark", 2, 5 * MIB))
        for part in range(5):
            show(Progress("delete", 300 * part, part * MIB, 4 * MIB))
    mark, deleted = screen.lines
    assert mark.startswith("mark")
    assert "5.0" in mark
    assert "2 objects" in mark
    assert deleted.startswith("delete")
    assert "4.00M/4.00M" in deleted or "4.0/4.0 MiB" in deleted
    assert "1,200 objects" in deleted


def test_a_step_that_counts_from_nothing_again_is_another_bar(screen):
    with screen.bars() as show:
        for _ in range(2):
            show(Progress("delete", 1, 5, 10))
            show(Progress("delete", 2, 10, 10))
    assert steps(screen) == ["delete", "delete"]


def test_steps_that_take_turns_keep_their_bars(screen):
    with screen.bars() as show:
        for part in range(1, 4):
            show(Progress("stage", part, part * MIB))
            show(Progress("put", part, part * MIB, part * MIB))
    stage, put = screen.lines
    assert stage.startswith("stage")
    assert put.startswith("put")
    assert "3 objects" in stage
    assert "3 objects" in put
    assert "3.00MB" in stage or "3.0/3.0 MiB" in stage
    assert "3.00M/3.00M" in put or "3.0/3.0 MiB" in put


def test_a_total_may_turn_out_not_to_be_known(screen):
    with screen.bars() as show:
        show(Progress("stage", 1, 5, 999))
        show(Progress("stage", 2, 30, None))
    assert "999" not in screen.lines[0]
    assert "30" in screen.lines[0]


def test_one_object_is_singular_and_none_is_shown_too(screen):
    with screen.bars() as show:
        show(Progress("mark", 1, 5))
        show(Progress("take", 0, 0))
    mark, take = screen.lines
    assert "1 object" in mark
    assert "1 objects" not in mark
    assert "0 objects" in take


def test_a_total_may_be_known_later_and_be_wrong(screen):
    with screen.bars() as show:
        show(Progress("hash", 0, 0))
        show(Progress("hash", 1, MIB, 2 * MIB))
        show(Progress("hash", 3, 3 * MIB, 2 * MIB))
    assert steps(screen) == ["hash"]
    assert "3.0" in screen.lines[0]


def test_bars_are_closed_after_an_error_and_show_where_it_happened(screen):
    def fail():
        with screen.bars() as show:
            show(Progress("mark", 2, 5))
            show(Progress("delete", 7, MIB, 4 * MIB))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError) as caught:
        fail()
    assert not screen.is_open
    assert caught.tb  # which keeps alive what was open
    assert steps(screen) == ["mark", "delete"]
    assert "7 objects" in screen.lines[1]
    assert "1.00M/4.00M" in screen.lines[1] or "1.0/4.0 MiB" in screen.lines[1]


def test_bars_are_closed_at_the_end(screen):
    with screen.bars() as show:
        show(Progress("mark", 2, 5))
        assert screen.is_open
    assert not screen.is_open


def test_no_step_is_no_bar(screen):
    with screen.bars():
        pass
    assert screen.lines == []


def test_threads_may_tell_at_once(screen):
    barrier = threading.Barrier(8)

    def tell(_):
        barrier.wait()
        for _ in range(100):
            show(Progress("hash", 5, 4 * MIB, 4 * MIB))

    with screen.bars() as show, ThreadPoolExecutor(8) as pool:
        list(pool.map(tell, range(8)))
    assert steps(screen) == ["hash"]
    assert "5 objects" in screen.lines[0]


def test_options_are_passed_on(screen):
    with screen.bars(disable=True) as show:
        show(Progress("mark", 2, 5))
        show(Progress("delete", 7, MIB, 4 * MIB))
    assert screen.lines == []


def test_a_terminal_has_its_cursor_back():
    file = io.StringIO()
    with rich_progress(console=Console(file=file, force_terminal=True)) as show:
        show(Progress("mark", 2, 5))
    assert file.getvalue().endswith("\x1b[?25h")


def test_collecting_and_verifying_are_shown(engine, tmp_path, screen):
    sample, store = store_values(engine, tmp_path, b"x" * 3000, b"yy")
    drop_rows(engine, sample)
    with screen.bars() as show:
        verify(store, engine, depth="content", progress=show)
        collect(store, engine, progress=show, **ALL)
    assert steps(screen) == ["list", "hash", "mark", "take", "sweep", "delete"]
    assert all("2 objects" in screen.lines[step] for step in (0, 1, 2, 3, 5))


def test_storing_and_unpacking_are_shown(engine, tmp_path, screen):
    sample, _ = set_up(engine, tmp_path)
    run = tmp_path / "run"
    run.mkdir()
    for name in ("a", "b"):
        (run / name).write_bytes(name.encode() * MIB)
    with screen.bars() as show, Session(engine) as session:
        with reporting(show):
            session.add_all([sample(run=run), sample(data=b"x")])
            session.commit()
        session.scalars(select(sample).where(sample.run.is_not(None))).one().run.unpack(
            tmp_path / "copy", progress=show
        )
    assert steps(screen) == ["stage", "put", "unpack"]
    assert "2 objects" in screen.lines[2]
    assert "2.00M/2.00M" in screen.lines[2] or "2.0/2.0 MiB" in screen.lines[2]


# -- without the libraries -------------------------------------------------------------------


@pytest.mark.parametrize(("bars", "name"), [(tqdm_progress, "tqdm"), (rich_progress, "rich")])
def test_a_missing_library_is_named_with_its_extra(monkeypatch, bars, name):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    monkeypatch.setitem(sys.modules, "rich", None)
    with (
        pytest.raises(ModuleNotFoundError, match=rf'pip install "sqla_artifacts\[{name}\]"'),
        bars(),
    ):
        pass


def test_neither_library_is_imported_before_it_is_used():
    code = "import sys, sqla_artifacts.ext.progress; assert not {'rich', 'tqdm'} & set(sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
