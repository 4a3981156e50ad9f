"""Runs or resumes a planned study: the study in the storage, its agents, a view, the end."""

from __future__ import annotations

from dataclasses import dataclass, replace

from optuna.trial import TrialState

from tuner.artifacts import run_store, shipping
from tuner.base.endings import headline
from tuner.base.errors import WorkFailed
from tuner.base.files import make_folder, write_json
from tuner.base.run_folder import STORED
from tuner.run import plan as plans
from tuner.run.agent import ended_runs
from tuner.run.agent.order import Order
from tuner.run.events import ShieldedView, StudyRun, View
from tuner.run.executors.choice import open_executor
from tuner.run.plan import Plan
from tuner.run.request import Request
from tuner.run.supervisor import Supervisor
from tuner.search import stopping
from tuner.storage import second_record, study_store
from tuner.storage.access import open_records
from tuner.storage.attributes import CHANGES, CONCLUDED, ERROR, SOURCES
from tuner.storage.study import OpenStudy, finished
from tuner.storage.study_store import ALL_FAILED, ChangedStudy
from tuner.tracking.mode import has_key
from tuner.tracking.tracker import open_tracker
from tuner.workloads.workload import Say

CONTINUE = "to continue: the same command"


@dataclass(frozen=True)
class Result:
    """How a study was left.

    Attributes:
        fine: False after an error. interrupted: the user stopped it here.
        stopped: somebody stopped it with `tuner stop` or `pause`.
    """

    reason: str
    fine: bool
    interrupted: bool
    finished: int
    total: int | None
    timed_out: bool = False
    stopped: bool = False

    @property
    def left(self) -> bool:
        """Whether the same command would continue the study."""
        return self.interrupted or self.timed_out or self.stopped

    def check(self, name: str) -> None:
        """Returns when the study is done; else raises KeyboardInterrupt, LeftEarly or WorkFailed."""
        if self.interrupted:
            raise KeyboardInterrupt(CONTINUE)
        if not self.fine:
            raise WorkFailed(f"{name}: {self.reason}")
        if self.timed_out:
            raise LeftEarly(f"time is up in {name}; run the same command to continue")
        if self.stopped:
            raise LeftEarly(f"{name} was {self.reason}; run the same command to continue")


class LeftEarly(Exception):
    """A study was left unfinished: its time was up, or somebody stopped it."""


def run(request: Request, view: View) -> Result:
    """Plans a request and launches the plan, with the errors of both."""
    return launch(plans.make(request, view.say), view)


def launch(plan: Plan, view: View) -> Result:
    """Runs a planned study until it is done or stopped.

    Raises:
        InputError: the study was started with other settings.
        StorageFailed: the storage cannot be used.
    """
    view = ShieldedView(view)
    study = register(plan, view.say)
    ended_runs.settle(study, plan.file, plan.request.results)
    if done := study.done():
        view.say(f"study {plan.file.name} is done: {done}")
        left = Result(done, True, False, 0, study.total)
    else:
        left = _supervise(plan, order_of(plan, study, view.say), view, study)
    left = _checked(left, study)
    if left.fine and not left.interrupted and study.done():
        conclude(study, plan, view.say)
        return replace(left, stopped=False)
    return left


def register(plan: Plan, say: Say) -> OpenStudy:
    """The study in the storage, which waits for its database; made if it is not there. Errors: `launch`."""
    request, file = plan.request, plan.file
    records = open_records(request.url, create=True, waits=True, say=say)

    def opened() -> OpenStudy:
        return study_store.open_study(
            records,
            file,
            plan.origin,
            trials=request.trials,
            default=plan.default,
            results=request.results,
            say=say,
        )

    def set_aside(why: str) -> None:
        if kept := study_store.set_aside(records, file.name, request.results):
            say(f"{why}the old study is kept as '{kept}'")

    if request.fresh:
        set_aside("")
    try:
        study = opened()
    except ChangedStudy as changed:
        if not changed.only_failures:
            raise
        set_aside(f"{ALL_FAILED}; ")
        study = opened()
    # a program or scheduler file that is another than when the study was begun: the study continues
    now = dict.fromkeys(each for each in plan.reads if each != plan.origin.data)
    before = SOURCES.of(study.attrs)
    old = {each.rpartition(" ")[0]: each for each in before.split(", ")}
    for source in now:
        name = source.rpartition(" ")[0]
        if name and old.get(name, source) != source:
            other = "" if file.function is None else "; for another function give another name="
            say(f"{name} has changed since the study began: earlier trials used the old version{other}")
    if now and ", ".join(now) != before:
        study.set_user_attr(SOURCES, ", ".join(now))
    return study


def order_of(plan: Plan, study: OpenStudy, say: Say) -> Order:
    """What the agents are sent; the artefact store and the tracker are opened for it."""
    request, file = plan.request, plan.file
    second_record.write_study(study, request.results)
    store = run_store.location_for(study, request.artifacts)
    if store is not None:
        if plan.inputs.travels and shipping.ship(plan.inputs.folder, plan.inputs.digest, store.url):
            say(f"{plan.inputs.name} uploaded to {store.url}")
        make_folder(request.results)
        write_json(request.results / STORED, {"store": store.url})
    tracker = open_tracker(
        request.wandb,
        study_name=file.name,
        results=request.results,
        project=file.raw.get("project"),
        entity=file.raw.get("entity"),
        external=plan.workload.own_tracking,
        artifacts=request.wandb_artifacts,
    )
    quiet = request.wandb == "auto" and not plan.workload.uses_wandb and not has_key()
    if (tracker.mode != "off" or plan.workload.own_tracking) and not quiet:
        say(tracker.reason)
    return Order(
        work=request,
        total=study.total,
        tracker=tracker,
        pruner=plan.pruner,
        base=plan.base,
        overrides=plan.overrides,
        inputs=plan.inputs,
        known_start=plan.default is not None,
        artifacts=store,
        length=plan.length,
        log=request.results / "logs" / file.name,
        changes=CHANGES.of(study.attrs),
        asked_before=study.asked_before,
    )


def _supervise(plan: Plan, order: Order, view: ShieldedView, study: OpenStudy) -> Result:
    request, total = plan.request, order.total
    executor = open_executor(
        request.executor,
        agents=request.agents,
        resources=plan.resources,
        gpus=plan.gpus,
        study=plan.file.name,
        total=total,
        say=view.say,
    )
    agents = request.agents or executor.agents(total)
    view.begin(StudyRun(study, agents, plan.length))

    def give_up(number: int, reason: str) -> None:
        study.give_up(number, reason)
        study.stop_because(stopping.reason_to_stop(study.get_trials(deepcopy=False), plan.file))

    def unstored(reason: str) -> None:
        view.say(f"some run folders are only on this machine: {reason}")

    supervisor = Supervisor(
        order,
        executor,
        agents=agents,
        on_event=view.event,
        on_tick=lambda: view.tick(supervisor.agents),
        timeout=request.timeout,
        give_up=give_up,
        stop_asked=study.stop_asked,
    )
    try:
        reason = supervisor.run()
        study.put_back(supervisor.killed)
        if not supervisor.interrupted and (mirror := order.mirror(study, unstored)):
            mirror.finish()  # what agents could not store: the store was away, or the study had none
    finally:
        executor.close()
        order.tracker.close()
        view.end()
    stopped = study.stop_asked() is not None
    return Result(reason, supervisor.fine, supervisor.interrupted, 0, total, supervisor.timed_out, stopped)


def _checked(left: Result, study: OpenStudy) -> Result:
    """How a study was left, with its count of finished trials; one whose every trial failed is not fine."""
    counts = study.counts()
    count = finished(counts, study.attrs)
    if left.fine and not left.interrupted and not count and counts[TrialState.FAIL]:
        study.records.refresh()
        failed = study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
        error = ERROR.of(failed[-1]) or "no reason was recorded" if failed else "before it was changed"
        return replace(
            left, fine=False, reason=f"all {counts[TrialState.FAIL]} trials failed: {headline(error)}"
        )
    return replace(left, finished=count)


def conclude(study: OpenStudy, plan: Plan, say: Say) -> None:
    """What the workload makes of a finished study, once; once more after the study was changed."""
    attrs = study.attrs
    state = 1 + CHANGES.of(attrs)  # 1 is what True was in studies before 0.3
    if plan.request.conclude and CONCLUDED.of(attrs) != state:
        plan.workload.conclude(study, plan.inputs, plan.request.results, say)
        study.set_user_attr(CONCLUDED, state)
