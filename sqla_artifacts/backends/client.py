"""obstore's client of one bucket: its options, its process, and what its errors say."""

from __future__ import annotations

import os
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from obstore.exceptions import GenericError, UnknownConfigurationKeyError
from obstore.store import from_url

from ..errors import StoreError, UnknownProtocolError

if TYPE_CHECKING:
    from collections.abc import Mapping

# What obstore takes as `client_options`, and panics over in any other place.
_CLIENT_OPTIONS = frozenset(
    {
        "allow_http",
        "allow_invalid_certificates",
        "connect_timeout",
        "default_content_type",
        "default_headers",
        "http1_only",
        "http2_keep_alive_interval",
        "http2_keep_alive_timeout",
        "http2_keep_alive_while_idle",
        "http2_only",
        "pool_idle_timeout",
        "pool_max_idle_per_host",
        "proxy_ca_certificate",
        "proxy_excludes",
        "proxy_url",
        "randomize_addresses",
        "read_timeout",
        "root_certificate",
        "timeout",
        "user_agent",
    }
)

_CLIENT = {
    # Matters where an endpoint was given that begins so, and nowhere else.
    "allow_http": True,
    "connect_timeout": timedelta(seconds=10),
    # From a request to its answer: it limits how slowly the largest request may be sent, too.
    "read_timeout": timedelta(minutes=2),
    # Of one whole transfer, which may be a large one.
    "timeout": timedelta(hours=1),
}

_RETRY = {
    "max_retries": 8,
    "retry_timeout": timedelta(minutes=1),
    "backoff": {
        "init_backoff": timedelta(milliseconds=100),
        "max_backoff": timedelta(seconds=8),
        "base": 2,
    },
}


class Client:
    """A bucket ``url`` without a path, and obstore's options for it.

    Making one starts no thread and sends nothing. Raises :class:`UnknownProtocolError` for a
    URL or an option that obstore does not know.
    """

    _used_in: int | None = None  # the process in which obstore has its threads, once it has any

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        self._url = url
        config = {name: value for name, value in options.items() if name not in _CLIENT_OPTIONS}
        client = _CLIENT | config.pop("client_options", {})
        client |= {name: value for name, value in options.items() if name in _CLIENT_OPTIONS}
        config.setdefault("retry_config", _RETRY)
        try:
            # It knows gs:// by this name only.
            url = url.replace("gcs://", "gs://")
            self._store = from_url(f"{url}/", client_options=client, **config)
        except (GenericError, UnknownConfigurationKeyError) as error:
            msg = f"obstore cannot open {self._url}: {reason(error)}"
            raise UnknownProtocolError(msg) from None

    @property
    def store(self) -> Any:
        """What obstore's functions take, for use in this process.

        Raises :class:`StoreError` in a process that was forked from one that had used obstore.
        """
        here = os.getpid()
        if Client._used_in not in {None, here}:
            msg = (
                f"the store {self._url} cannot be used in this process ({here}): it was forked "
                f"from one ({Client._used_in}) that had used an object store already, and threads "
                "do not survive a fork. Use object stores only after forking, or start processes "
                'by "spawn" or "forkserver"'
            )
            raise StoreError(msg)
        Client._used_in = here
        return self._store


def reason(error: Exception) -> str:
    """Return what an error of obstore's says, in one line, without what may be a credential."""
    text = str(error).partition("\n\nDebug source")[0]
    told = re.findall(r"<(?:Code|Message)>([^<]*)<", text)
    text = ": ".join([text.partition("<")[0].strip().rstrip(":"), *told])
    text = re.sub(r"\?\S*|(?<=//)[^/\s@]*@", "", text)  # a signature, a user
    return " ".join(text.split())[:600]
