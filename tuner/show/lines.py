"""Lines about a study while it runs: one when something ends, else one every few minutes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console

from tuner.base.words import duration, short_duration
from tuner.run.events import AgentState, Event, StudyRun
from tuner.show.standing import Standing
from tuner.storage.outage import cause_of, is_unreachable

QUIET_SECONDS = 180.0  # after which a log says where the study stands, though nothing has ended
COUNT_SECONDS = 1.0  # between looks at the storage, where other terminals' trials show


class PlainView:
    """Lines for a log file."""

    interval = QUIET_SECONDS

    def __init__(self, console: Console, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.console = console
        self._clock = clock
        self._agents: Sequence[AgentState] = ()
        self._ended: list[dict[str, Any]] = []  # trials that ended since the last look at the storage
        self._best: int | None = None  # the best trial that was said
        self._estimated = False
        self._reached = True
        self._unstored_said = False
        self._drawn = self._counted = -1e9

    def say(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def begin(self, run: StudyRun) -> None:
        self._records = run.records
        self.standing = standing = Standing(run, self._clock)
        self._counted = self._drawn = self._clock()
        self._best = None if standing.best is None else standing.best.number
        wanted = "until stopped" if run.total is None else f"of {run.total} trials"
        resumed = f"{standing.finished} {wanted} are done" if standing.finished else f"0 {wanted}"
        agents = run.agents
        crew = "an agent on every worker" if agents is None else f"{agents} agent{'s'[: agents != 1]}"
        self.say(f"study {run.study.study_name}: {resumed}, {crew}")

    def event(self, event: Event) -> None:
        content = event.content
        self.standing.note(event)
        if event.kind == "end" and content["outcome"] == "paused":
            return  # why it is resumed, or how it ends, is said then
        if event.kind == "end":
            self._counted = -1e9
            self._trial_ended(content)
        elif line := self._line_about(event):
            self._say_ended()
            self.say(line)

    def _line_about(self, event: Event) -> str:
        content = event.content
        match event.kind:
            case "start":
                return str(content.get("why") or "")
            case "died":
                trial = "" if content["number"] is None else f" with trial {content['number']}"
                return f"agent {event.agent} died{trial} ({content['how']}); a new agent replaces it"
            case "waits":
                return f"agent {event.agent} waits: {content['why']}"
            case "refused":
                return f"agent {event.agent} cannot run trials: {content['reason']}"
            case "unstored" if not self._unstored_said:
                self._unstored_said = True
                return f"a run folder could not be uploaded yet: {content['reason']}"
            case "stopping":
                grace = short_duration(content["grace"])
                return (
                    f"{content['reason']}: agents finish their epoch if it takes no more than {grace}; "
                    "the next Ctrl-C ends them at once"
                )
        return ""

    def tick(self, agents: Sequence[AgentState]) -> None:
        self._agents = agents
        now = self._clock()
        if now - self._counted > COUNT_SECONDS:
            self._count_if_reached()
        self._say_ended()
        if now - self._drawn > self.interval or self._first_estimate():
            self._drawn = now
            self._draw()

    def end(self) -> None:
        self._count_if_reached()
        self._say_ended()
        self._agents = ()
        self._say_standing()

    # -- what a log shows; other views draw instead

    def _trial_ended(self, content: dict[str, Any]) -> None:
        self._ended.append(content)

    def _say_ended(self) -> None:
        """A line for each trial that has ended; the last one says where the study stands."""
        ended, self._ended = self._ended, []
        for content in ended[:-1]:
            self.say(ended_words(content, self.standing.metric))
        if ended:
            standing = self.standing
            parts = [ended_words(ended[-1], standing.metric), standing.trials, *standing.times(self._agents)]
            self.say(" · ".join(parts))
            self._drawn = self._clock()
        self._say_best()

    def _say_best(self) -> None:
        best = self.standing.best
        if best is not None and best.number != self._best:
            self._best = best.number
            self.say(" ".join([f"  {self.standing.best_words()}:", *self.standing.best_params()]))

    def _first_estimate(self) -> bool:
        """Whether the time left can be estimated for the first time, which is worth a line."""
        if self._estimated or self.standing.left(self._agents) is None:
            return False
        self._estimated = True
        return self.standing.finished == self.standing.at_start

    def _draw(self) -> None:
        running = [
            f"trial {agent.number} epoch {self.standing.epoch_words(agent)}"
            for agent in self._agents
            if agent.number is not None and agent.epoch is not None
        ]
        self.say(" · ".join([*self._parts(), *running]))

    def _say_standing(self) -> None:
        self.say(" · ".join(self._parts()))

    def _parts(self) -> list[str]:
        standing = self.standing
        states = [f"{count} {state}" for state, count in standing.states() if state in ("pruned", "failed")]
        return [standing.trials, *states, standing.best_words(), *standing.times(self._agents)]

    def _count_if_reached(self) -> None:
        """Counts; while the storage does not answer, says so once: agents go on without it for a while."""
        self._counted = self._clock()
        try:
            self.standing.count()
        except Exception as error:
            if not is_unreachable(error):
                raise
            if self._reached:
                limit = duration(self._records.patience.limit)
                self.say(
                    f"the storage does not answer ({cause_of(error)}); trials continue for up to {limit}"
                )
            self._reached = False
            return
        if not self._reached:
            self.say("the storage answers again")
        self._reached = True


def ended_words(content: dict[str, Any], metric: str) -> str:
    """`trial 7 complete score 0.9312`."""
    value = content["value"]
    shown = f" {metric} {value:.4f}" if isinstance(value, float) else ""
    because = f" ({content['message']})" if content["message"] else ""
    return f"trial {content['number']} {content['outcome']}{shown}{because}"


class SilentView(PlainView):
    """Says nothing."""

    def say(self, line: str) -> None:
        return None
