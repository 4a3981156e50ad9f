"""Runs a study in front of its user, who is shown how it goes and what it found, and sent messages."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from tuner.run import launch
from tuner.run import plan as plans
from tuner.run.launch import CONTINUE, Result
from tuner.run.plan import Plan
from tuner.run.request import Request
from tuner.show.console import say, say_commands, show_answer
from tuner.show.lines import PlainView
from tuner.show.live import make_view
from tuner.show.local_server import dashboard_address
from tuner.show.notify import NotifyingView, notifying
from tuner.show.status import Rank, best_table, best_trials
from tuner.show.summary import Summary
from tuner.storage.access import open_records
from tuner.storage.study import load_study

NEXT = {  # commands after a study, and what each is for
    "verdict": "is the best really better?",
    "report": "what was found, in full",
    "export": "the configuration of the best, as a file",
}


@dataclass(frozen=True)
class StudyEnd:
    """How a study was left and what it found.

    Args:
        view: told where the storage does not answer, for which reading what was found waits.
    """

    plan: Plan
    result: Result
    view: PlainView

    @functools.cached_property
    def study(self) -> Summary:
        """Where the study stands now."""
        records = open_records(self.plan.request.url, waits=True, say=self.view.say)
        return Summary.of(load_study(records, self.plan.file.name), self.plan.file)

    @functools.cached_property
    def best(self) -> Sequence[Rank]:
        """Its three best trials."""
        return best_trials(self.study, self.plan.request.results, top=3)

    def to_dict(self) -> dict[str, Any]:
        """For `--json`."""
        names = ("reason", "fine", "interrupted", "timed_out", "stopped")
        return {
            **self.study.to_dict(),
            **{name: getattr(self.result, name) for name in names},
            "best": [rank.to_dict(self.study.metric) for rank in self.best],
            "verdict": self.study.answer.to_dict(),
        }

    def show(self, console: Console, places: Sequence[str] = ()) -> None:
        """Prints it, and the commands that may follow.

        Args:
            places: options of these commands, which name the storage and the results folder.
        """
        file, result = self.plan.file, self.result
        console.print(f"{file.name}: {result.reason}", markup=False)
        if self.best:
            console.print(best_table(self.best, file, width=console.width))
        show_answer(self.study.answer, console, places)
        if result.left or (self.plan.request.count is not None and result.finished != result.total):
            say(CONTINUE, console)
        elif self.best:
            say("Next:", console)
            commands = {shlex.join(["tuner", verb, file.name]): what for verb, what in NEXT.items()}
            commands["tuner dashboard"] = f"in a browser: {dashboard_address()}"
            say_commands(commands, places, console)


def run(request: Request, console: Console, *, notify: Sequence[str] = (), verbose: bool = False) -> StudyEnd:
    """Runs a study until it is done or left.

    Args:
        console: where it is shown. verbose: with the probabilities of the search's choices.
        notify: addresses of `--notify`, which are sent messages.

    Raises:
        InputError: something about the request is wrong.
        StorageFailed: the storage cannot be used.
    """
    shown = make_view(console, verbose=verbose)
    plan = plans.make(request, shown.say)
    with notifying(notify, plan.file.name, shown.say) as notifier:
        view = NotifyingView(shown, notifier, plan.file.name)
        result = launch.launch(plan, view)
        view.tell_end(result)
    return StudyEnd(plan, result, shown)
