"""What is stored with a study and with its trials, beside what Optuna stores: each key once, with its type.

A key is text, so that it serves wherever Optuna takes one; `WHY.of(trial)` reads it. Other programs and
people may have written to a storage: `check` says in one line what has the wrong type.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from tuner.base.errors import InputError

if TYPE_CHECKING:
    import optuna

T = TypeVar("T")
NUMBER = (int, float)


class Attribute(str, Generic[T]):
    """The key of an attribute.

    Args:
        kind: types that its value may have; empty: any, as nothing else breaks by it.
        absent: what `of` returns where the attribute is not set.
    """

    kind: tuple[type, ...]
    absent: T

    def __new__(cls, key: str, absent: T, *kind: type) -> Attribute[T]:
        self = super().__new__(cls, key)
        self.kind, self.absent = kind, absent
        return self

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        """Copied or sent elsewhere with what is stored, it is plain text."""
        return str, (str(self),)

    def of(self, owner: Any) -> T:
        """Its value among those of a trial or study, or in a mapping; `absent` where there is none."""
        attrs = owner if isinstance(owner, Mapping) else owner.user_attrs
        found: T | None = attrs.get(self)
        return self.absent if found is None else found


# Of a study
FILE = Attribute[Mapping[str, Any] | None]("study_file", None, dict)  # as plain values
DIGEST = Attribute[str]("digest", "")
ORIGIN = Attribute[Mapping[str, Any]]("origin", {}, dict)  # `study_store.Origin`: the same when it is resumed
# finished trials that are wanted; None: no end
TOTAL = Attribute[int | None]("run_cap", None, int, type(None))
PRUNER = Attribute[Any]("pruner", None)
CONFIRMED = Attribute[Mapping[str, Any]]("confirmed", {}, dict, type(None))  # the race's trials and means
VERIFIED = Attribute[Mapping[str, Any]]("verified", {}, dict, type(None))  # retrainings of `verify`
PATH = Attribute[str]("path", "", str)
FROM_RESULTS = Attribute[str]("path_from_results", "")
SCORE = Attribute[Any]("score", None, str)  # which value of a run is its score, `Metric.scored`
STOPPED = Attribute[str]("stopped", "")  # why no further trial may start
CHANGES = Attribute[int]("changes", 0)  # how often the study was changed since it was begun
# A `Stop` that somebody asked for, with an id; later starts ignore it
ASKED = Attribute[Any]("stop_asked", None)
CONCLUDED = Attribute[int]("concluded", 0)  # what follows from its winner was done, after how many changes
# The program and scheduler files that it was begun with, where they do not bind it
SOURCES = Attribute[str]("program", "")
UNCOUNTED = Attribute[int]("uncounted", 0)  # how many finished trials are OUTSIDE or NOT_COUNTED
AGENTS_STARTED = Attribute[int]("agents_started", 0)  # how many have worked on it, for their seeds

_STUDY = [key for key in [*vars().values()] if isinstance(key, Attribute)]

# Of a trial: what it was started for
LEASE = Attribute[dict[str, Any] | None]("lease", None, dict, type(None))  # the process that runs it
WHY = Attribute[str]("why", "", str)  # what a queued trial is, in words
DEFAULT = "default configuration"  # WHY of the trial that has what a run without the study would have
CHOSEN = Attribute[str]("chosen", "")  # why it was started or resumed, in words
GRID_POINT = Attribute[int | None]("grid_point", None)  # index of its point in a grid
RETRY_OF = Attribute[int | None]("retry_of", None)  # number of the trial whose agent died
RETRIES = Attribute[int]("retries", 0)  # how often the configuration was queued again
CHECKPOINT = Attribute[str | None]("checkpoint", None)  # name of its checkpoint, which its retries take over
UNTIL = Attribute[int | None]("until", None)  # the epochs after which it is paused; None: it runs to its end
PAUSED = Attribute[int | None]("paused", None)  # while it waits to be resumed: the epochs that it has had
STINTS = Attribute[list[Any]]("stints", [], list)  # where trials are paused: [agent, begin, end] of each run
# what it reached
METRICS = Attribute[Mapping[str, float]]("metrics", {}, dict)
VIOLATION = Attribute[float]("violation", 0.0, *NUMBER)  # of the constraints, summed
REPEATS = Attribute[list[Any]]("repeats", [], list)  # its runs, where each configuration is run several times
SECONDS = Attribute[float | None]("seconds", None, *NUMBER)  # that it has trained, as it says
SIZE = Attribute[float | None]("parameters", None, *NUMBER)
LATENCY = Attribute[float | None]("ms_per_window", None, *NUMBER)  # in milliseconds
RUN_FOLDER = Attribute[str]("run_folder", "", str)  # below the results folder
# why it did not
ERROR = Attribute[str]("error", "", str)
TRACEBACK = Attribute[str]("traceback", "")
AGENT_LOST = Attribute[bool]("agent_lost", False)  # it failed as its agent was gone: not its own fault
OUT_OF_MEMORY = Attribute[bool]("out_of_memory", False)  # as the error says
PRUNED_BECAUSE = Attribute[str]("pruned_because", "", str)
# where it stands in a study that was changed, or that has trials of others
OUTSIDE = Attribute[str]("outside", "")  # why it does not fit the study since the study was changed
# its configuration then, in the file's terms
RAN_WITH = Attribute[Mapping[str, Any] | None]("ran_with", None)
IMPORTED = Attribute[str]("imported", "")  # where it was run, if not by this study
NOT_COUNTED = Attribute[bool]("not_counted", False)  # does not count towards the number that is wanted

_TRIAL = [key for key in [*vars().values()] if isinstance(key, Attribute) and key not in _STUDY]

# those that are checked
STUDY, TRIAL = [[key for key in keys if key.kind] for keys in (_STUDY, _TRIAL)]
# names that a program's own attributes cannot have
OF_STUDY: frozenset[str] = frozenset({*_STUDY, "artifacts", "dashboard_note"})
OF_TRIAL: frozenset[str] = frozenset(_TRIAL)


def check(study: optuna.Study) -> None:
    """Raises InputError with study, trial and attribute for the first attribute of the wrong type."""
    _check(f"study '{study.study_name}'", study.user_attrs, STUDY)
    for trial in study.get_trials(deepcopy=False):
        where = f"study '{study.study_name}', trial {trial.number}"
        _check(where, trial.user_attrs, TRIAL)
        for name, value in METRICS.of(trial).items():
            if not isinstance(value, NUMBER):
                _fail(where, METRICS, f"a number for {name}", value)


def _check(where: str, attributes: Mapping[str, Any], keys: Sequence[Attribute[Any]]) -> None:
    for key in keys:
        if key in attributes and not isinstance(attributes[key], key.kind):
            _fail(where, key, " or ".join(k.__name__ for k in key.kind), attributes[key])


def _fail(where: str, name: str, expected: str, value: Any) -> None:
    raise InputError(
        f"{where}: attribute '{name}': expected {expected}, got {str(value)[:60]!r}; something else has "
        "written to this storage: restore a copy, or begin the study anew with --fresh"
    )
