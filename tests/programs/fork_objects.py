"""fork_objects URL OPTIONS BEFORE: use an object store in a forked child, then in the parent.

BEFORE is "made" for a store that was only made before the fork, or "used" for one that was used.
The child prints what it met, an exception's name and message or "stored", and then the parent.
"""

import json
import os
import sys

from sqla_artifacts import ArtifactStore


def use(store, who):
    try:
        payload = store.stage.data(who.encode())
        store.put([(payload, 0)])
        assert store.backend.get(next(store.backend.list("blobs/")).key)
    except Exception as error:  # noqa: BLE001 (the test reads it)
        what = f"{type(error).__name__}: {error}"
    else:
        what = "stored"
    print(f"{who} {what}", flush=True)  # noqa: T201 (the test reads it)


def main(url, options, before):
    store = ArtifactStore(url, **json.loads(options))
    if before == "used":
        use(store, "first")
    child = os.fork()
    if child == 0:
        use(store, "child")
        os._exit(0)
    os.waitpid(child, 0)
    use(store, "parent")


main(*sys.argv[1:])
