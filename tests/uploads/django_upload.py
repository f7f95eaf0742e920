"""django_upload URL PLACE: store what Django makes of a posted form, and read it back.

A program, as Django's settings are the process's.
"""

import io
import os
import sys
import tempfile

import django
from django.conf import settings
from django.core.files.base import ContentFile, File
from django.core.files.uploadedfile import InMemoryUploadedFile, TemporaryUploadedFile
from django.test import RequestFactory
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from sqla_artifacts.errors import SourceError

from ..programs.checks import refused
from ..programs.model import Sample, attach

SMALL = b"small"
LARGE = bytes(range(256)) * 12_000


def upload(name, data):
    """What a request handler finds in request.FILES."""
    posted = io.BytesIO(data)
    posted.name = name
    return RequestFactory().post("/", {"file": posted}).FILES["file"]


def main(url, place):
    settings.configure(FILE_UPLOAD_MAX_MEMORY_SIZE=1 << 16)
    django.setup()
    small, large = upload("small.png", SMALL), upload("large.png", LARGE)
    assert type(small) is InMemoryUploadedFile
    assert type(large) is TemporaryUploadedFile
    small.read(3)  # as a form's validator may have done
    with tempfile.NamedTemporaryFile() as fp:
        fp.write(LARGE)
        fp.flush()
        values = [
            (small, "small.png", SMALL),
            (large, "large.png", LARGE),
            (("renamed.png", large), "renamed.png", LARGE),
            (File(fp, name="dir/file.png"), "file.png", LARGE),
            (File(fp), os.path.basename(fp.name), LARGE),
            (ContentFile(SMALL, name="content.png"), "content.png", SMALL),
            (ContentFile(SMALL), "file", SMALL),
        ]
        engine = create_engine(url)
        store = attach(engine, place)
        with Session(engine) as session:
            session.add_all(Sample(file=value) for value, _, _ in values)
            session.commit()
    with Session(engine) as session:
        found = [sample.file for sample in session.query(Sample).order_by(Sample.id)]
        for file, (_, name, data) in zip(found, values, strict=True):
            assert (file.name, file.open().read()) == (name, data)
        assert small.tell() == 3
        large.close()
        message = "sample.file: cannot read 'large.png': it is closed"
        refused(session, store, SourceError, message, Sample(file=large))
        shrunk = upload("large.png", LARGE)
        os.truncate(shrunk.temporary_file_path(), 1000)
        message = f"sample.file: 'large.png' is cut off.*: 1000 bytes of {len(LARGE)}"
        refused(session, store, SourceError, message, Sample(file=shrunk))
    engine.dispose()


if __name__ == "__main__":
    main(*sys.argv[1:])
