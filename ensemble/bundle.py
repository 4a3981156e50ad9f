"""The description of a bundle, `bundle.json`: the contract between ensemble and decoder.

    results/ensembles/<name>/
        bundle.json             this file's `Bundle`
        members/<i>/            config, weights, vocabulary, scaler, result (and trial) of a run
        vocabulary.json         the vocabulary of all members
        scaler.json             the scaler of the first member (operations, channels)
        library.json, .npz      known programs, to read whole recordings (see `model.library_fit`)
        predictions/<part>.npz  pooled log-probabilities of `calibrate` and `test`, in the format of a run

The ensemble writes members, weights and pooling. Calibration and decoding are set later through
`with_temperatures` and `with_decoding`, which return a new `Bundle` to `save`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from model.tokens import HEADS
from tuner.base.errors import InputError, nearest
from tuner.base.files import read_json, write_json

FORMAT = 1
FORMER = ("line_order",)  # keys of bundles that were built before there was a library
BUNDLE = "bundle.json"
MEMBERS = "members"
WEIGHTED = (*HEADS, "operation")  # what has a weight vector
Pooling = Literal["mixture", "log_linear"]
Method = Literal["greedy", "beam", "sample+mbr"]


@dataclass(frozen=True)
class Member:
    """One run in the bundle.

    `path` is relative to the bundle folder. `source` is where the run was found; it is not read again.
    `objective` is that of the study (`name`, `goal`, `value`), or the metric used instead.
    """

    path: str
    study: str
    number: int
    source: str
    objective: Mapping[str, Any]
    feasible: bool
    parameters: int
    ms_per_window: float | None
    seed: int | None
    metrics: Mapping[str, float] = field(default_factory=dict)  # `val/…` of the run, on `select`

    @property
    def name(self) -> str:
        """`study/number`, as in all tables."""
        return f"{self.study}/{self.number}"


def _neutral() -> dict[str, float]:
    return dict.fromkeys(HEADS, 1.0)


def _greedy() -> dict[str, Any]:
    return {
        "method": "greedy",
        "beam": 1,
        "temperatures": _neutral(),
        "top_k": None,
        "top_p": None,
        "samples": None,
    }


@dataclass(frozen=True)
class Bundle:
    """What a decoder needs besides the files of the members. Immutable; `with_…` returns a changed copy.

    Attributes:
        weights: head → one weight per member, on the simplex; also for `operation`.
        pooling: `mixture` pools as logsumexp(log w + log p), `log_linear` as softmax(Σ w·log p).
        temperatures: one per head, applied after pooling, for calibrated probabilities.
        exponents: one per head, of the gaps between the pooled log-probabilities and the largest, before the
            temperature (see `inference.scaling`); 1 changes nothing.
        decoding: method `greedy | beam | sample+mbr`, `beam`, `temperatures` (for choosing lines, not for
            calibration), `top_k`, `top_p`, `samples`.
        chosen_by: for `members`, `weights`, `temperatures`, `decoding`: how they were chosen, on which part,
            by what margin, against which alternatives.
        report: figures for reports only (leave-one-out, optimism against `test`).
    """

    name: str
    track: str
    data_hash: str
    split_hash: str
    vocabulary_digits: int | None
    members: tuple[Member, ...]
    weights: Mapping[str, tuple[float, ...]]
    pooling: Pooling = "mixture"
    temperatures: Mapping[str, float] = field(default_factory=_neutral)
    exponents: Mapping[str, float] = field(default_factory=_neutral)
    decoding: Mapping[str, Any] = field(default_factory=_greedy)
    chosen_by: Mapping[str, Any] = field(default_factory=dict)
    report: Mapping[str, Any] = field(default_factory=dict)
    created: str = ""

    def __post_init__(self) -> None:
        if not self.members:
            raise InputError(f"bundle '{self.name}': expected at least one member, got none")
        for head in WEIGHTED:
            weights = self.weights.get(head)
            if weights is None or len(weights) != len(self.members):
                got = "none" if weights is None else str(len(weights))
                raise InputError(
                    f"bundle '{self.name}': expected {len(self.members)} weights for {head}, got {got}"
                )
            if not (min(weights) >= 0 and abs(sum(weights) - 1) <= 1e-4):  # also false for NaN
                raise InputError(
                    f"bundle '{self.name}': weights of {head} are not a distribution (sum {sum(weights):.4g})"
                )
        _check_choice(self.name, "pooling", self.pooling, get_args(Pooling))
        _check_choice(self.name, "decoding method", self.decoding.get("method"), get_args(Method))
        for head in HEADS:
            for what, values in (("a temperature", self.temperatures), ("an exponent", self.exponents)):
                value = values.get(head)
                if value is None or not 0 < value < float("inf"):
                    raise InputError(f"bundle '{self.name}': expected {what} above 0 for {head}, got {value}")

    # -- updates

    def with_temperatures(
        self,
        temperatures: Mapping[str, float],
        *,
        exponents: Mapping[str, float] | None = None,
        chosen_by: Mapping[str, Any],
    ) -> Bundle:
        """A copy with other temperatures and exponents (missing ones are kept) and how they were found."""
        return dataclasses.replace(
            self,
            temperatures={**self.temperatures, **temperatures},
            exponents={**self.exponents, **(exponents or {})},
            chosen_by={**self.chosen_by, "temperatures": dict(chosen_by)},
        )

    def with_decoding(self, decoding: Mapping[str, Any], *, chosen_by: Mapping[str, Any]) -> Bundle:
        """A copy with other decoding parameters (missing keys keep theirs)."""
        return dataclasses.replace(
            self,
            decoding={**self.decoding, **decoding},
            chosen_by={**self.chosen_by, "decoding": dict(chosen_by)},
        )

    def with_report(self, **figures: Any) -> Bundle:
        """A copy with more figures in `report`."""
        return dataclasses.replace(self, report={**self.report, **figures})

    # -- on disk

    def to_json(self) -> dict[str, Any]:
        """Plain values; `from_json` is the inverse."""
        return {"format": FORMAT, **dataclasses.asdict(self)}

    @classmethod
    def from_json(cls, content: Mapping[str, Any], *, where: str = BUNDLE) -> Bundle:
        """The inverse of `to_json`. InputError if it is not a bundle, or one of another format."""
        if not isinstance(content, Mapping) or content.get("format") != FORMAT:
            found = content.get("format") if isinstance(content, Mapping) else None
            raise InputError(f"{where}: expected a bundle of format {FORMAT}, got {found!r}; build it again")
        values = {key: value for key, value in content.items() if key not in ("format", *FORMER)}
        try:
            if not isinstance(values["name"], str) or not isinstance(values.get("decoding", {}), Mapping):
                raise TypeError("name and decoding: expected text and an object")
            values["members"] = tuple(Member(**member) for member in values["members"])
            values["weights"] = {head: tuple(weights) for head, weights in values["weights"].items()}
            return cls(**values)
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{where}: not a bundle ({error})") from None

    @classmethod
    def load(cls, folder: Path) -> Bundle:
        """Reads `folder/bundle.json`.

        Raises:
            InputError: no such file, not a bundle, or it names files outside its folder.
        """
        path = folder / BUNDLE
        if not folder.is_dir():
            raise InputError(f"{folder}: no such bundle; build one with `tuner ensemble build`")
        bundle = cls.from_json(read_json(path), where=str(path))
        paths = [member.path for member in bundle.members]
        _require_inside(folder, paths)
        return bundle

    def save(self, folder: Path) -> Path:
        """Writes `folder/bundle.json`, whole or not at all."""
        write_json(folder / BUNDLE, self.to_json())
        return folder / BUNDLE


def find_bundle(results: Path, name: str | None = None) -> Path:
    """The folder of the bundle `name` (a name in `results/ensembles`, or a path); by default the newest.

    Raises:
        InputError: no such bundle; the message lists those that exist.
    """
    root = results / "ensembles"
    found = sorted(root.glob(f"*/{BUNDLE}"))
    known = {path.parent.name: path for path in found if not path.parent.name.startswith(".")}
    if name is None:
        if not known:
            raise InputError(f"{root}: no bundle yet; build one with `tuner ensemble build`")
        return max(known.values(), key=lambda path: path.stat().st_mtime).parent
    if name in known:
        return known[name].parent
    if (Path(name) / BUNDLE).is_file():
        return Path(name)
    have = f"there are: {', '.join(sorted(known))}" if known else "there is none yet"
    raise InputError(f"no bundle '{name}' in {root} ({have}){nearest(name, known)}")


def _require_inside(folder: Path, paths: Sequence[Any]) -> None:
    """InputError if a path or link in the bundle leads out of its folder."""
    root = folder.resolve()
    for path in paths:
        if not isinstance(path, str):
            raise InputError(f"{folder / BUNDLE}: not a bundle (expected a path, got {path!r})")
    links = [str(found.relative_to(folder)) for found in folder.rglob("*") if found.is_symlink()]
    for path in [*paths, *links]:
        found = (folder / path).resolve()
        if not found.is_relative_to(root) or found == root:
            raise InputError(
                f"{folder / BUNDLE}: '{path}' is outside of the bundle's folder; all its files must be in it"
            )


def _check_choice(name: str, what: str, value: Any, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise InputError(f"bundle '{name}': expected {what} to be one of {', '.join(choices)}, got {value!r}")
