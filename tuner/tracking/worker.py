"""The process that runs the W&B client. Reads JSON lines and writes W&B runs.

`tuner.tracking.process` starts it as `python -m tuner.tracking.worker SETTINGS`. Each line of standard input
is one message (`start`, `log`, `finish`) about the trial `number`. When the pipe closes, open runs are ended
as failed, so W&B files are complete even if the agent was killed. An error in the client ends this process.
The agent then starts another one.
"""

from __future__ import annotations

import faulthandler
import json
import sys
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

STUCK_SECONDS = 90.0  # if a message takes longer, the client hangs
SERVICE_SECONDS = 60.0  # for the client's service to start: usually 1 s, longer on an overloaded machine
INIT_SECONDS = 15.0
FINISH_SECONDS = 60.0

SYNCED = ".wandb.synced"  # ending of the file with which the W&B client marks an uploaded run


def serve(lines: Iterable[str], settings: Mapping[str, Any]) -> None:
    """Handles the messages in `lines`, then ends the open runs."""
    runs: dict[int, Any] = {}
    try:
        for line in lines:
            faulthandler.dump_traceback_later(STUCK_SECONDS, exit=True)
            _carry_out(json.loads(line), runs, settings)
            faulthandler.cancel_dump_traceback_later()
    finally:
        faulthandler.dump_traceback_later(STUCK_SECONDS, exit=True)
        for run in runs.values():
            run.summary.update({"state": "failed"})
            run.finish(exit_code=1)


def _carry_out(message: Mapping[str, Any], runs: dict[int, Any], settings: Mapping[str, Any]) -> None:
    number = message["number"]
    if message["do"] == "start":
        runs[number] = _start(message, settings)
    elif number not in runs:
        return  # the run was started by a worker that died; `tuner sync` rebuilds it from its folder
    elif message["do"] == "log":
        step = message.get("step", message["epoch"])
        runs[number].log({"epoch": message["epoch"], **message["metrics"]}, step=step, commit=True)
    else:
        _finish(runs.pop(number), message, settings)


def _start(message: Mapping[str, Any], settings: Mapping[str, Any]) -> Any:
    import wandb

    folder = settings["folder"]
    Path(folder).mkdir(parents=True, exist_ok=True)
    return wandb.init(
        project=settings["project"],
        entity=settings["entity"],
        group=settings["group"],
        job_type="trial",
        id=message["id"],
        name=message["name"],
        tags=message["tags"],
        config=message["config"],
        dir=folder,
        mode=settings["mode"],
        reinit="create_new",
        settings=wandb.Settings(
            console="off",
            silent=True,
            init_timeout=INIT_SECONDS,
            finish_timeout=FINISH_SECONDS,
            finish_timeout_raises=True,
            x_disable_meta=True,  # would record the command line of this worker, not of the trial
            x_disable_stats=True,
            x_service_wait=SERVICE_SECONDS,
            x_save_requirements=False,
            disable_git=True,
            save_code=False,
        ),
    )


def _finish(run: Any, message: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
    """Ends a run. If the server has all of it, writes the W&B client's mark for uploaded files."""
    run.summary.update({**message["summary"], "state": message["state"], "number": message["number"]})
    run.tags = (*(run.tags or ()), message["state"])
    if message["artifact"] and settings["mode"] == "online":
        try:
            run.log_artifact(message["artifact"], name=f"run-{run.id}", type="run-folder")
        except Exception:
            traceback.print_exc()  # do not lose the run because its attachment failed
    try:
        run.finish(exit_code=1 if message["state"] == "failed" else 0)
    except TimeoutError:
        traceback.print_exc()  # complete on disk but not on the server: `tuner sync` uploads it
    else:
        if settings["mode"] == "online":
            Path(run.settings.sync_file).with_suffix(SYNCED).touch()


if __name__ == "__main__":
    serve(sys.stdin, json.loads(sys.argv[1]))
