"""forking DATABASE STORE: fork with connections open, and store in both processes."""

import os
import sys
import traceback

from sqlalchemy import create_engine

from sqla_artifacts import ArtifactStore

from .scene import Scene


def main(database, store):
    scene = Scene(create_engine(database), ArtifactStore(store))
    scene.commit(b"before")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            scene.engine.dispose(close=False)
            scene.commit(b"both", b"child")
            scene.engine.dispose()
            status = 0
        except BaseException:  # noqa: BLE001 (nothing may leave the child but its status)
            traceback.print_exc()
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    scene.commit(b"both", b"parent")
    scene.engine.dispose()
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
