"""`referee run`: runs the incumbent and the candidate in pairs until one can say which is better.

The runs of an arm are the trials of a grid study of its own, one a seed: agents, GPU leases, logs and the way
back after Ctrl-C are those of every study, and an incumbent that was run against an earlier candidate is not
run again on the same seeds. After each pair the referee is asked, with the whole history of the folder.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path

from optuna.trial import FrozenTrial, TrialState

from tuner.base.errors import InputError, WorkFailed
from tuner.base.words import counted, number, short_duration
from tuner.definition.pruner_settings import PrunerSettings
from tuner.definition.study_file import StudyFile
from tuner.plugins.referee import history as histories
from tuner.plugins.referee import own, repository
from tuner.plugins.referee.arms import STOPPED, Ruling
from tuner.plugins.referee.history import USUAL, History, refereed
from tuner.plugins.referee.judge import Referee
from tuner.plugins.referee.own import OWN
from tuner.plugins.referee.sides import FIRST_SEED, SEEDS, Choice, Side, Task, edited_evaluation, seeding
from tuner.run import plan as plans
from tuner.run.events import Event
from tuner.run.executors import gpus
from tuner.run.launch import CONTINUE, Result, launch
from tuner.run.request import Request
from tuner.show.lines import SilentView
from tuner.stats.noise import seed_is_ignored
from tuner.storage.access import find_records
from tuner.storage.attributes import AGENT_LOST, ERROR, GRID_POINT, PRUNED_BECAUSE
from tuner.storage.study import find_study, training_seconds

LEAST_CURVES = 3  # complete runs, before which no run is ended early
SLACK = 3.0  # chosen on the half of AlgoPerf that chooses settings (`benchmarks/bench_referee.py`)
Say = Callable[[str], None]


class _View(SilentView):
    """Says only why something does not go on; the runs themselves are said by the duel."""

    def event(self, event: Event) -> None:
        if event.kind in ("died", "waits", "refused", "stopping") and (line := self._line_about(event)):
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)


@dataclass
class Duel:
    """An incumbent and a candidate, and their runs.

    Attributes:
        alone: the two sides are judged by their own runs, as the history has another incumbent.
    """

    task: Task
    incumbent: Side
    candidate: Side
    results: Path
    url: str
    say: Say
    source: Path | None = None
    alone: bool = False

    @classmethod
    def of(cls, options: argparse.Namespace, say: Say, url: str) -> Duel:
        """What the options ask for."""
        folder = Path.cwd().resolve()
        words = tuple(options.words[1:] if options.words[:1] == ["--"] else options.words)
        if not words:
            raise InputError("what shall be run? give the command behind --, as in: -- python train.py")
        history = known(folder, options.source, metric=options.metric, goal=options.goal)
        task = Task(
            folder,
            words,
            history.metric,
            history.maximize,
            root=repository.root_of(folder),
            seconds=options.each,
            evaluation=tuple(options.evaluation),
        )
        choice = Choice(task, options.results.resolve(), history)
        candidate = choice.candidate(options.candidate)
        incumbent, alone = choice.incumbent(options.incumbent, candidate)
        task = seeding(task, (incumbent, candidate), options.seed_flag, options.seed_variable)
        for line in choice.notes:
            say(line)
        say(f"incumbent {incumbent.name} ({incumbent.note}), candidate {candidate.name} ({candidate.note})")
        seeds = "the same seeds for both" if task.seeded else "repeats, as the script takes no seed"
        say(f"{task.metric}: {'more' if task.maximize else 'less'} is better; {seeds}")
        if alone:
            say("the history has another incumbent: these two are judged by their own runs alone")
        return cls(task, incumbent, candidate, choice.results, url, say, options.source, alone)

    def run(self, *, pairs: int, agents: int | None, timeout: float | None) -> Ruling:
        """Pairs until the verdict is clear, or `pairs` of them or the time are used up."""
        if pairs > SEEDS:
            raise InputError(f"--pairs: expected at most {SEEDS}, got {pairs}")
        edited = edited_evaluation(self.task, self.incumbent, self.candidate)
        if edited:
            reason = repository.edited_words(edited)
            return Ruling(self.candidate.name, "not comparable", reason, note=self.candidate.note)
        try:
            with ExitStack() as used:
                for root in filter(None, (self.incumbent.root, self.candidate.root)):
                    used.enter_context(repository.in_use(root))
                ruling = self._pairs(pairs, agents or len(gpus.here()) or 1, timeout)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(CONTINUE) from None
        self._say_if_exact()
        over = {"discard": self.candidate, "failed": self.candidate, "keep": self.incumbent}.get(ruling.word)
        if over is not None and over.root is not None and self.incumbent.root != self.candidate.root:
            repository.remove_worktree(self.task.folder, over.root)
        return ruling

    def _pairs(self, pairs: int, agents: int, timeout: float | None) -> Ruling:
        known = self._ruling()
        if known.word not in ("run again", "failed"):
            return known
        deadline = None if timeout is None else time.monotonic() + timeout
        for done in range(0, pairs, agents):
            sides = [self.incumbent, self.candidate]
            for side in sides if done // agents % 2 == 0 else reversed(sides):
                left = None if deadline is None else max(1.0, deadline - time.monotonic())
                if not self._play(side, min(pairs, done + agents), agents, left):
                    return self._ruling("time is up, the same command goes on")
                if side is self.candidate and side.name in self.judged()[1].stopped:
                    return self._ruling()
            ruling = self._ruling()
            if ruling.word != "run again":
                return ruling
        return self._ruling(f"{counted(pairs, 'pair')} have not decided it")

    def judged(self) -> tuple[History, Referee]:
        """The history of the folder, with all runs so far, and the referee on it."""
        task = self.task
        goal = "maximize" if task.maximize else "minimize"
        history = known(task.folder, self.source, metric=task.metric, goal=goal)
        if self.alone:
            mine = [r for r in history.runs if r.arm in (self.incumbent.name, self.candidate.name)]
            mine.sort(key=lambda run: run.arm != self.incumbent.name)
            history = replace(history, runs=tuple(mine))
        return history, refereed(task.folder, history, task.evaluation)

    def _ruling(self, undecided: str = "") -> Ruling:
        _, referee = self.judged()
        name = self.candidate.name
        if name not in referee.arms and name not in referee.failed and name not in referee.stopped:
            return Ruling(name, "run again", undecided or "it has not run yet", note=self.candidate.note)
        ruling, now = referee.ruling(name), referee.incumbent
        if ruling.word in ("baseline", "keep") and now is not None and now.name != name:
            return replace(ruling, word="discard", reason=f"{now.name} was better", difference=None)
        if undecided and ruling.word == "run again":
            return replace(ruling, reason=f"{ruling.reason}: {undecided}")
        return ruling

    # -- runs

    def _play(self, side: Side, wanted: int, agents: int, left: float | None) -> bool:
        """Runs a side until it has had so many seeds; False where the time was up or somebody stopped it."""
        file = side.study(self.task, self.results)
        self._keep(side, file)
        trials = self._ended(file)
        if len(trials) >= wanted and not _all_failed(trials[:wanted]):
            return True
        self._check_out(side)
        request = Request(
            file, self.url, self.results, trials=wanted, agents=min(agents, wanted), timeout=left,
            wandb="off", fresh=bool(trials) and _all_failed(trials),
        )  # fmt: skip
        plan = plans.make(request, self._view.say)
        if side is self.candidate and (worst := self._limits()):
            plan = replace(plan, pruner=PrunerSettings(kind="limits", limits=tuple(worst)))
        result = launch(plan, self._view)
        self._keep(side, file)
        return self._checked(result, side, file)

    def _limits(self) -> list[float]:
        """The value, by epoch, with which a run of the candidate is ended; none while too little is known."""
        _, referee = self.judged()
        least = referee.hopeless(self.candidate.name)
        if least is None or referee.incumbent is None or referee.incumbent.name != self.incumbent.name:
            return []
        sign = 1 if self.task.maximize else -1
        ours: list[list[float]] = []
        theirs: list[list[float]] = []
        for side, found in ((self.candidate, ours), (self.incumbent, theirs)):
            for trial in self._ended(side.study(self.task, self.results)):
                steps = sorted(trial.intermediate_values.items())
                if trial.state is TrialState.COMPLETE and [s for s, _ in steps] == [
                    *range(1, len(steps) + 1)
                ]:
                    found.append([sign * value for _, value in steps])
        return [sign * limit for limit in limits(ours, theirs, least)]

    def _checked(self, result: Result, side: Side, file: StudyFile) -> bool:
        if result.interrupted:
            raise KeyboardInterrupt(CONTINUE)
        if result.timed_out or result.stopped:
            return False
        trials = self._ended(file)
        if trials and _all_failed(trials) and side is self.incumbent:
            log = self.results / "runs" / file.name / str(trials[-1].number) / "output.log"
            raise WorkFailed(f"the incumbent {side.name} fails: {ERROR.of(trials[-1])} (its output: {log})")
        if not result.fine and not trials:
            raise WorkFailed(f"{side.name}: {result.reason}")
        return True

    def _keep(self, side: Side, file: StudyFile) -> None:
        """Adds the runs of a side that have ended since to the referee's own file."""
        if trials := self._ended(file):
            with own.lock(self.task.folder):
                self._keep_new(side, file, trials)

    def _keep_new(self, side: Side, file: StudyFile, trials: Sequence[FrozenTrial]) -> None:
        before = {(row.get("run"), row.get("made")) for row in own.rows(self.task.folder)}
        for trial in trials:
            made = f"{trial.datetime_complete or datetime.now():%Y-%m-%d %H:%M:%S.%f}"
            run = f"{file.name}/{trial.number}"
            if (run, made) in before:
                continue
            stopped = trial.state is TrialState.PRUNED
            value = trial.values[0] if trial.values and not stopped else None
            seed = FIRST_SEED + (GRID_POINT.of(trial) or 0) if self.task.seeded else None
            status = STOPPED if stopped else "failed" if value is None else ""
            why = f"a run of it was ended early, it lay too far behind ({PRUNED_BECAUSE.of(trial)})"
            row = {"kind": "run", "made": made, "arm": side.name, "metric": self.task.metric, "value": value,
                   "goal": "maximize" if self.task.maximize else "minimize", "seed": seed, "status": status,
                   "note": side.note, "why": why if stopped else "", "run": run,
                   "seconds": round(training_seconds(trial), 3),
                   "commit": side.commit, "tree": side.tree, "command": list(side.words)}  # fmt: skip
            own.append(self.task.folder, row)
            self._say_run(side, trial, value, seed)

    def _say_run(self, side: Side, trial: FrozenTrial, value: float | None, seed: int | None) -> None:
        which = "" if seed is None else f" seed {seed}"
        took = short_duration(round(training_seconds(trial), 1))
        what = f"{self.task.metric} {number(value)}" if value is not None else f"failed: {ERROR.of(trial)}"
        if trial.state is TrialState.PRUNED:
            what = f"ended early, too far behind ({PRUNED_BECAUSE.of(trial)})"
        self.say(f"{side.name}{which}: {what} ({took})")

    def _ended(self, file: StudyFile) -> list[FrozenTrial]:
        """The runs of a side that have ended by themselves, in the order of their seeds."""
        study = find_study(find_records(self.url), file.name)
        trials = [] if study is None else study.get_trials(deepcopy=False)
        ended = [trial for trial in trials if trial.state.is_finished() and not AGENT_LOST.of(trial)]
        return sorted(ended, key=lambda trial: GRID_POINT.of(trial) or 0)

    def _check_out(self, side: Side) -> None:
        if side.root is not None:
            ours = [self.results, *(self.task.folder / name for name in (OWN, *USUAL))]
            repository.worktree(self.task.folder, side.commit, side.root, without=ours)

    @cached_property
    def _view(self) -> _View:
        from tuner.commands import options as opt

        return _View(opt.error_console())

    def _say_if_exact(self) -> None:
        """Says so where the runs of each side agree digit for digit."""
        _, referee = self.judged()
        sides = (self.incumbent.name, self.candidate.name)
        if seed_is_ignored(referee.arms[name].scores for name in sides if name in referee.arms):
            why = "the script ignores its seed" if self.task.seeded else "its seed is fixed in the script"
            self.say(f"repeated runs agree digit for digit: {why}")


def known(folder: Path, source: Path | None, *, metric: str | None, goal: str | None) -> History:
    """The history of a folder; without any, one that has no run yet.

    Raises:
        InputError: it cannot be read, or nothing says which metric counts.
    """
    try:
        return histories.read(folder, source, metric=metric, goal=goal)
    except InputError as error:
        meant = not isinstance(error, histories.NoRuns) and any(
            (folder / name).is_file() for name in (OWN, *USUAL)
        )
        if source is not None or meant:
            raise
    if metric is None:
        raise InputError(f"{folder}: no runs yet, so say which value counts: --metric NAME")
    return History((), metric, histories.maximizes(metric, goal, ()), OWN)


def _all_failed(trials: Sequence[FrozenTrial]) -> bool:
    return all(trial.state is TrialState.FAIL for trial in trials)


def limits(
    ours: Sequence[Sequence[float]],
    theirs: Sequence[Sequence[float]],
    least: float,
    *,
    slack: float = SLACK,
) -> list[float]:
    """The score, by step, below which a candidate's run is ended early; larger scores are better.

    Its end can then no longer help its arm, which is discarded with it and never kept: so no false keep can
    come of a run that is missing. From a step to its end a run is expected to gain no more than any complete
    run did, and on top of that `slack` times the range of their gains. It is ended where even so its end
    would be below `least`.

    Args:
        ours, theirs: curves of complete runs of the candidate and of the incumbent, `(run, step)`; they may
            have different lengths. The candidate needs one at least: a change may make a program learn later.
        least: the final score below which the arm would be discarded (`Referee.hopeless`).
    """
    curves = [*ours, *theirs]
    if not ours or len(curves) < LEAST_CURVES:
        return []
    found = []
    for step in range(min(map(len, curves)) - 1):
        gains = [curve[-1] - curve[step] for curve in curves]
        found.append(least - max(gains) - slack * (max(gains) - min(gains)))
    return found
