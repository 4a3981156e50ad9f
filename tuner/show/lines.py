"""Plain lines about a study while it runs: what ends, and every few seconds where it stands."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from optuna.trial import TrialState
from rich.console import Console

from tuner.base.words import duration, short_duration
from tuner.run.events import AgentState, Event, StudyRun
from tuner.search import ranking
from tuner.storage import optuna_private
from tuner.storage.allocate import finished
from tuner.storage.outage import cause_of, is_unreachable

PLAIN_SECONDS = 5.0
COUNT_SECONDS = 1.0  # between looks at the storage, where other terminals' trials show


class PlainView:
    """Lines: what ends, and every few seconds where the study stands."""

    interval = PLAIN_SECONDS

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.console = console
        self._clock = clock
        self._agents: Sequence[AgentState] = ()
        self._said = ""
        self._reached = True
        self._unstored_said = False
        self._drawn = -1e9
        self._counted = -1e9

    def say(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def begin(self, run: StudyRun) -> None:
        self._study, self._records, self._file, self._total = run.study, run.records, run.file, run.total
        self._started = self._clock()
        self._count()
        self._at_start = self._finished
        wanted = "until stopped" if run.total is None else f"of {run.total} trials"
        resumed = f"{self._finished} {wanted} are done" if self._finished else f"0 {wanted}"
        agents = run.agents
        crew = "an agent on every worker" if agents is None else f"{agents} agent{'s'[: agents != 1]}"
        self.say(f"study {run.study.study_name}: {resumed}, {crew}")

    def event(self, event: Event) -> None:
        content = event.content
        match event.kind:
            case "start" if content["why"]:
                self.say(str(content["why"]))
            case "end" if content["outcome"] == "paused":
                pass  # why it is resumed, or how it ends, is said then
            case "end":
                self._counted = -1e9
                self.say(self._ended(content))
            case "died":
                trial = "" if content["number"] is None else f" with trial {content['number']}"
                self.say(f"agent {event.agent} died{trial} ({content['how']}); a new agent replaces it")
            case "waits":
                self.say(f"agent {event.agent} waits: {content['why']}")
            case "refused":
                self.say(f"agent {event.agent} cannot run trials: {content['reason']}")
            case "unstored":
                if not self._unstored_said:
                    self._unstored_said = True
                    self.say(f"a run folder could not be uploaded yet: {content['reason']}")
            case "stopping":
                grace = short_duration(content["grace"])
                self.say(
                    f"{content['reason']}: agents finish their epoch if it takes no more than {grace}; "
                    "the next Ctrl-C ends them at once"
                )

    def tick(self, agents: Sequence[AgentState]) -> None:
        self._agents = agents
        now = self._clock()
        if now - self._counted > COUNT_SECONDS:
            self._count_if_reached()
        if now - self._drawn > self.interval:
            self._drawn = now
            self._draw()

    def end(self) -> None:
        self._count_if_reached()
        self.say(self._line())

    def _draw(self) -> None:
        running = [
            f"trial {agent.number} epoch {agent.epoch + 1}"
            for agent in self._agents
            if agent.number is not None and agent.epoch is not None
        ]
        line = " · ".join([self._line(), *running])
        if line != self._said:
            self.say(line)
            self._said = line

    def _count_if_reached(self) -> None:
        """Counts; while the storage does not answer, says so once: agents go on without it for a while."""
        try:
            self._count()
        except Exception as error:
            if not is_unreachable(error):
                raise
            if self._reached:
                limit = duration(self._records.patience.limit)
                self.say(f"the storage does not answer ({cause_of(error)}); trials go on, for up to {limit}")
            self._reached = False
            return
        if not self._reached:
            self.say("the storage answers again")
        self._reached = True

    def _count(self) -> None:
        self._counted = self._clock()
        self._counts = self._records.queue.counts(optuna_private.study_id(self._study))
        self._finished = finished(self._counts, self._study.user_attrs)
        self._records.refresh()
        best = ranking.ranked(self._study.get_trials(deepcopy=False), self._file)
        self._best = best[0] if best else None

    def _ended(self, content: dict[str, object]) -> str:
        value = content["value"]
        shown = f" {self._file.metric.name} {value:.4f}" if isinstance(value, float) else ""
        because = f" ({content['message']})" if content["message"] else ""
        return f"trial {content['number']} {content['outcome']}{shown}{because}"

    def _line(self) -> str:
        counts = self._counts
        parts = [
            f"{self._finished}{'' if self._total is None else f'/{self._total}'} trials",
            f"{counts[TrialState.PRUNED]} pruned",
            f"{counts[TrialState.FAIL]} failed",
            f"best {self._best_words()}",
        ]
        left = self._left()
        return " · ".join([*parts, f"{left} left"] if left else parts)

    def _best_words(self) -> str:
        if self._best is None:
            return "none yet"
        miss = ranking.violation(self._best)
        missed = f", misses its constraints by {miss:.3g}" if miss else ""
        return f"{self._file.metric.name} {self._best.values[0]:.4f} (trial {self._best.number}{missed})"

    def _left(self) -> str:
        """Time left at the pace so far, or "" while that is not known."""
        done = self._finished - self._at_start
        if self._total is None or done <= 0 or self._finished >= self._total:
            return ""
        return duration((self._clock() - self._started) / done * (self._total - self._finished))


class SilentView(PlainView):
    """Says nothing."""

    def say(self, line: str) -> None:
        return None
