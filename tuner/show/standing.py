"""Where a running study stands: trials by state, the best, each agent's trial, time spent and time left."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from optuna.trial import FrozenTrial, TrialState

from tuner.base.words import duration, number, sparkline, value_words
from tuner.definition.sampler import FREEZE_THAW
from tuner.run import probe
from tuner.run.events import AgentState, Event, StudyRun
from tuner.search import ranking
from tuner.storage import optuna_private
from tuner.storage.allocate import finished, is_paused
from tuner.storage.stored import training_seconds

CURVE = 12  # characters of a trial's curve
POINTS = 2000  # of a trial's curve that are kept


@dataclass(frozen=True)
class AgentRow:
    """What a view shows of one agent, as texts.

    Attributes:
        doing: the state of the agent, or "running".
        params: the searched parameters of its trial, as `name=value`.
    """

    agent: str
    doing: str
    trial: str = ""
    epoch: str = ""
    value: str = ""
    curve: str = ""
    time: str = ""
    params: tuple[str, ...] = ()


@dataclass
class _Curve:
    """The values that an agent's trial has reported."""

    number: int
    began: float
    values: list[float] = field(default_factory=list)

    def add(self, value: float) -> None:
        self.values.append(value)
        if len(self.values) > POINTS:
            del self.values[1::2]


class Standing:
    """What is known of a study while it runs.

    Args:
        clock: seconds; the elapsed time starts now.
    """

    def __init__(self, run: StudyRun, clock: Callable[[], float]) -> None:
        self.run = run
        self.metric = run.file.metric.name
        self.total = run.total
        self.best: FrozenTrial | None = None
        self._clock, self._started = clock, clock()
        self._first: float | None = None  # when the first trial began
        self._curves: dict[int, _Curve] = {}  # by agent
        self._longest = 0
        self._budget = _epoch_budget(run)
        self.count()
        self.at_start = self.finished
        self._trained_at_start, self._seconds_at_start = dict(self._trained), self._seconds

    def count(self) -> None:
        """Reads the storage."""
        study = self.run.study
        self.counts = self.run.records.queue.counts(optuna_private.study_id(study))
        self.finished = finished(self.counts, study.user_attrs)
        self.run.records.refresh()
        trials = study.get_trials(deepcopy=False)
        ranked = ranking.ranked(trials, self.run.file)
        self.best = ranking.winner(ranked, study.user_attrs, self.run.file)
        self._closest = ranked[0] if ranked and self.best is None else None
        self._running = {t.number: t for t in trials if t.state is TrialState.RUNNING}
        self._paused = sum(map(is_paused, trials))
        self._trained = {t.number: max(t.intermediate_values, default=0) for t in trials}
        self._ended = [t.number for t in trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
        self._seconds = sum(map(training_seconds, trials))
        whole = (t for t in trials if t.state is TrialState.COMPLETE)
        self._longest = max((self._trained[t.number] for t in whole), default=0)

    def note(self, event: Event) -> None:
        """Remembers what an agent said of its trial."""
        content = event.content
        if event.kind == "start":
            if self._first is None:
                self._first = self._clock()
            self._curves[event.agent] = _Curve(content["number"], self._clock())
        elif event.kind == "epoch":
            curve = self._curves.get(event.agent)
            if curve is not None and isinstance(content["value"], int | float):
                curve.add(content["value"])
        elif event.kind in ("end", "died", "idle"):
            self._curves.pop(event.agent, None)

    # -- in words

    def states(self) -> list[tuple[str, int]]:
        """Numbers of trials by state; only states that some trial is in."""
        shown = (
            ("complete", TrialState.COMPLETE),
            ("pruned", TrialState.PRUNED),
            ("failed", TrialState.FAIL),
            ("running", TrialState.RUNNING),
        )
        counts = [*((name, self.counts[state]) for name, state in shown), ("paused", self._paused)]
        return [(name, count) for name, count in counts if count]

    @property
    def trials(self) -> str:
        """`13/40 trials`."""
        return f"{self.finished}{'' if self.total is None else f'/{self.total}'} trials"

    def times(self, agents: Sequence[AgentState]) -> list[str]:
        """`wall 3 min 2 s` since the start and, as soon as it can be estimated, the time left."""
        wall, left = f"wall {duration(self._clock() - self._started)}", self.left(agents)
        return [wall] if left is None else [wall, f"about {duration(left)} left"]

    @property
    def cost(self) -> str:
        """`wall 3 min 2 s, training 6 min 0 s`: since the start, and what its trials took together."""
        training = duration(self._seconds - self._seconds_at_start)
        return f"{self.times(())[0]}, training {training}"

    def left(self, agents: Sequence[AgentState]) -> float | None:
        """Seconds left at the pace since the first trial began. None before a trial has ended.

        The pace is that of epochs where trials report any: most trials of a study may be stopped early. A
        study that pauses its trials is done when it has used its epochs, or before.
        """
        if self.total is None or not self.at_start < self.finished < self.total:
            return None
        running = {a.number: a.epoch + 1 for a in agents if a.number is not None and a.epoch is not None}
        trained = self._trained | running
        before = self._trained_at_start
        done: float = sum(trained.values()) - sum(before.values())
        if self._budget is not None:
            rest: float = self._budget - sum(trained.values())
        elif done and self.epochs:
            ended = [trained[number] for number in self._ended]
            a_trial = (probe.expected_epochs(self.run.file.pruner, self.epochs) + sum(ended)) / (
                1 + len(ended)
            )
            rest = (self.total - self.finished) * a_trial - sum(running.values())
        else:
            done, rest = self.finished - self.at_start, self.total - self.finished
        if done <= 0:
            return None
        since = self._started if self._first is None else self._first
        return (self._clock() - since) * max(0.0, rest) / done

    @property
    def epochs(self) -> int | None:
        """Epochs of a whole trial; of the longest complete one where the study does not say."""
        return self.run.epochs or self._longest or None

    def best_words(self) -> str:
        """`best score 0.9312 (trial 7)`."""
        if self._closest is not None:
            miss = ranking.violation(self._closest)
            return f"no trial meets the constraints yet (trial {self._closest.number} misses by {miss:.3g})"
        if self.best is None:
            return "no complete trial yet"
        return f"best {self.metric} {number(self.best.values[0])} (trial {self.best.number})"

    def best_params(self) -> tuple[str, ...]:
        """The searched parameters of the best trial, as `name=value`."""
        return () if self.best is None else self._params(self.best)

    def _params(self, trial: FrozenTrial) -> tuple[str, ...]:
        values = self.run.file.space.values_of(trial.params)
        return tuple(f"{name}={value_words(value)}" for name, value in values.items())

    def rows(self, agents: Sequence[AgentState]) -> list[AgentRow]:
        """A row for each agent, in their order."""
        return [self._row(agent) for agent in sorted(agents, key=lambda agent: agent.index)]

    def _row(self, agent: AgentState) -> AgentRow:
        if agent.number is None:
            return AgentRow(str(agent.index), agent.doing)
        curve, trial = self._curves.get(agent.index), self._running.get(agent.number)
        if curve is not None and curve.number != agent.number:
            curve = None
        return AgentRow(
            str(agent.index),
            agent.doing,
            str(agent.number),
            self.epoch_words(agent),
            "" if agent.value is None else number(agent.value),
            "" if curve is None else sparkline(curve.values, width=CURVE),
            "" if curve is None else duration(self._clock() - curve.began),
            () if trial is None else self._params(trial),
        )

    def epoch_words(self, agent: AgentState) -> str:
        """`3/18`; `3` where the length of a trial is not known or was exceeded."""
        if agent.epoch is None:
            return ""
        now, whole = agent.epoch + 1, self.epochs
        return f"{now}/{whole}" if whole and now <= whole else str(now)


def _epoch_budget(run: StudyRun) -> int | None:
    """The epochs that all trials of a study may use together, where it has such a limit."""
    if run.file.sampler != FREEZE_THAW or run.epochs is None:
        return None
    from tuner.search.thawing import budget_of  # scipy.optimize, for these studies alone

    return budget_of(run.file, run.epochs, run.total)


def fitted(parts: Sequence[str], width: int, *, between: str = " ") -> str:
    """As many of the parts as fit into `width` characters, none of them cut; "…" stands for the others."""
    for count in range(len(parts), -1, -1):
        text = between.join([*parts[:count], *(["…"] if count < len(parts) else [])])
        if len(text) <= width:
            return text
    return ""
