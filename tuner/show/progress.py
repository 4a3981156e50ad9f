"""Where a running study stands: trials by state, the best, each agent's trial, time spent and time left."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from optuna.trial import FrozenTrial, TrialState

from tuner.base.words import duration, number, sparkline, value_words
from tuner.claims import judge
from tuner.definition.sampler import FREEZE_THAW
from tuner.run import probe
from tuner.run.events import AgentState, Event, StudyRun
from tuner.search import ranking
from tuner.show.summary import Summary
from tuner.storage.attributes import METRICS

CURVE = 12  # characters of a trial's curve
COLUMNS = ("agent", "trial", "epoch", "value", "curve", "time")


class Progress:
    """What is known of a study while it runs.

    Args:
        clock: seconds; the elapsed time starts now.
    """

    def __init__(self, run: StudyRun, clock: Callable[[], float]) -> None:
        self.run = run
        self.total = run.study.total
        self._clock, self._started = clock, clock()
        self._first: float | None = None  # when the first trial began
        # by agent: its trial, when this began, and the values that it has reported
        self._curves: dict[int, tuple[int, float, list[float]]] = {}
        self._budget = _epoch_budget(run)
        self.count()
        self._finished_before, self._seconds_before = self.now.finished, self.now.spent.seconds
        self._epochs_before = sum(self._trained().values())

    def count(self) -> None:
        """Reads the storage."""
        self.run.study.records.refresh()
        self.now = Summary.of(self.run.study, self.run.study.file)

    def _trained(self) -> dict[int, int]:
        """The epochs of each trial that fits the study."""
        return {trial.number: self.now.epochs[trial.number] for trial in self.now.trials}

    def note(self, event: Event) -> None:
        """Remembers what an agent said of its trial."""
        content = event.content
        if event.kind == "start":
            if self._first is None:
                self._first = self._clock()
            self._curves[event.agent] = (content["number"], self._clock(), [])
        elif event.kind == "epoch":
            if event.agent in self._curves and isinstance(content["value"], int | float):
                self._curves[event.agent][2].append(content["value"])
        elif event.kind in ("end", "died", "idle"):
            self._curves.pop(event.agent, None)

    # -- in words

    def states(self) -> list[tuple[str, int]]:
        """Numbers of trials by state; only states that some trial is in."""
        counts = self.now.counts
        found = {
            "complete": counts[TrialState.COMPLETE],
            "pruned": counts[TrialState.PRUNED],
            "failed": self.now.failed,
            "interrupted": self.now.interrupted,
            "running": counts[TrialState.RUNNING],
            "paused": self.now.paused,
        }
        return [(name, count) for name, count in found.items() if count]

    @property
    def trials(self) -> str:
        """`13/40 trials`."""
        return f"{self.now.finished}{'' if self.total is None else f'/{self.total}'} trials"

    def times(self, agents: Sequence[AgentState]) -> list[str]:
        """`wall 3 min 2 s` since the start and, as soon as it can be estimated, the time left."""
        wall, left = f"wall {duration(self._clock() - self._started)}", self.left(agents)
        return [wall] if left is None else [wall, f"about {duration(left)} left"]

    @property
    def cost(self) -> str:
        """`wall 3 min 2 s, training 6 min 0 s`: since the start, and what its trials took together."""
        training = duration(self.now.spent.seconds - self._seconds_before)
        return f"{self.times(())[0]}, training {training}"

    def left(self, agents: Sequence[AgentState]) -> float | None:
        """Seconds left at the pace since the first trial began. None before a trial has ended.

        The pace is that of epochs where trials report any: most trials of a study may be stopped early. A
        study that pauses its trials is done when it has used its epochs, or before.
        """
        now = self.now
        if self.total is None or not self._finished_before < now.finished < self.total:
            return None
        running = {a.number: a.epoch + 1 for a in agents if a.number is not None and a.epoch is not None}
        trained = self._trained() | running
        done: float = sum(trained.values()) - self._epochs_before
        if self._budget is not None:
            rest: float = self._budget - sum(trained.values())
        elif done and self.epochs:
            ended = [
                trained[t.number] for t in now.trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)
            ]
            expected = probe.expected_epochs(self.run.study.file.pruner, self.epochs)
            a_trial = (expected + sum(ended)) / (1 + len(ended))
            rest = (self.total - now.finished) * a_trial - sum(running.values())
        else:
            done, rest = now.finished - self._finished_before, self.total - now.finished
        if done <= 0:
            return None
        since = self._started if self._first is None else self._first
        return (self._clock() - since) * max(0.0, rest) / done

    @property
    def epochs(self) -> int | None:
        """Epochs of a whole trial; of the longest complete one where the study does not say."""
        complete = (t.number for t in self.now.trials if t.state is TrialState.COMPLETE)
        return self.run.epochs or max((self.now.epochs[n] for n in complete), default=0) or None

    def best_words(self) -> str:
        """`best score 0.9312 (trial 7)`."""
        if self.now.best is not None:
            return f"best {self.now.best_words}"
        if not self.now.metric:
            return ""
        if not self.now.ranked:
            return "no complete trial yet"
        closest = self.now.ranked[0]
        if lacking := judge.not_logged(self.run.study.file, map(METRICS.of, self.now.ranked)):
            return f"no trial meets the constraints: {lacking}"
        miss = ranking.violation(closest)
        return f"no trial meets the constraints yet (trial {closest.number} misses by {miss:.3g})"

    def best_params(self) -> tuple[str, ...]:
        """The searched parameters of the best trial, as `name=value`."""
        return self._params(self.now.best)

    def _params(self, trial: FrozenTrial | None) -> tuple[str, ...]:
        if trial is None:
            return ()
        values = self.run.study.file.space.values_of(trial.params)
        return tuple(f"{name}={value_words(value)}" for name, value in values.items())

    def rows(self, agents: Sequence[AgentState]) -> list[tuple[str, dict[str, str], tuple[str, ...]]]:
        """Of each agent, in their order: what it does, a text for each of COLUMNS, its trial's parameters."""
        running = {t.number: t for t in self.now.trials if t.state is TrialState.RUNNING}
        found = []
        for agent in sorted(agents, key=lambda agent: agent.index):
            name = f"{agent.index}" if agent.doing == "running" else f"{agent.index} {agent.doing}"
            cells = {**dict.fromkeys(COLUMNS, ""), "agent": name}
            trial, began, curve = self._curves.get(agent.index, (None, 0.0, []))
            if agent.number is not None:
                value = "" if agent.value is None else number(agent.value)
                cells |= {"trial": str(agent.number), "epoch": self.epoch_words(agent), "value": value}
            if agent.number is not None and agent.number == trial:
                time = duration(self._clock() - began)
                cells |= {"curve": sparkline(curve, width=CURVE), "time": time}
            params = () if agent.number is None else self._params(running.get(agent.number))
            found.append((agent.doing, cells, params))
        return found

    def epoch_words(self, agent: AgentState) -> str:
        """`3/18`; `3` where the length of a trial is not known or was exceeded."""
        if agent.epoch is None:
            return ""
        now, whole = agent.epoch + 1, self.epochs
        return f"{now}/{whole}" if whole and now <= whole else str(now)


def _epoch_budget(run: StudyRun) -> int | None:
    """The epochs that all trials of a study may use together, where it has such a limit."""
    if run.study.file.sampler != FREEZE_THAW or run.epochs is None:
        return None
    from tuner.search.thawing import budget_of  # scipy.optimize, for these studies alone

    return budget_of(run.study.file, run.epochs, run.study.total)
