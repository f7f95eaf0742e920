"""Which URLs and options a bucket takes, and that none of them shows."""

import pickle
from datetime import timedelta

import pytest

from sqla_artifacts import ArtifactStore
from sqla_artifacts.backends import open_backend
from sqla_artifacts.backends.client import reason
from sqla_artifacts.backends.generic import GenericBackend
from sqla_artifacts.backends.objects import ObjectBackend
from sqla_artifacts.errors import UnknownProtocolError
from sqla_artifacts.testing.backends import KEY, keys, payload

from ..optional import need

SECRET = "the-very-secret"


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("s3://bucket", {}),
        ("s3a://bucket/a/b/", {"endpoint_url": "https://example.org", "region": "eu-west-1"}),
        ("s3://bucket", {"allow_http": True, "read_timeout": timedelta(seconds=9)}),
        ("s3://bucket", {"client_options": {"proxy_url": "http://127.0.0.1:1"}}),
        ("s3://bucket", {"storage_options": {"region": "eu-west-1"}}),
        ("gs://bucket/prefix", {}),
        ("gcs://bucket", {"skip_signature": True}),
        ("az://container/prefix", {"account_name": "account", "sas_key": "sv=2021"}),
        ("abfs://container", {"account_name": "account"}),
        ("abfss://container@account.dfs.core.windows.net/prefix", {}),
    ],
)
def test_obstore_opens_what_it_knows(url, options):
    backend = open_backend(url, **options)
    assert isinstance(backend, ObjectBackend)
    assert backend.url == url.rstrip("/")
    assert backend.is_remote


@pytest.mark.parametrize(
    "options", [{"key": "k", "secret": SECRET}, {"anon": True}, {"profile": "dev", "region": "x"}]
)
def test_fsspec_opens_what_has_its_options(options):
    need("s3fs")
    backend = open_backend("s3://bucket/x", **options)
    assert isinstance(backend, GenericBackend)
    assert backend.url == "s3://bucket/x"


@pytest.mark.parametrize("user", [f"me:{SECRET}", SECRET])
def test_a_bucket_has_no_user(user):
    need("s3fs")
    with pytest.raises(ValueError, match=r"^s3://bucket/x was given with a user") as caught:
        open_backend(f"s3://{user}@bucket/x")
    assert SECRET not in str(caught.value)


def test_without_obstore_fsspec_opens_it_all(monkeypatch):
    need("s3fs")
    monkeypatch.setattr("sqla_artifacts.backends.find_spec", lambda name: None)
    assert isinstance(open_backend("s3://bucket/x"), GenericBackend)


@pytest.mark.parametrize("url", ["s3://", "s3://bucket/a?b", "s3://bucket//a", "s3://bucket/a%20b"])
def test_an_unclear_url_is_refused(url):
    with pytest.raises(UnknownProtocolError, match="of this form"):
        ObjectBackend(url)


def test_secrets_do_not_show(s3):
    options = s3.options | {"secret_access_key": SECRET}
    store = ArtifactStore(f"{s3.url}/secret", **options)
    shown = [store.url, repr(store), repr(store.backend)]
    shown += [pickle.dumps(store).decode("latin-1"), pickle.dumps(store.backend).decode("latin-1")]
    for call in (
        lambda: store.backend.get(KEY),
        lambda: store.backend.put([(KEY, payload(b"x"))]),
        lambda: store.backend.create(KEY, b"x"),
        lambda: keys(store.backend, ""),
    ):
        with pytest.raises(OSError, match="SignatureDoesNotMatch") as caught:
            call()
        assert "s3://tests/secret" in str(caught.value)
        assert caught.value.__cause__ is None
        shown.append(str(caught.value))
    assert not [text for text in shown if SECRET in text or s3.options["access_key_id"] in text]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET http://h/k?sig=SECRET&se=1 in 3ms - no", "GET http://h/k in 3ms - no"),
        (
            "GET http://me:SECRET@h/k in 3ms - no\n\nDebug source:\nSECRET",
            "GET http://h/k in 3ms - no",
        ),
        ("403: <Error><Code>No</Code><Key>SECRET</Key><Message>Never</Message>", "403: No: Never"),
    ],
)
def test_what_may_be_secret_is_cut_from_a_message(text, shown):
    assert reason(Exception(text)) == shown


def test_a_denial_is_a_permission_error(s3):
    backend = ObjectBackend(s3.url, **s3.options | {"secret_access_key": SECRET})
    with pytest.raises(PermissionError, match=f"cannot read '{KEY}' in s3://tests: "):
        backend.get(KEY)


def test_a_pickled_backend_takes_its_options_from_the_environment(faulty_s3, monkeypatch):
    store = ArtifactStore(f"{faulty_s3.url}/place", **faulty_s3.options)
    store.backend.put([(KEY, payload(b"one"))])
    monkeypatch.setenv("AWS_ENDPOINT_URL", faulty_s3.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert pickle.loads(pickle.dumps(store)).backend.get(KEY) == b"one"
    assert pickle.loads(pickle.dumps(store.backend)).get(KEY) == b"one"


def test_a_missing_bucket_is_no_missing_object(s3):
    backend = ObjectBackend("s3://no-such-bucket", **s3.options)
    for call in (lambda: backend.get(KEY), lambda: backend.open(KEY), lambda: keys(backend, "")):
        with pytest.raises(OSError, match="NoSuchBucket") as caught:
            call()
        assert not isinstance(caught.value, FileNotFoundError)


def test_no_server_is_an_error_that_says_where():
    retry = {"max_retries": 1}
    options = {"endpoint": "http://127.0.0.1:1", "skip_signature": True, "retry_config": retry}
    backend = ObjectBackend("s3://tests", **options)
    with pytest.raises(OSError, match=f"cannot read '{KEY}' in s3://tests: .*127.0.0.1:1"):
        backend.get(KEY)
