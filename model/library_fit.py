"""Fits a library: its recordings, each read by the others, tell how far the answers can be trusted."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from model.deviation import agreement, lowest
from model.library import Known, Library
from model.matching import Query, match_each_other
from model.recordings import Recordings
from model.row_vote import read_rows
from tuner.base.errors import InputError
from tuner.base.files import read_json, write_json

FORMAT = 3
LIBRARY, ARRAYS = "library.json", "library.npz"
KNOTS = 24  # of the curve from votes to probabilities
FEWEST = 2  # known recordings that can tell anything about each other
_SAVED = (
    "shapes",
    "levels",
    "place",
    "place_line",
    "number",
    "motion",
    "feed",
    "delay",
    "fits",
    "lows",
    "trust",
    "trust_others",
    "claims",
)


def build(data: Recordings, which: Any = None) -> Library:
    """The fitted library of the recordings `which` of `data`."""
    return fitted(Library.of(data, which))


def fitted(library: Library) -> Library:
    """Reads each known recording with the others."""
    if len(library.known) < FEWEST:
        return library
    fits, lows, shares, right, others = [], [], [], [], []
    for k, matches in enumerate(match_each_other(library)):
        own = matches.of_operation(library.known[k].operation)
        alone = not len(own.which)
        fits.append(np.nan if alone else own.fit)
        lows.append(np.nan if alone else lowest(agreement(Query.known(library, k), own)))
        reading = read_rows(matches)
        shares.append(reading.likely[:, 0])
        hits = reading.line == library.place_line[library.places(k)][:, None]
        right.append(hits[:, 0])
        there = reading.line[:, 1:] >= 0
        others.append((reading.likely[:, 1:][there], hits[:, 1:][there]))
    trust = _curve(np.concatenate(shares), np.concatenate(right))
    claimed = np.array([np.interp(share, *trust).mean() for share in shares])
    return library.fitted(
        fits=np.array(fits),
        lows=np.array(lows),
        trust=trust,
        others=_curve(*map(np.concatenate, zip(*others, strict=True))),
        claims=np.stack([claimed, [each.mean() for each in right]]),
    )


def _curve(share: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(2, knots) isotonic regression of being right on the share of votes."""
    from sklearn.isotonic import IsotonicRegression

    if not len(share):
        return np.empty((2, 0))
    knots = np.unique(np.quantile(share, np.linspace(0, 1, KNOTS)))
    fit = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(share, right.astype(float))
    return np.stack([knots, fit.predict(knots)])


def save(library: Library, folder: Path) -> None:
    """Writes `library.json` and `library.npz` to `folder`."""
    np.savez_compressed(folder / ARRAYS, **{name: getattr(library, name) for name in _SAVED})
    content = {
        "format": FORMAT,
        "channels": list(library.channels),
        "lines": list(library.lines),
        "known": [vars(known) for known in library.known],
    }
    write_json(folder / LIBRARY, content)


def load(folder: Path) -> Library:
    """The library in `folder`; its absence is the caller's to check.

    Raises:
        InputError: it is damaged.
    """
    content = read_json(folder / LIBRARY)
    if isinstance(content, dict) and content.get("format") in range(1, FORMAT):
        raise InputError(
            f"{folder / LIBRARY}: of an earlier version; make it again: "
            f"tuner ensemble library {folder.name} --data DIR"
        )
    try:
        with np.load(folder / ARRAYS, allow_pickle=False) as arrays:
            library = Library(
                channels=tuple(content["channels"]),
                lines=tuple(content["lines"]),
                known=tuple(Known(**known) for known in content["known"]),
                **{name: arrays[name] for name in _SAVED if name in arrays},  # claims are newer
            )
        rows = sum(known.rows for known in library.known)
        if library.shapes.shape != (rows, len(library.channels)) or library.place.shape != (rows,):
            raise ValueError("its arrays do not fit its list of recordings")
        return library
    except (OSError, KeyError, TypeError, ValueError, EOFError, BadZipFile, zlib.error) as error:
        raise InputError(f"{folder / LIBRARY}: not a library of known programs ({error})") from None
