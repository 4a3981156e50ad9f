"""Decodes recordings window by window with a bundle or a run; `inference.whole` reads whole recordings.

decoder = inference.load("loss5")
for window in decoder.decode("face_012_aligned.csv.gz").windows:
    print(window.start, window.line, window.probability)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ensemble.bundle import BUNDLE, Bundle, find_bundle
from ensemble.library import has_library
from inference.beam import Hypothesis, beam_search, best_lines
from inference.grammar import Grammar
from inference.layout import check_channels, laid_out, recordings_of
from inference.options import DEFAULT_SAMPLES, DecodingOptions
from inference.sampling import least_risk, sample
from inference.steps import CachedSteps, NetworkSteps
from model.library import Library
from model.library_fit import load as load_library
from model.recordings import NO_LINE, Recordings
from tuner.base.errors import InputError

BATCH = 256  # windows per search
ALTERNATIVES = 3  # alternative lines per window


@dataclass(frozen=True)
class DecodedWindow:
    """One window and its line.

    Attributes:
        recording: name of the recording; start: first row in it, from 0; rows: rows of the window.
        line: the decoded line; probability: its calibrated probability.
        tokens: the tokens of the line with probabilities.
        alternatives: other lines with probabilities, most probable first.
        truth: the true line, if known.
    """

    recording: str
    start: int
    rows: int
    line: str
    probability: float
    tokens: tuple[tuple[str, float], ...]
    alternatives: tuple[tuple[str, float], ...]
    truth: str | None = None


@dataclass(frozen=True)
class Decoded:
    """All windows of some recordings, in order; the decoded `operation` per recording; `notes` to print."""

    windows: list[DecodedWindow]
    operation: dict[str, tuple[str, float]]
    notes: tuple[str, ...] = ()

    def program(self) -> list[str]:
        """The lines, equal consecutive ones merged; with several recordings, comments name them."""
        lines: list[str] = []
        several = len(self.operation) > 1
        for before, window in zip([None, *self.windows], self.windows, strict=False):
            new = before is None or before.recording != window.recording
            if new and several:
                lines.append(f"({window.recording})")
            if new or before is None or before.line != window.line:
                lines.append(window.line)
        return lines


@dataclass(frozen=True, eq=False)
class Searched:
    """The result of the search: n-best lists, and probabilities of the operations.

    hypotheses: one list per window, best first; operation: `(windows, operations)` log-probabilities.
    """

    hypotheses: list[list[Hypothesis]]
    operation: np.ndarray


class Decoder:
    """A predictor with its decoding parameters.

    Attributes:
        predictor: of a run or a bundle (see `model.predictor`).
        options: decoding parameters.
        library: known programs, to read whole recordings; None if the bundle has none.
    """

    def __init__(
        self,
        predictor: Any,
        *,
        options: DecodingOptions | None = None,
        library: Library | None = None,
        name: str = "",
    ) -> None:
        self.predictor = predictor
        self.options = options or DecodingOptions()
        self.library = library
        self.name = name
        self.vocabulary = predictor.vocabulary
        self.grammar = Grammar.of(predictor.vocabulary)

    @classmethod
    def from_run(cls, folder: Path) -> Decoder:
        """A decoder of a single run; greedy."""
        from model.predictor import RunPredictor

        return cls(RunPredictor.load(folder), name=str(folder))

    @classmethod
    def from_bundle(cls, folder: Path) -> Decoder:
        """A decoder of a bundle with its stored parameters; needs only `folder`."""
        from ensemble.predictor import BundlePredictor

        predictor = BundlePredictor.load(folder)
        bundle: Bundle = predictor.bundle
        library = load_library(folder) if has_library(folder) else None
        try:
            options = DecodingOptions.from_dict(bundle.decoding)
        except (TypeError, ValueError, AttributeError) as error:  # InputError is a ValueError
            raise InputError(f"{folder / BUNDLE}: decoding parameters: {error}") from None
        return cls(predictor, options=options, library=library, name=bundle.name)

    def with_options(self, options: DecodingOptions) -> Decoder:
        """A decoder of the same network with other options."""
        return Decoder(self.predictor, options=options, library=self.library, name=self.name)

    # -- decoding

    def decode(
        self,
        source: Any,
        *,
        alternatives: int = ALTERNATIVES,
        allow_missing: bool = True,
    ) -> Decoded:
        """Decodes recordings window by window.

        Args:
            source: a path, several paths, a polars or pandas data frame of one recording, or `Recordings`.
            alternatives: number of alternative lines per window.
            allow_missing: whether to decode recordings with missing boards; the notes list them.

        Raises:
            InputError: not a recording, or channels that do not match.
        """
        data = recordings_of(source, channels=self.predictor.channels)
        notes = check_channels(data, self.predictor.channels, allow_missing=allow_missing)
        return self._decode(data, None, alternatives, notes)

    def decode_data(
        self, data: Recordings, which: Sequence[int], *, alternatives: int = ALTERNATIVES
    ) -> list[DecodedWindow]:
        """Decodes the recordings `which` of `data`, in any channels."""
        return self._decode(laid_out(data, self.predictor.channels), which, alternatives, ()).windows

    def _decode(
        self, data: Recordings, which: Sequence[int] | None, alternatives: int, notes: tuple[str, ...]
    ) -> Decoded:
        loaded = self.predictor.windows(data, which)
        windows = loaded.windows
        names = [data.recordings[i].name for i in windows.recording]
        truth = [None if line == NO_LINE else data.lines[line] for line in windows.line]
        searched = self.search(loaded, least=alternatives + 1)
        answers = [self.answer(found, alternatives) for found in searched.hypotheses]
        decoded = [
            DecodedWindow(
                recording=names[k],
                start=int(windows.start[k] - data.recordings[windows.recording[k]].start),
                rows=self.predictor.config.window,
                line=answers[k][0][0],
                probability=answers[k][0][1],
                tokens=self.tokens(searched.hypotheses[k][0]),
                alternatives=tuple(answers[k][1 : alternatives + 1]),
                truth=truth[k],
            )
            for k in range(len(windows))
        ]
        return Decoded(decoded, self._operations(names, searched.operation), notes)

    def search(self, loaded: Any, *, options: DecodingOptions | None = None, least: int = 1) -> Searched:
        """Searches all windows of `loaded` (from `predictor.windows`), with at least `least` lines each."""
        steps = NetworkSteps(self.predictor, loaded)
        found = list(choose(steps, self.grammar, len(loaded), options or self.options, least=least))
        return Searched(found, steps.operation)

    # -- parts of an answer

    def answer(self, found: list[Hypothesis], alternatives: int) -> list[tuple[str, float]]:
        """The chosen line and up to `alternatives` others, with probabilities."""
        return [(self.vocabulary.to_line(h.tokens), float(np.exp(h.logp))) for h in found[: alternatives + 1]]

    def tokens(self, hypothesis: Hypothesis) -> tuple[tuple[str, float], ...]:
        """The tokens of a line with probabilities."""
        names = self.vocabulary.tokens
        pairs = zip(hypothesis.tokens, hypothesis.token_logp, strict=True)
        return tuple((names[token], float(np.exp(logp))) for token, logp in pairs)

    def _operations(self, names: Sequence[str], logp: np.ndarray) -> dict[str, tuple[str, float]]:
        """The operation of each recording, by the mean log-probability over its windows."""
        found = {}
        for name in dict.fromkeys(names):
            mean = logp[np.array([n == name for n in names])].mean(axis=0)
            share = np.exp(mean - mean.max())
            best = int(share.argmax())
            found[name] = (self.predictor.operations[best], float(share[best] / share.sum()))
        return found


def choose(
    steps: Any, grammar: Grammar, windows: int, options: DecodingOptions, *, least: int = 1
) -> Iterator[list[Hypothesis]]:
    """The n-best lists of windows, the line that `options` choose first.

    At least `least` lines are returned; a wider beam adds the others.
    """
    options, index, keep = options.canonical(), np.arange(windows), options.canonical().filter()
    if options.method == "sample+mbr":
        rng = np.random.default_rng(options.seed)
        count = options.samples or DEFAULT_SAMPLES
        yield from map(
            least_risk, sample(steps, grammar, index, count=count, rng=rng, keep=keep, batch=BATCH)
        )
        return
    if 1 < least <= options.beam:
        yield from beam_search(steps, grammar, index, width=options.beam, keep=keep, batch=BATCH)
        return
    if max(options.beam, least) > 1 and not isinstance(steps, CachedSteps):  # two searches share prefixes
        steps = CachedSteps(steps, grammar.factors[:, 0])
    for start in range(0, windows, BATCH):
        batch = index[start : start + BATCH]
        chosen = list(best_lines(steps, grammar, batch, width=options.beam, keep=keep, batch=BATCH))
        if least == 1:
            yield from ([line] for line in chosen)
            continue
        wider = beam_search(steps, grammar, batch, width=least, batch=BATCH)
        yield from (_led_by(best, more, least) for best, more in zip(chosen, wider, strict=True))


def _led_by(chosen: Hypothesis, more: list[Hypothesis], count: int) -> list[Hypothesis]:
    """`more` with the chosen line first."""
    return [chosen, *(h for h in more if h.tokens != chosen.tokens)][:count]


def load(bundle: str | Path | None = None, *, results: Path = Path("results")) -> Decoder:
    """The decoder of a bundle (name, folder, or None for the newest) or of a run folder.

    Raises:
        InputError: no such bundle, or it is damaged.
    """
    folder = Path(bundle) if bundle is not None else None
    if folder is not None and folder.is_dir() and not (folder / BUNDLE).is_file():
        return Decoder.from_run(folder)
    return Decoder.from_bundle(find_bundle(results, None if bundle is None else str(bundle)))
