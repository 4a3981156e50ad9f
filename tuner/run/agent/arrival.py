"""What an agent checks before its first trial when its order came from another process's machine.

An executor's workers may run on other hosts: nothing that the order names needs to be there.
"""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import replace
from pathlib import Path

from tuner.artifacts import shipping
from tuner.base.errors import InputError, WorkFailed
from tuner.base.sqlite_url import sqlite_path, sqlite_url
from tuner.run.agent.order import Order, Sender
from tuner.workloads.workload import Workload


class Unsuited(WorkFailed):
    """An agent cannot work where it is; agents elsewhere may. One line names host, cause and remedy."""


def addressed(order: Order) -> Order:
    """The order with its sender, and with paths that mean the same in any folder."""
    work, path = order.work, sqlite_path(order.work.url)
    return replace(
        order,
        sender=Sender.this_process(),
        work=replace(
            work,
            url=work.url if path is None else sqlite_url(path.resolve()),
            study_file=replace(work.study_file, path=work.study_file.path.resolve()),
            results=work.results.resolve(),
        ),
        inputs=replace(order.inputs, folder=order.inputs.folder and order.inputs.folder.resolve()),
        log=order.log and order.log.resolve(),
    )


def settle(order: Order) -> None:
    """Goes where the command was given, if that folder is here, and checks storage and results folder.

    Raises:
        Unsuited: one of them cannot be used from here.
    """
    if order.sender is None:
        return
    if order.sender.folder.is_dir():
        os.chdir(order.sender.folder)
    sys.path.insert(0, str(Path.cwd()))  # as `tuner` does: a study's function may lie there
    path = sqlite_path(order.work.url)
    if path is not None and (order.sender.elsewhere() or not path.exists()):
        raise Unsuited(
            f"worker on {socket.gethostname()}: {path} is a file of {order.sender.host}, and SQLite serves "
            "one machine only; for workers on other hosts give --storage postgresql://… or grpc://…"
        )
    try:
        order.work.results.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Unsuited(
            f"worker on {socket.gethostname()}: the results folder {order.work.results} cannot be made there "
            f"({error.strerror}); give --results a folder that can be written on every host"
        ) from None


def inputs_folder(order: Order, workload: Workload) -> Path | None:
    """Where the inputs of the order lie on this machine, fetched if need be; None: the trials read none.

    Raises:
        Unsuited: they are not on the worker's machine, and cannot be fetched.
        InputError, StoreFailed: the same on the machine that the study was started on.
    """
    inputs, store = order.inputs, order.artifacts
    if inputs.folder is None or not inputs.travels:
        return inputs.folder
    try:
        return shipping.resolve(
            inputs.folder,
            digest=inputs.digest,
            url=None if store is None else store.url,
            digest_of=workload.digest_of,
        )
    except (InputError, WorkFailed) as error:
        if order.sender is None:
            raise
        raise Unsuited(f"worker on {socket.gethostname()}: {error}") from None
