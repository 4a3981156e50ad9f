"""Many decoders on the same windows: the networks run once for each prefix that any of them reads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ensemble.bundle import Bundle
from ensemble.choose import Interval, over_recordings
from ensemble.library import data_of
from inference.layout import has_seen, part_of
from inference.options import DecodingOptions
from inference.pipeline import Decoder, choose
from inference.steps import CachedSteps, NetworkSteps
from model.metrics import exact_matches
from model.recordings import Recordings
from tuner.base.errors import InputError


class Workbench:
    """The decoder of a bundle on one part of its data set.

    Attributes:
        truth: the label of each window; recording: `(W,)` its recording.
    """

    def __init__(self, folder: Path, *, data: Path | None = None, part: str = "calibrate") -> None:
        """Loads networks and data; runs nothing yet.

        Raises:
            InputError: no bundle, its data set was not found, its track mixes recordings, or its networks
                were trained on the part.
        """
        self.folder = folder
        self.decoder = Decoder.from_bundle(folder)
        self.data = Recordings.load(_data_folder(self.decoder.predictor.bundle, data))
        self.part = part
        config = self.decoder.predictor.config
        if config.track != "recordings":
            raise InputError(f"{folder}: decoding is tuned on track 'recordings', this is '{config.track}'")
        if has_seen(config, part):
            raise InputError(
                f"{folder}: its networks were trained on `{part}`, too, so nothing can be chosen there; "
                "choose with the bundle that it was refitted from"
            )
        self.loaded = self.decoder.predictor.windows(
            self.data, part_of(self.data, part, config=config, folder=folder)
        )
        self.truth = [self.data.lines[line] for line in self.loaded.windows.line]
        self.recording: NDArray[np.int64] = np.asarray(self.loaded.windows.recording)
        self._lines: dict[str, list[str]] = {}

    @cached_property
    def steps(self) -> CachedSteps:
        """The cached logits, which fill as options are tried."""
        kinds = self.decoder.grammar.factors[:, 0]
        return CachedSteps(NetworkSteps(self.decoder.predictor, self.loaded), kinds)

    def lines(self, options: DecodingOptions) -> list[str]:
        """The line of each window; options with the same canonical form share the result."""
        options = options.canonical()
        key = json.dumps(options.to_dict(), sort_keys=True)
        if key not in self._lines:
            found = choose(self.steps, self.decoder.grammar, len(self.loaded), options)
            self._lines[key] = [self.decoder.vocabulary.to_line(best[0].tokens) for best in found]
        return self._lines[key]

    def right(self, options: DecodingOptions) -> NDArray[np.bool_]:
        """(W,) whether the line of each window is exact."""
        return exact_matches(self.lines(options), self.truth)

    def gain(self, options: DecodingOptions, over: DecodingOptions) -> Interval:
        """Gain in exact lines over other options, paired, with an interval over recordings."""
        difference = self.right(options).astype(float) - self.right(over)
        return over_recordings(difference, self.recording)


def identity(bundle: Bundle) -> str:
    """A hash of everything that the logits of a bundle depend on; a study resumes only on equal hashes."""
    content = bundle.to_json()
    kept = {
        key: content[key] for key in ("name", "data_hash", "members", "weights", "pooling", "temperatures")
    }
    if any(value != 1 for value in bundle.exponents.values()):
        kept["exponents"] = content["exponents"]
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:12]


def options_of(config: Mapping[str, Any]) -> DecodingOptions:
    """The decoding options of a configuration: `temperature` for all heads, or `temperatures` per head."""
    options = DecodingOptions.from_dict(config)
    if config.get("temperature") is not None:
        shared = dict.fromkeys(options.temperatures, float(config["temperature"]))
        options = replace(options, temperatures=shared)
    if "method" not in config and options.beam > 1:
        options = replace(options, method="beam")
    return options


def _data_folder(bundle: Bundle, given: Path | None) -> Path:
    folder = given or data_of(bundle)
    if folder is None:
        raise InputError(
            f"bundle '{bundle.name}': the data set of its runs ({bundle.data_hash[:12]}) is not below data/; "
            "name it with --data"
        )
    if Recordings.load(folder).content_hash != bundle.data_hash:
        raise InputError(f"{folder}: is not the data set that bundle '{bundle.name}' was trained on")
    return folder
