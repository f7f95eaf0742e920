"""The ways of storing, each a function of a session and rows, and the requests made at once."""

from collections.abc import Callable
from typing import Any, NamedTuple

from sqlalchemy import bindparam, insert, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from .models import Entry, Shelf, Stamped, image_of, note_of

COUNT = 6
WHOLE = (1, 8, 5)
"""A tree's part, and then its manifest with six images, five files and the one note of all."""
EACH = (1, 3, 2, 2, 2, 2, 2)
"""The same, in a statement for each row: the note comes with the first."""

ARTIFACTS = ["image", "note", "file"]
COLUMNS = ["name", "count", *ARTIFACTS]
table = Entry.__table__


class Write(NamedTuple):
    """A way of storing rows, of which `existing` are there already, without their artifacts."""

    write: Callable[[Any, Any], Any]
    puts: tuple[int, ...] = WHOLE
    existing: int = 0
    model: Any = Entry

    def prepare(self, session, rows):
        """Have those rows there that have to be."""
        found = [without(row, *ARTIFACTS) for row in rows[: self.existing]]
        if found:
            nothing = dict.fromkeys(["image", "note"])  # of those that have a default
            session.execute(insert(self.model.__table__), [row | nothing for row in found])
        session.commit()

    def store(self, session, rows):
        """Store rows in this way, and commit."""
        self.write(session, rows)
        session.commit()

    def read(self, session, rows):
        """What the rows of these names hold."""
        names = [row["name"] for row in rows]
        query = select(self.model).where(self.model.name.in_(names)).order_by(self.model.name)
        return [
            (each.name, each.count, each.image, each.note.unpack(), _content_of(each.file))
            for each in session.scalars(query)
        ]


# -- rows ------------------------------------------------------------------------------------------


def rows_of(batch, directory):
    """Six rows: with an image each, one note for all, a directory, and five files."""
    rows = []
    for number in range(COUNT):
        name = f"{batch} {number}"
        path = directory / name
        if number == 0:
            path.mkdir()
        (path / "member" if number == 0 else path).write_text(f"file of {name}")
        artifacts = {"image": image_of(name), "note": note_of(name), "file": path}
        rows.append({"name": name, "count": number, **artifacts})
    return rows


def expected_of(rows):
    """What rows read back as."""
    return [
        (*(row[c] for c in ("name", "count", "image", "note")), f"file of {row['name']}")
        for row in rows
    ]


def _content_of(path):
    with path.open("member" if path.is_dir else None) as stream:
        return stream.read().decode()


def without(row, *columns):
    """A row without some of its columns."""
    return {key: row[key] for key in row if key not in columns}


def with_ids(session, rows):
    """Rows with the primary keys of those of their names."""
    ids = dict(session.execute(select(Entry.name, Entry.id)).all())
    return [row | {"id": ids.get(row["name"])} for row in rows]


# -- by the unit of work ---------------------------------------------------------------------------


def added(session, rows):
    session.add_all([Entry(**row) for row in rows])
    session.flush()


def cascaded(session, rows):
    cover = f"cover of {rows[0]['note']}".encode()
    session.add(Shelf(cover=cover, entries=[Entry(**row) for row in rows]))
    session.flush()


def mixed(session, rows):
    session.add_all(Stamped(**row) for row in rows[: COUNT // 2])
    cascaded(session, rows)


def changed(session, rows):
    entries = {entry.name: entry for entry in session.scalars(select(Entry))}
    for row in rows:
        for column in ("count", *ARTIFACTS):
            setattr(entries[row["name"]], column, row[column])
    session.flush()


def merged(session, rows):
    for row in with_ids(session, rows):
        session.merge(Entry(**row))
    session.flush()


def merged_at_once(session, rows):
    with session.no_autoflush:
        merged(session, rows)


# -- by statements ---------------------------------------------------------------------------------


def executed(statement, *, core=False):
    """Execute a statement with all rows at once."""

    def write(session, rows):
        (session.connection() if core else session).execute(statement, rows)

    return write


def one_by_one(session, rows):
    for row in rows:
        session.connection().execute(insert(table).values(row))


def multi_values(target, *, core=False):
    def write(session, rows):
        (session.connection() if core else session).execute(insert(target).values(rows))

    return write


def returned(statement):
    def write(session, rows):
        assert len(session.execute(statement, rows).all()) == len(rows)

    return write


def returned_in_order(session, rows):
    columns = Entry.name, Entry.image
    found = session.execute(insert(Entry).returning(*columns, sort_by_parameter_order=True), rows)
    assert [tuple(row) for row in found] == [(row["name"], row["image"]) for row in rows]


names = ", ".join(COLUMNS)
marks = ", ".join(f":{name}" for name in COLUMNS)
typed_insert = text(f"INSERT INTO entry ({names}) VALUES ({marks})").bindparams(
    *(bindparam(name, type_=table.c[name].type) for name in COLUMNS)
)


def new_of(session, target):
    """The dialect's own INSERT."""
    dialects = {"sqlite": sqlite, "postgresql": postgresql}
    return dialects[session.get_bind().dialect.name].insert(target)


def upsert(session, target=Entry):
    """An INSERT that gives its values to a row that is there already."""
    new = new_of(session, target)
    taken = {name: new.excluded[name] for name in COLUMNS if name != "name"}
    return new.on_conflict_do_update(index_elements=["name"], set_=taken)


def upserted(session, rows):
    session.execute(upsert(session), rows)


def upserted_by_core(session, rows):
    session.connection().execute(upsert(session, table), rows)


def upserted_values(session, rows):
    session.execute(upsert(session).values(rows))


def upserted_returning(session, rows):
    found = session.scalars(upsert(session).returning(Entry.image), rows)
    assert {*found} == {row["image"] for row in rows}


def upserted_by_value(session, rows):
    for row in rows:
        new = new_of(session, Entry).values(name=row["name"], count=row["count"])
        session.execute(
            new.on_conflict_do_update(index_elements=["name"], set_=without(row, "name"))
        )


def updated(target, *, core=False):
    """An UPDATE for each row."""

    def write(session, rows):
        execute = (session.connection() if core else session).execute
        column = (table.c if core else Entry).name
        for row in rows:
            execute(update(target).where(column == row["name"]).values(without(row, "name")))

    return write


def updated_by_parameters(session, rows):
    values = {name: bindparam(name) for name in ("count", *ARTIFACTS)}
    statement = update(table).where(table.c.name == bindparam("key")).values(values)
    keyed = [without(row | {"key": row["name"]}, "name") for row in rows]
    session.connection().execute(statement, keyed)


def updated_by_key(session, rows):
    session.execute(update(Entry), with_ids(session, rows))


# -- by callables ----------------------------------------------------------------------------------


def unstamped(rows):
    """Rows without what the callables make."""
    return [without(row, "image", "note") for row in rows]


def stamped(session, rows):
    session.execute(insert(Stamped), unstamped(rows))


def stamped_in_flush(session, rows):
    session.add_all([Stamped(**row) for row in unstamped(rows)])
    session.flush()


def restamped(session, rows):
    for row in unstamped(rows):
        session.execute(update(Stamped).where(Stamped.name == row["name"]).values(row))


WRITES = {
    "flush": Write(added),
    "flush with cascades": Write(cascaded, (1, *WHOLE)),
    "flush of mixed tables": Write(mixed, (1, 1, 7, 6)),
    "flush of changes": Write(changed, existing=COUNT),
    "merge": Write(merged, EACH, existing=COUNT),
    "merge without autoflush": Write(merged_at_once, existing=COUNT),
    "merge of new ones": Write(merged_at_once),
    "bulk_save_objects": Write(lambda s, rows: s.bulk_save_objects([Entry(**row) for row in rows])),
    "bulk_insert_mappings": Write(lambda s, rows: s.bulk_insert_mappings(Entry, rows)),
    "bulk_update_mappings": Write(
        lambda s, rows: s.bulk_update_mappings(Entry, with_ids(s, rows)), existing=COUNT
    ),
    "bulk INSERT": Write(executed(insert(Entry))),
    "bulk INSERT RETURNING": Write(returned(insert(Entry).returning(Entry))),
    "bulk INSERT RETURNING in order": Write(returned_in_order),
    "INSERT": Write(one_by_one, EACH),
    "executemany": Write(executed(insert(table), core=True)),
    "typed text": Write(executed(typed_insert, core=True)),
    "multi-values": Write(multi_values(table, core=True)),
    "ORM multi-values": Write(multi_values(Entry)),
    "insertmanyvalues": Write(returned(insert(table).returning(table.c.id))),
    "upsert": Write(upserted, existing=3),
    "Core upsert": Write(upserted_by_core, existing=3),
    "multi-values upsert": Write(upserted_values, existing=3),
    "upsert RETURNING": Write(upserted_returning, existing=3),
    "upsert by value": Write(upserted_by_value, EACH, existing=COUNT),
    "ORM UPDATE": Write(updated(Entry), EACH, existing=COUNT),
    "Core UPDATE": Write(updated(table, core=True), EACH, existing=COUNT),
    "UPDATE by executemany": Write(updated_by_parameters, existing=COUNT),
    "bulk UPDATE by primary key": Write(updated_by_key, existing=COUNT),
    "callable defaults": Write(stamped, model=Stamped),
    "callable defaults in a flush": Write(stamped_in_flush, model=Stamped),
    "callable onupdate": Write(restamped, EACH, existing=COUNT, model=Stamped),
}
