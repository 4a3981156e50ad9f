"""Where agents of a bench run and write, beside this machine's own: Dask, Ray, a served storage."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from reliability.processes import MARK, descendants, end, environment, send, start, wait_for, words
from temporary_postgres import TemporaryPostgres

DASK = """
import sys
from distributed import LocalCluster
if __name__ == "__main__":
    with LocalCluster(n_workers=int(sys.argv[1]), threads_per_worker=1, host="127.0.0.1",
                      dashboard_address=None, silence_logs=50) as cluster:
        print("address", cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""
RAY = """
import sys, ray
for attempt in range(4):  # Ray gives itself 30 s to start, which a busy machine may exceed
    try:
        context = ray.init(num_cpus=int(sys.argv[1]), include_dashboard=False, object_store_memory=80 * 2**20,
                           logging_level="ERROR", log_to_driver=False, _node_ip_address="127.0.0.1")
        break
    except Exception:
        ray.shutdown()
        if attempt == 3:
            raise
print("address", context.address_info["gcs_address"], flush=True)
sys.stdin.read()
ray.shutdown()
"""
PATIENT = {"RAY_worker_niceness": "0"}  # with Ray's 15, nothing starts beside other work
PROGRAMS = {"dask": DASK, "ray": RAY}


@contextlib.contextmanager
def cluster(kind: str, folder: Path, *, places: int) -> Iterator[str]:
    """A cluster with `places` places for agents, of a process that is ended at the end; gives its address.

    What runs in it has the mark of `folder`. Ray's token comes from this process.
    """
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    program = folder / f"{kind}_cluster.py"  # Dask starts its workers by importing this file again
    program.write_text(PROGRAMS[kind])
    owner = subprocess.Popen(
        [sys.executable, str(program), str(places)],
        cwd=folder,
        env=environment(**PATIENT, **{MARK: str(folder)}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert owner.stdin is not None and owner.stdout is not None
    try:
        yield next(line.split()[1] for line in owner.stdout if line.startswith("address"))
    finally:
        owner.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            owner.wait(30)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(owner.pid, signal.SIGKILL)
        owner.wait()


class Server:
    """`tuner serve` for an SQLite file; it can be killed, and starts again on the same port."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.url = f"grpc://127.0.0.1:{self.port}"
        self._folder = folder

    def __enter__(self) -> Server:
        command = [sys.executable, "-m", "tuner", "serve", "--port", str(self.port)]
        command += ["--storage", f"sqlite:///{self._folder / 'served.db'}"]
        self._process = start(command, self._folder, environment(), log="server.log")
        wait_for(lambda: self._answers() or self._process.poll() is not None)
        if self._process.poll() is not None:
            raise RuntimeError((self._folder / "server.log").read_text()[-2000:])
        return self

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False

    def restart(self) -> None:
        """SIGKILL, then the same command again."""
        self.__exit__()
        self.__enter__()

    def __exit__(self, *_: object) -> None:
        send(self._process.pid, signal.SIGKILL)
        self._process.wait()


class Postgres(TemporaryPostgres):
    """A PostgreSQL server that can be killed."""

    def restart(self) -> None:
        """SIGKILL of all its processes; then it starts again and recovers what was committed."""
        assert self._server is not None
        family = [self._server.pid, *descendants(self._server.pid)]
        end(self._server)
        wait_for(lambda: not any(map(words, family)))  # it does not start while one of them lives
        self.start()
