"""Sends messages about a study to its user: when it is done, when it fails, when there is a new best.

They are sent by a thread of the process that was started by the user, never by an agent. One that cannot be
sent is said once, and the study goes on.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import queue
import shlex
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from tuner.base import extras
from tuner.base.errors import InputError
from tuner.run.events import AgentState, Event, StudyRun
from tuner.run.launch import Result
from tuner.show.lines import PlainView

PAUSE_SECONDS = 60.0  # between two messages about a new best
SEND_SECONDS = 30.0  # for one message; and at the end of a study for those that are not sent yet
COMMAND, DESKTOP = "command:", "desktop:"
MACOS = "on run {title, text}\ndisplay notification text with title title\nend run"
Send = Callable[[str, str], None]  # sends a message of title and text; raises whatever goes wrong


def sender_of(url: str) -> Send:
    """What `--notify URL` stands for.

    Raises:
        InputError: it is nothing that a message can be sent to, or a package for it is missing.
    """
    if url.startswith(COMMAND):
        words = shlex.split(url.removeprefix(COMMAND))
        if not words or shutil.which(words[0]) is None:
            raise InputError(
                f"--notify {url}: expected command:PROGRAM [WORDS], with a program that is there"
            )
        return lambda title, text: _run(words, f"{title}: {text}")
    if url.startswith(DESKTOP):
        for program in (["notify-send"], ["osascript", "-e", MACOS]):
            if shutil.which(program[0]):
                return functools.partial(_run, program)
        raise InputError("--notify desktop: needs notify-send (apt install libnotify-bin) or macOS")
    scheme = url.partition(":")[0]
    apprise = extras.need("notify", f"--notify {scheme}:")
    sender = apprise.Apprise()
    if not sender.add(url):
        raise InputError(
            f"--notify {scheme}:…: apprise knows no such address (https://github.com/caronc/apprise/wiki); "
            "or give command:PROGRAM, or desktop:"
        )

    def send(title: str, text: str) -> None:
        logging.getLogger("apprise").addHandler(logging.NullHandler())  # the line about it is ours
        if not sender.notify(title=title, body=text):
            raise RuntimeError("apprise could not send it")

    return send


def _run(words: Sequence[str], *message: str) -> None:
    """Runs a program with the message as its last arguments. Nothing goes through a shell."""
    command = [*words, *message]
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    done = subprocess.run(command, **quiet, timeout=SEND_SECONDS, text=True, errors="replace", check=False)  # type: ignore[call-overload]
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        raise RuntimeError(f"{words[0]} ended with exit status {done.returncode} {last}".strip())


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
        self, view: PlainView, notifier: Notifier, name: str, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = name
        self.say, self.end = view.say, view.end
        self._view = view
        self._notifier = notifier
        self._clock = clock
        self._complete: set[int] = set()  # numbers of the trials that ended here
        self._begun = False  # a study that is done is not run
        self._known: tuple[int, str] | None = None  # the best that was there, or that was told
        self._due = ""
        self._sent = -PAUSE_SECONDS

    def begin(self, run: StudyRun) -> None:
        self._view.begin(run)
        self._begun = True
        self._known = self._best()

    def event(self, event: Event) -> None:
        if event.kind == "end" and event.content.get("outcome") == "complete":
            self._complete.add(event.content["number"])
        self._view.event(event)

    def tick(self, agents: Sequence[AgentState]) -> None:
        self._view.tick(agents)
        best = self._best()
        if best is not None and best != self._known and best[0] in self._complete:
            self._known, self._due = best, f"new best: {best[1]}"
        if self._due and self._clock() - self._sent >= PAUSE_SECONDS:
            self._notifier.send(self.name, self._due)
            self._due, self._sent = "", self._clock()
        self._notifier.say_problems()

    def tell_end(self, result: Result) -> None:
        """The message about how a study was left; none after Ctrl-C, as its user is there."""
        if result.interrupted:
            return
        word = "failed" if not result.fine else "left" if result.left else "done"
        best = self._best() if result.fine else None
        found = "" if best is None else f"; best {best[1]}"
        self._notifier.send(self.name, f"{word}: {result.reason}{found}")

    def _best(self) -> tuple[int, str] | None:
        """The number of the best trial, and `score 0.93 (trial 7)`."""
        best = self._view.progress.now.best if self._begun else None
        if best is None:
            return None
        metric = self._view.progress.now.metric
        return best.number, f"{metric} {best.values[0]:.4g} (trial {best.number})"
