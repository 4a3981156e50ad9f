"""A PostgreSQL server of its own on a free port of this machine, for tests and benchmarks.

    with TemporaryPostgres() as server:
        print(server.url("studies"))

It does not wait for the disk (fsync off): a crash of the machine may lose it, one of the server does not.
PostgreSQL refuses to run as root; started by root it runs as the user `postgres`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

USER, PASSWORD = "tuner", "s3cret-pw"
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
}


def binaries() -> Path | None:
    """The folder of `initdb` and `postgres`, the newest there is; None: PostgreSQL is not installed."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if found:
        return max(found, key=lambda path: float(path.parent.name))
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


class TemporaryPostgres:
    """Starts on entering, ends and is removed on leaving; `stop` and `start` in between keep its data."""

    def __init__(self, *, connections: int = 100) -> None:
        self._connections = connections
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-", dir="/tmp"))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> TemporaryPostgres:
        if os.geteuid() == 0:
            shutil.chown(self._folder, "postgres")
        password = self._folder / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        options = ["-U", USER, "--pwfile", str(password), "-A", "scram-sha-256", "-E", "UTF8", "--locale=C"]
        self._run("initdb", "-N", *options)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def url(self, database: str) -> str:
        """The URL of a database, which is made when it is not there."""
        self.execute(f'CREATE DATABASE "{database}"', exists_ok=True)
        return f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def execute(
        self, statement: Any, *, database: str = "postgres", exists_ok: bool = False
    ) -> list[tuple[Any, ...]]:
        """Runs one statement as the superuser; returns its rows."""
        import psycopg

        url = f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/{database}"
        with psycopg.connect(url, autocommit=True) as connection:
            ignored = (psycopg.errors.DuplicateDatabase,) if exists_ok else ()
            with contextlib.suppress(*ignored):
                cursor = connection.execute(statement)
                return cursor.fetchall() if cursor.description else []
        return []

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        settings = {**SETTINGS, "port": self.port, "max_connections": self._connections}
        postgres = self._command("postgres", *(f"--{name}={value}" for name, value in settings.items()))
        if shutil.which("setpriv"):  # where this process is killed, the server goes too
            postgres = ["setpriv", "--pdeathsig=INT", *(postgres[1:] if os.geteuid() == 0 else postgres)]
        log = self._folder / "log"
        with log.open("ab") as output:  # in a session of its own: a Ctrl-C must not take it away first
            self._server = subprocess.Popen(
                postgres, stdout=output, stderr=output, cwd="/", start_new_session=True
            )
        deadline = time.monotonic() + 30
        while True:
            try:
                self.execute("SELECT 1")
                return
            except Exception:
                if self._server.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(log.read_text()[-2000:]) from None
                time.sleep(0.05)

    def stop(self) -> None:
        """Ends the server at once, with all its connections."""
        if self._server is None:
            return
        self._run("pg_ctl", "stop", "-m", "immediate")
        self._server.wait()
        self._server = None

    def _run(self, name: str, *arguments: str) -> None:
        command = self._command(name, *arguments)
        done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False)
        if done.returncode:
            raise RuntimeError(f"{name}: {done.stderr or done.stdout}")

    def _command(self, name: str, *arguments: str) -> list[str]:
        """A program of PostgreSQL on this server's data."""
        folder = binaries()
        if folder is None:
            raise RuntimeError("PostgreSQL is not installed")
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        program = [str(folder / name), "-D", str(self._folder / "data"), *arguments]
        return [*(as_user if os.geteuid() == 0 else []), *program]
