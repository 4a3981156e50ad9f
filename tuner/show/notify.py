"""Sends messages about a study to its user: when it is done, when it fails, when there is a new best.

They are sent by a thread of the process that was started by the user, never by an agent. One that cannot be
sent is said once, and the study goes on.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import shlex
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import optuna

from tuner.base import extras
from tuner.base.errors import InputError
from tuner.run.events import AgentState, Event, StudyRun, View
from tuner.run.launch import Result
from tuner.search import ranking
from tuner.storage.outage import is_unreachable

PAUSE_SECONDS = 60.0  # between two messages about a new best
SEND_SECONDS = 30.0  # for one message; and at the end of a study for those that are not sent yet
COMMAND, DESKTOP = "command:", "desktop:"


class Send(Protocol):
    """Sends one message; raises whatever goes wrong."""

    def __call__(self, title: str, text: str) -> None: ...


@dataclass(frozen=True)
class Command:
    """Runs a program with the message as its last argument. Nothing goes through a shell."""

    words: tuple[str, ...]
    titled: bool = False  # title and text are two arguments

    def __call__(self, title: str, text: str) -> None:
        message = [title, text] if self.titled else [f"{title}: {text}"]
        done = subprocess.run(
            [*self.words, *message],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=SEND_SECONDS,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode:
            last = (done.stderr.strip().splitlines() or [""])[-1]
            raise RuntimeError(f"{self.words[0]} ended with exit status {done.returncode} {last}".strip())


@dataclass(frozen=True)
class Apprise:
    """Sends through apprise: mail, Slack, Telegram, ntfy and a hundred others."""

    url: str

    def __call__(self, title: str, text: str) -> None:
        apprise = extras.need("notify", "--notify")
        sender = apprise.Apprise()
        sender.add(self.url)
        logging.getLogger("apprise").addHandler(logging.NullHandler())  # the line about it is ours
        if not sender.notify(title=title, body=text):
            raise RuntimeError("apprise could not send it")


def sender_of(url: str) -> Send:
    """What `--notify URL` stands for.

    Raises:
        InputError: it is nothing that a message can be sent to, or a package for it is missing.
    """
    if url.startswith(COMMAND):
        words = tuple(shlex.split(url.removeprefix(COMMAND)))
        if not words or shutil.which(words[0]) is None:
            raise InputError(
                f"--notify {url}: expected command:PROGRAM [WORDS], with a program that is there"
            )
        return Command(words)
    if url.startswith(DESKTOP):
        if shutil.which("notify-send"):
            return Command(("notify-send",), titled=True)
        if shutil.which("osascript"):
            script = "on run {title, text}\ndisplay notification text with title title\nend run"
            return Command(("osascript", "-e", script), titled=True)
        raise InputError("--notify desktop: needs notify-send (apt install libnotify-bin) or macOS")
    scheme = url.partition(":")[0]
    apprise = extras.need("notify", f"--notify {scheme}:")
    if not apprise.Apprise().add(url):
        raise InputError(
            f"--notify {scheme}:…: apprise knows no such address (https://github.com/caronc/apprise/wiki); "
            "or give command:PROGRAM, or desktop:"
        )
    return Apprise(url)


class Notifier:
    """Sends messages one after the other, in a thread of its own.

    Args:
        senders: with what to call them when they fail; addresses hold passwords.
        say: told in a line what could not be sent, once for each sender.
    """

    def __init__(self, senders: Sequence[tuple[str, Send]], say: Callable[[str], None]) -> None:
        self._senders = senders
        self._say = say
        self._failed: set[str] = set()
        self._waiting: queue.Queue[tuple[str, str] | None] = queue.Queue()
        self._problems: queue.Queue[str] = queue.Queue()
        self._thread = threading.Thread(target=self._work, name="notify", daemon=True)
        if senders:
            self._thread.start()

    def send(self, title: str, text: str) -> None:
        if self._senders:
            self._waiting.put((title, text))

    def say_problems(self) -> None:
        """Says what could not be sent; called where a line may be printed."""
        while not self._problems.empty():
            self._say(self._problems.get())

    def close(self) -> None:
        """Waits for what is not sent yet, for a while."""
        if self._senders:
            self._waiting.put(None)
            self._thread.join(SEND_SECONDS)
        self.say_problems()

    def _work(self) -> None:
        while (message := self._waiting.get()) is not None:
            for name, send in self._senders:
                try:
                    send(*message)
                except Exception as error:  # of any library: a message is worth no study
                    if name not in self._failed:
                        self._failed.add(name)
                        reason = " ".join(str(error).split()) or type(error).__name__
                        self._problems.put(f"no notification through {name} ({reason}); the study continues")


@contextlib.contextmanager
def notifying(urls: Sequence[str], name: str, say: Callable[[str], None]) -> Iterator[Notifier]:
    """The notifier of all `--notify` options; what ends the block as an error is sent as well.

    Args:
        name: what the messages are about.

    Raises:
        InputError: as `sender_of`, before anything is run.
    """
    notifier = Notifier([(url.partition(":")[0], sender_of(url)) for url in urls], say)
    try:
        yield notifier
    except Exception as error:
        notifier.send(name, f"failed: {' '.join(str(error).split())}")
        raise
    finally:
        notifier.close()


class NotifyingView:
    """A view that also sends a message when there is a new best, at most one a minute."""

    def __init__(
        self, view: View, notifier: Notifier, name: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = name
        self._study: optuna.Study | None = None  # until it is run: a finished one is not
        self._view = view
        self._notifier = notifier
        self._clock = clock
        self._due: str | None = None
        self._best: int | None = None
        self._sent = -PAUSE_SECONDS

    def say(self, line: str) -> None:
        self._view.say(line)

    def begin(self, run: StudyRun) -> None:
        self._study, self._records, self._file = run.study, run.records, run.file
        best = self._best_trial()
        self._best = None if best is None else best.number
        self._view.begin(run)

    def event(self, event: Event) -> None:
        if event.kind == "end" and event.content.get("outcome") == "complete":
            self._look(int(event.content["number"]))
        self._view.event(event)

    def tick(self, agents: Sequence[AgentState]) -> None:
        if self._due is not None and self._clock() - self._sent >= PAUSE_SECONDS:
            self._notifier.send(self.name, self._due)
            self._due, self._sent = None, self._clock()
        self._notifier.say_problems()
        self._view.tick(agents)

    def end(self) -> None:
        self._view.end()

    def _look(self, ended: int) -> None:
        """Notes that trial `ended` is the best, for `tick` to send."""
        best = self._best_trial()
        if best is None or best.number != ended or best.number == self._best:
            return
        self._best = best.number
        self._due = f"new best: {self._words(best)}"

    def tell_end(self, result: Result) -> None:
        """The message about how a study was left; none after Ctrl-C, as its user is there."""
        if result.interrupted:
            return
        word = "failed" if not result.fine else "left" if result.left else "done"
        best = self._best_trial() if result.fine else None
        found = "" if best is None else f"; best {self._words(best)}"
        self._notifier.send(self.name, f"{word}: {result.reason}{found}")

    def _words(self, trial: optuna.trial.FrozenTrial) -> str:
        return f"{self._file.metric.name} {trial.values[0]:.4g} (trial {trial.number})"

    def _best_trial(self) -> optuna.trial.FrozenTrial | None:
        if self._study is None:
            return None
        self._records.refresh()
        try:
            ranked = ranking.ranked(self._study.get_trials(deepcopy=False), self._file)
        except Exception as error:
            if not is_unreachable(error):
                raise
            return None
        return ranking.winner(ranked, self._study.user_attrs, self._file)
