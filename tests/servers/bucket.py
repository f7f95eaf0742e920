"""One bucket, in memory: what obstore asks of an S3, without signatures.

Google's XML interface, which obstore uses, is the same but for the names of headers. The
fake-gcs-server has no such interface.
"""

import hashlib
import threading
import uuid
from typing import NamedTuple
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

GENERATION = ("x-goog-generation", "1")


class Answer(NamedTuple):
    """What a request is answered with."""

    status: int
    body: bytes = b""
    headers: tuple = ()


class Bucket:
    """Objects and unfinished uploads; a listing has pages of `page` keys."""

    def __init__(self, page=1000):
        self.objects = {}
        self.uploads = {}
        self.page = page
        self._lock = threading.Lock()

    def answer(self, method, key, query, headers, body):
        """Do what is asked."""
        with self._lock:
            if not key:
                return self._delete_many(body) if method == "POST" else self._list(query)
            name = f"_{method.lower()}" + ("_upload" if "uploadId" in query else "")
            return getattr(self, name)(key, query, headers, body)

    def _put(self, key, query, headers, body):
        only_if_new = "*" in headers.get_all("If-None-Match", ()) or (
            "0" in headers.get_all("x-goog-if-generation-match", ())
        )
        if only_if_new and key in self.objects:
            return refusal(412, "PreconditionFailed")
        self.objects[key] = (body, _meta(headers))
        return Answer(200, headers=(("ETag", _etag(body)), GENERATION))

    def _get(self, key, query, headers, body):
        if key not in self.objects:
            return refusal(404, "NoSuchKey")
        data, meta = self.objects[key]
        common = (("ETag", _etag(data)), ("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT"), *meta)
        wanted = headers.get("Range")
        if wanted is None:
            return Answer(200, data, common)
        start, _, end = wanted.removeprefix("bytes=").partition("-")
        if int(start) >= len(data):
            return refusal(416, "InvalidRange")
        part = data[int(start) : int(end) + 1 if end else None]
        place = f"bytes {start}-{int(start) + len(part) - 1}/{len(data)}"
        return Answer(206, part, (("Content-Range", place), *common))

    _head = _get

    def _delete(self, key, query, headers, body):
        # As Google does, for whom this is; of S3 obstore asks for deletions by the list.
        return Answer(204) if self.objects.pop(key, None) else refusal(404, "NoSuchKey")

    def _delete_many(self, body):
        elements = ET.fromstring(body).iter()
        keys = [element.text for element in elements if element.tag.endswith("Key")]
        for key in keys:
            self.objects.pop(key, None)
        rows = [f"<Deleted><Key>{escape(key)}</Key></Deleted>" for key in keys]
        return _xml(f"<DeleteResult>{''.join(rows)}</DeleteResult>")

    def _list(self, query):
        prefix, after = query.get("prefix", ""), query.get("continuation-token", "")
        keys = sorted(key for key in self.objects if key.startswith(prefix) and key > after)
        rows = [
            f"<Contents><Key>{escape(key)}</Key><Size>{len(self.objects[key][0])}</Size>"
            f"<LastModified>2026-01-01T00:00:00Z</LastModified></Contents>"
            for key in keys[: self.page]
        ]
        if len(keys) > self.page:
            token = escape(keys[self.page - 1])
            rows.append(f"<NextContinuationToken>{token}</NextContinuationToken>")
        return _xml(f"<ListBucketResult>{''.join(rows)}</ListBucketResult>")

    def _post(self, key, query, headers, body):
        upload = uuid.uuid4().hex
        self.uploads[upload] = (key, {}, _meta(headers))
        return _xml(
            f"<InitiateMultipartUploadResult><UploadId>{upload}</UploadId>"
            "</InitiateMultipartUploadResult>"
        )

    def _put_upload(self, key, query, headers, body):
        if query["uploadId"] not in self.uploads:
            return refusal(404, "NoSuchUpload")
        self.uploads[query["uploadId"]][1][int(query["partNumber"])] = body
        return Answer(200, headers=(("ETag", _etag(body)),))

    def _post_upload(self, key, query, headers, body):
        if query["uploadId"] not in self.uploads:
            return refusal(404, "NoSuchUpload")
        _, parts, meta = self.uploads.pop(query["uploadId"])
        data = b"".join(parts[number] for number in sorted(parts))
        self.objects[key] = (data, meta)
        return _xml(
            f"<CompleteMultipartUploadResult><ETag>{escape(_etag(data))}</ETag>"
            "</CompleteMultipartUploadResult>"
        )

    def _delete_upload(self, key, query, headers, body):
        if self.uploads.pop(query["uploadId"], None) is None:
            return refusal(404, "NoSuchUpload")
        return Answer(204)


def _meta(headers):
    return tuple(
        (k, v) for k, v in headers.items() if k.lower().startswith(("x-amz-meta-", "x-goog-meta-"))
    )


def _etag(data):
    return f'"{hashlib.md5(data).hexdigest()}"'


def refusal(status, code):
    """An error as S3 tells it."""
    text = f"<Error><Code>{code}</Code><Message>so it was planned</Message></Error>"
    return Answer(status, text.encode(), (("Content-Type", "application/xml"),))


def _xml(text):
    return Answer(200, text.encode(), (("Content-Type", "application/xml"),))
