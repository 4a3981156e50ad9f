"""Scenarios of a W&B server that cannot be reached: at the start of a study, or from some moment on."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Literal, get_args

from reliability.bench import Bench, Outcome

Away = Literal["refuses", "hangs", "fails", "leaves"]
TRIALS = 6
TORN = 7  # bytes of a run's file in which nothing was written


class Handler(BaseHTTPRequestHandler):
    """Hangs, answers 500, or knows the key once and then answers 500."""

    how: Away
    asked = 0

    def do_POST(self) -> None:
        type(self).asked += 1
        if self.how == "hangs":
            time.sleep(60)
            return
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        known = self.how == "leaves" and self.asked == 1
        viewer = {"data": {"viewer": {"id": "1", "username": "somebody", "entity": "somebody"}}}
        self.send_response(200 if known else 500)
        self.end_headers()
        self.wfile.write(json.dumps(viewer if known else {}).encode())

    do_GET = do_PUT = do_POST

    def log_message(self, *_: object) -> None:
        """Nothing of this is news."""


@contextlib.contextmanager
def server(how: Away) -> Iterator[str]:
    """The address of such a server; nobody listens there if it refuses."""
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Own", (Handler,), {"how": how})) as found:
        if how == "refuses":
            found.server_close()
        else:
            threading.Thread(target=found.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{found.server_port}"
        if how != "refuses":
            found.shutdown()


def wandb_away(folder: Path) -> Outcome:
    """A study with `--wandb online` runs to its end, whatever becomes of the server."""
    problems, figures = [], []
    for how in get_args(Away):
        with server(how) as address:
            bench = Bench(
                folder / how,
                trials=TRIALS,
                wandb="online",
                environment={"WANDB_BASE_URL": address, "WANDB_API_KEY": "f" * 40, "WANDB_MODE": "online"},
            )
            began = time.monotonic()
            status = bench.finish()
        found = bench.problems()
        if status:
            found.append(f"exit status {status} {bench.error()}")
        kept = sum(
            path.stat().st_size > TORN for path in bench.folder.glob("results/wandb/**/offline-run-*/*.wandb")
        )
        if how != "leaves" and kept < TRIALS:
            found.append(f"{kept} runs are kept offline, wanted {TRIALS}")
        if how != "leaves" and "W&B offline" not in bench.output():
            found.append("it did not say that its runs are offline")
        if orphans := bench.orphans():
            found.append(f"{len(orphans)} processes left")
        figures.append(f"{how}: {kept} runs kept, {time.monotonic() - began:.0f} s")
        problems += [f"{how}: {problem}" for problem in found]
    return Outcome(problems, "; ".join(figures))
