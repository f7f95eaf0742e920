"""The engine plugin ``artifacts``: a store by configuration alone.

::

    create_engine(url, plugins=["artifacts"], artifact_store="s3://bucket/prefix")
    create_engine("sqlite:///app.db?plugin=artifacts&artifact_store=./artifacts")

``artifact_schema`` is the schema of the ledger's tables, where it is not the default one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import CreateEnginePlugin

from .attach import attach
from .errors import StoreError
from .store import ArtifactStore

if TYPE_CHECKING:
    from sqlalchemy import URL, Engine


class ArtifactsPlugin(CreateEnginePlugin):
    """Attaches the store that ``artifact_store`` names to the engine being created."""

    def __init__(self, url: URL, kwargs: dict[str, Any]) -> None:
        options = {key: url.query[key] for key in self._KEYS if key in url.query}
        options.update({key: kwargs.pop(key) for key in self._KEYS if key in kwargs})
        if "artifact_store" not in options:
            msg = "the engine plugin 'artifacts' needs artifact_store=, the URL of a store"
            raise StoreError(msg)
        self._store: Any = options["artifact_store"]
        self._schema: Any = options.get("artifact_schema")

    _KEYS = ("artifact_store", "artifact_schema")

    def update_url(self, url: URL) -> URL:
        """Take the plugin's own parameters out of the database's URL."""
        return url.difference_update_query(self._KEYS)

    def engine_created(self, engine: Engine) -> None:
        """Attach the store."""
        store = self._store
        store = store if isinstance(store, ArtifactStore) else ArtifactStore(store)
        attach(store, engine, schema=self._schema)
