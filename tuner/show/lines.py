"""Lines about a study while it runs: one when something ends, else one every few minutes."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console

from tuner.base.endings import headline, kind_of
from tuner.base.words import counted, duration, number, short_duration
from tuner.run.events import AgentState, Event, StudyRun
from tuner.show.progress import Progress
from tuner.storage.outage import cause_of, is_unreachable

SAID = ("pruned", "failed", "interrupted")  # states of trials that are counted in a line
QUIET_SECONDS = 180.0  # after which a log says where the study stands, though nothing has ended
COUNT_SECONDS = 1.0  # between looks at the storage, where other terminals' trials show


class PlainView:
    """Lines for a log file. Other views draw where the study stands, every `interval` seconds.

    Args:
        verbose: also says how probable it was that a chosen trial wins.
    """

    interval = QUIET_SECONDS
    draws = False

    def __init__(
        self, console: Console, *, verbose: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.console = console
        self._verbose = verbose
        self._clock = clock
        self._failures: set[str] = set()  # kinds of failures that were said
        self._agents: Sequence[AgentState] = ()
        self._ended: list[dict[str, Any]] = []  # trials that ended since the last look at the storage
        self._best: int | None = None  # the best trial that was said
        self._reached = True
        self._unstored_said = False
        self._drawn = self._counted = -1e9

    def say(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def begin(self, run: StudyRun) -> None:
        self.progress = Progress(run, self._clock)
        self._counted = self._clock()
        self._drawn = -1e9 if self.draws else self._counted
        now = self.progress.now
        self._best = None if now.best is None else now.best.number
        total = self.progress.total
        wanted = "trials until it is stopped" if total is None else counted(total, "trial")
        if now.finished:
            wanted += f", {now.finished} of them are done"
        crew = "an agent on every worker" if run.agents is None else counted(run.agents, "agent")
        self.say(f"study {run.study.study_name}: {wanted}, {crew}")

    def event(self, event: Event) -> None:
        content = event.content
        self.progress.note(event)
        if event.kind == "end" and content["outcome"] == "paused":
            return  # why it continues, or how it ends, is said then
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
                return started_words(content, verbose=self._verbose)
            case "died":
                trial = "" if content["number"] is None else f": trial {content['number']} is interrupted"
                return f"agent {event.agent} died ({content['how']}){trial}; a new agent replaces it"
            case "waits":
                return f"agent {event.agent} waits: {content['why']}"
            case "refused":
                return f"agent {event.agent} cannot run trials: {content['reason']}"
            case "unstored" if not self._unstored_said:
                self._unstored_said = True
                return f"a run folder could not be uploaded yet: {content['reason']}"
            case "stopping":
                why = content["reason"] if content["fine"] else "the study stops"
                again = "; Ctrl-C again ends them at once" if content["interrupted"] else ""
                grace = short_duration(content["grace"])
                return f"{why}: agents finish their epoch, for at most {grace}{again}"
        return ""

    def brief(self, reason: str) -> str:
        """`reason` without the error at its end if a line about a failed trial has it."""
        why, _, error = reason.partition(": ")
        return why if kind_of(error) in self._failures else reason

    def tick(self, agents: Sequence[AgentState]) -> None:
        self._agents = agents
        now = self._clock()
        if now - self._counted > COUNT_SECONDS:
            self._count_if_reached()
        self._say_ended()
        if now - self._drawn > self.interval:
            self._drawn = now
            self._draw()

    def end(self) -> None:
        self._count_if_reached()
        self._agents = ()
        self._say_ended()
        self._say_progress()

    def _ended_words(self, content: dict[str, Any]) -> str:
        """How a trial ended; "" of one that failed as another did: that is counted."""
        said = message = content["message"]
        if content["outcome"] == "failed" and message:
            kind = kind_of(message)
            if kind in self._failures:
                return ""
            self._failures.add(kind)
            said = headline(message)
            said = f"{said} (see {content['log']})" if content.get("log") else message
        return ended_words({**content, "message": said}, self.progress.now.metric)

    def _trial_ended(self, content: dict[str, Any]) -> None:
        if self.draws:
            if line := self._ended_words(content):
                self.say(line)
        else:
            self._ended.append(content)

    def _say_ended(self) -> None:
        """A line for each trial that has ended; the last one says where the study stands. Then a new best."""
        if self.draws:
            return
        lines = [line for content in self._ended if (line := self._ended_words(content))]
        for line in lines[:-1]:
            self.say(line)
        if lines:
            self.say(" · ".join([lines[-1], self.progress.trials, *self.progress.times(self._agents)]))
            self._drawn = self._clock()
        best, running = self.progress.now.best, {agent.number for agent in self._agents}
        unsaid = running - {content["number"] for content in self._ended}
        self._ended = []
        if best is not None and best.number not in {self._best, *unsaid}:
            self._best = best.number
            self.say(" ".join([f"  {self.progress.best_words()}:", *self.progress.best_params()]))

    def _draw(self) -> None:
        running = [
            f"trial {agent.number} epoch {self.progress.epoch_words(agent)}"
            for agent in self._agents
            if agent.number is not None and agent.epoch is not None
        ]
        self.say(" · ".join([*self._parts(), *self.progress.times(self._agents), *running]))

    def _say_progress(self) -> None:
        self.say(" · ".join([*self._parts(), self.progress.cost]))

    def _parts(self) -> list[str]:
        progress = self.progress
        states = [f"{count} {state}" for state, count in progress.states() if state in SAID]
        return [word for word in (progress.trials, *states, progress.best_words()) if word]

    def _count_if_reached(self) -> None:
        """Counts; while the storage does not answer, says so once: agents go on without it for a while."""
        self._counted = self._clock()
        try:
            self.progress.count()
        except Exception as error:
            if not is_unreachable(error):
                raise
            if self._reached:
                limit = duration(self.progress.run.study.records.patience.limit)
                self.say(
                    f"the storage does not answer ({cause_of(error)}); trials continue for up to {limit}"
                )
            self._reached = False
            return
        if not self._reached:
            self.say("the storage answers again")
        self._reached = True


def started_words(content: dict[str, Any], *, verbose: bool) -> str:
    """`continuing trial 3, paused at epoch 2: best of those that wait`; "" where no choice was made."""
    why, done = str(content.get("why") or ""), content.get("done")
    if not why:
        return ""
    what = (
        f"continuing trial {content['number']}, paused at epoch {done}"
        if done
        else f"starting trial {content['number']}"
    )
    return f"{what}: {why if verbose else why.partition(' (')[0]}"


def ended_words(content: dict[str, Any], metric: str) -> str:
    """`trial 7 complete: score 0.9312`, `trial 8 pruned at epoch 3: …`, `trial 9 failed: …`."""
    value, message = content["value"], content["message"]
    if content["outcome"] == "pruned" and message.startswith("epoch "):  # which has the value
        return f"trial {content['number']} pruned at {message}"
    shown = f"{metric} {number(value)}" if metric and isinstance(value, float) else ""
    parts = f"{shown} ({message})" if shown and message else shown or message
    return f"trial {content['number']} {content['outcome']}" + (f": {parts}" if parts else "")


class SilentView(PlainView):
    """Says nothing."""

    def say(self, line: str) -> None:
        return None
