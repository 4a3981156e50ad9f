"""An agent's side of a study: its storage, the trials that it may take, and what happens when they end.

An agent works at a station, and so does a process that asks for trials (`tuner.run.asking`).
"""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Callable
from pathlib import Path

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from tuner.artifacts import checkpoints, weights
from tuner.base.errors import WorkFailed
from tuner.definition.sampler import FREEZE_THAW
from tuner.run.agent import arrival
from tuner.run.agent.order import Order
from tuner.run.agent.trial import Ended, TrialRunner
from tuner.search import pruners, samplers, stopping
from tuner.storage import leases
from tuner.storage.access import open_records
from tuner.storage.allocate import Allocator, Chooser, Done, Wait
from tuner.storage.attributes import AGENTS_STARTED
from tuner.storage.records import Records
from tuner.storage.study import SEARCHED, OpenStudy, studies_to_learn_from
from tuner.workloads import scheduler_functions
from tuner.workloads.registry import workload_of

SMALLEST_FREE = 64 << 10  # bytes; with less, a disk is full whatever the study wants
IDLE_SECONDS = 0.25  # between looks at the storage while all places are taken


class Station:
    """Hands out the trials of one order to this process and tidies up after each.

    Args:
        stopping, lost, on_epoch: of its runner (`Workplace`).
        unstored: told in a line why a run folder is on this machine alone.
        mark: of what this process starts, where it is an agent.
    """

    def __init__(
        self,
        order: Order,
        *,
        stopping: Callable[[], bool] = lambda: False,
        lost: Callable[[], bool] = lambda: False,
        on_epoch: Callable[[int, int, float | None], None] = lambda number, epoch, value: None,
        unstored: Callable[[str], None] = lambda reason: None,
        mark: str = "",
    ) -> None:
        self.order = order
        self.owner = leases.Owner.this_process(mark=mark)
        work, study_file = order.work, order.work.study_file
        self.records = open_records(work.url, waits=True, stopping=stopping)
        self.study = OpenStudy(self.records, study_file.name, study_file)
        self.study.asked_before = order.asked_before

        def counted() -> int:
            serial = AGENTS_STARTED.of(self.study.attrs)
            self.study.set_user_attr(AGENTS_STARTED, serial + 1)
            return serial

        serial = self.records.together(counted)
        seed = seed_of(study_file.name, work.seed, serial)  # equal seeds draw equal start-up trials
        self._functions = scheduler_functions.load(study_file)
        given = self._functions.sampler
        if given is not None and serial > 0:
            given.reseed_rng()  # several agents would draw the same
        self.study.sampler = samplers.make(study_file, seed, known_start=order.known_start, given=given)
        grid = None
        if study_file.method == "grid":
            grid = [study_file.space.params_for(config) for config in study_file.grid()]
            grid = grid[: order.total]
        self._allocator = Allocator(
            self.study,
            owner=self.owner,
            observer=leases.Observer(term=work.term, since=self.records.patience.back_at),
            total=order.total,
            grid=grid,
            changes=order.changes,
            chooser=_chooser(order, seed, self.records),
        )
        workload = workload_of(study_file, wandb=order.tracker.inner, results=work.results)
        self._weights = workload.weights
        self._mirror = order.mirror(self.study, unstored)
        self.runner = TrialRunner(
            study=self.study,
            workload=workload,
            inputs=arrival.inputs_folder(order, workload),
            pruner=pruners.make(order.pruner, study_file.name, given=self._functions.pruner),
            drawn=self._functions.drawn,
            tracker=order.tracker,
            runs=work.results / "runs" / study_file.name,
            checkpoints=checkpoints.Checkpoints(
                work.results / checkpoints.FOLDER / study_file.name, order.artifacts, unstored
            ),
            base=order.base,
            overrides=order.overrides,
            stopping=stopping,
            lost=lost,
            on_epoch=on_epoch,
            length=order.length,
            pauses=study_file.sampler == FREEZE_THAW,
            disk_full=lambda own: disk_full(work.results, max(work.min_free, SMALLEST_FREE) - own),
        )

    def heartbeat(self) -> leases.Heartbeat:
        """A heart for the trials that this process runs, one at a time each."""
        return leases.Heartbeat(self.owner, self.records.renew, term=self.order.work.term)

    def next(self) -> FrozenTrial | Wait | Done:
        """The next trial, claimed and RUNNING; or why there is none.

        Raises:
            WorkFailed: the disk is full.
            StorageFailed: the storage does not answer, for too long already.
        """
        if full := disk_full(self.order.work.results, self.order.work.min_free):
            raise WorkFailed(full)
        found = self._allocator.next()
        if isinstance(found, Done) and found.closed:
            self.runner.close_paused(found.closed)
        return found

    def tidy_up(self, ended: Ended) -> None:
        """What a trial's end may mean for the study and for the disk."""
        work, file = self.order.work, self.study.file
        if ended.outcome == "failed" or file.may_stop:
            trials = self.study.get_trials(deepcopy=False)
            self.study.stop_because(stopping.reason_to_stop(trials, file))
        if self._functions.is_enough(self.study):
            terminator = f"the terminator of {file.scheduler.optimizer}"
            self.study.stop_because(f"{SEARCHED}: {terminator} says that it is enough")
        if ended.outcome == "complete":
            weights.tidy(self.study, file, work.results, keep=work.keep_weights, patterns=self._weights)
            if self._mirror is not None:
                self._mirror.after(ended.number)


def _chooser(order: Order, seed: int, records: Records) -> Chooser | None:
    """What chooses between paused and new trials; None where the study pauses none."""
    if order.work.study_file.sampler != FREEZE_THAW or order.length is None:
        return None
    from tuner.search.thawing import Thawing, earlier_of  # scipy, which other studies do not wait for

    file = order.work.study_file
    return Thawing(
        file,
        given=(order.base, order.overrides),
        length=order.length,
        total=order.total,
        seed=seed,
        earlier=[
            earlier_of(study.get_trials(deepcopy=False), maximize=study.direction is StudyDirection.MAXIMIZE)
            for study in studies_to_learn_from(records, file)
        ],
    )


def disk_full(folder: Path, wanted: int) -> str | None:
    """What to do where fewer than `wanted` bytes are free on the disk of `folder`; None: enough is free."""
    free = shutil.disk_usage(folder).free
    if free >= wanted:
        return None
    return (
        f"{folder}: {free / 2**20:.0f} MiB are free on its disk, {max(1, wanted >> 20)} are needed before "
        "a trial starts; free some space and run the same command again"
    )


def seed_of(study_name: str, seed: int, serial: int) -> int:
    """The sampler's seed of the `serial`-th agent that works on a study."""
    return zlib.crc32(f"{study_name}/{seed}/{serial}".encode())
