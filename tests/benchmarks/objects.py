"""python -m tests.benchmarks.objects [COUNT [KIB]]: objects to a bucket and back, two ways.

SeaweedFS on this machine, 32 requests at once: what is compared is what the two clients cost. CPU
time is this process's alone.
"""

import os
import sys
import time
import uuid

from sqla_artifacts.backends.generic import GenericBackend
from sqla_artifacts.backends.objects import ObjectBackend
from sqla_artifacts.testing.backends import payload
from sqla_artifacts.transfer import Pool
from tests.servers import S3


def measured(label, function, items):
    pool = Pool(32)
    began, cpu = time.perf_counter(), time.process_time()
    pool.each(function, items)
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    rate = len(items) / seconds
    each = cpu / len(items) * 1e6
    print(f"{label:<24}{rate:>8.0f} /s {seconds:>8.2f} s {cpu:>8.2f} s CPU {each:>8.0f} us each")


def main(count=1000, kib=100):
    server = S3()
    url = f"{server.url}/{uuid.uuid4().hex}"
    backends = {
        "obstore": ObjectBackend(f"{url}/obstore", **server.options),
        "s3fs": GenericBackend(f"{url}/s3fs", **server.fsspec_options),
    }
    data = [os.urandom(kib << 10) for _ in range(count)]
    try:
        for name, backend in backends.items():
            objects = [(f"blobs/{n % 100:02}/{n}", payload(each)) for n, each in enumerate(data)]
            backend.put([("blobs/first", payload(b"x"))])  # connects
            measured(f"{name} put", lambda each, to=backend: to.put([each]), objects)
            keys = [key for key, _ in objects]
            measured(f"{name} get", backend.get, keys)
    finally:
        server.close()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
