"""Azure Blob Storage, by Azurite from npm: `npm install azurite`."""

import base64
import shutil
import urllib.error
import urllib.request
from email.utils import formatdate
from hashlib import sha256
from hmac import digest

from .process import Server, free_ports

# Azurite's own account, the same everywhere.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


class Azure(Server):
    """Azurite's blob service, with one container."""

    name = "azurite"
    url = "az://tests"

    @staticmethod
    def missing():
        """Why it cannot be had here, or None."""
        if shutil.which("azurite-blob") is None:
            return "Azurite is not on the PATH: npm install -g azurite"
        return None

    def command(self):
        (port,) = free_ports(1)
        self.endpoint = f"http://127.0.0.1:{port}/{ACCOUNT}"
        return [
            shutil.which("azurite-blob"),
            "--inMemoryPersistence",
            "--disableTelemetry",
            "--skipApiVersionCheck",
            "--blobHost=127.0.0.1",
            f"--blobPort={port}",
        ]

    def is_ready(self):
        """Make the container, which obstore has no call for."""
        headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
        resource = f"/{ACCOUNT}/{ACCOUNT}/tests\nrestype:container"
        canonical = "\n".join(f"{name}:{value}" for name, value in headers.items())
        text = "PUT" + 12 * "\n" + f"{canonical}\n{resource}"
        signature = base64.b64encode(digest(base64.b64decode(KEY), text.encode(), sha256)).decode()
        headers["Authorization"] = f"SharedKey {ACCOUNT}:{signature}"
        request = urllib.request.Request(
            f"{self.endpoint}/tests?restype=container", data=b"", headers=headers, method="PUT"
        )
        request.add_unredirected_header("Content-Type", "")
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.status == 201
        except urllib.error.HTTPError as error:
            raise RuntimeError(error.read().decode()) from error

    @property
    def options(self):
        """What obstore has to be told."""
        return {"account_name": ACCOUNT, "account_key": KEY, "endpoint": self.endpoint}

    @property
    def fsspec_options(self):
        """What adlfs has to be told."""
        connection = {
            "DefaultEndpointsProtocol": "http",
            "AccountName": ACCOUNT,
            "AccountKey": KEY,
            "BlobEndpoint": self.endpoint,
        }
        return {"connection_string": ";".join(map("=".join, connection.items()))}
