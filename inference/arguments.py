"""Arguments that several commands of `tuner inference` share, and what they ask for."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.base.errors import InputError

if TYPE_CHECKING:
    from inference.pipeline import Decoder
    from inference.whole import Reader
    from model.library import Library

PLOTS = (".png", ".svg", ".pdf")
PARAMETERS = ("method", "beam", "temperature", "top_k", "top_p", "samples")


def add_model(parser: argparse.ArgumentParser, *, known: bool = False) -> None:
    """Adds `--bundle` and `--run`, and `--known` for commands that read whole recordings."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--bundle", metavar="NAME", help="a bundle's name or folder (default: the newest)")
    which.add_argument(
        "--run", dest="run_folder", type=Path, metavar="DIR", help="a run folder instead of a bundle"
    )
    if known:
        parser.add_argument(
            "--known",
            type=Path,
            metavar="DIR",
            help="data set or folder of known recordings (default: those in the bundle)",
        )


def add_pictures(parser: argparse.ArgumentParser) -> None:
    """Adds `--html` and `--plot`."""
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="write a page: tool path, sensors, a slider over time"
    )
    parser.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw the tool path to a .png, .svg or .pdf file"
    )


def check_pictures(options: argparse.Namespace, recordings: int) -> bool:
    """Whether a picture is asked for; InputError for several recordings, or another kind of file."""
    if options.html is None and options.plot is None:
        return False
    if recordings != 1:
        raise InputError(f"--html and --plot: draw one recording, got {recordings}; name one file")
    if options.plot is not None and options.plot.suffix not in PLOTS:
        raise InputError(f"--plot {options.plot}: expected a name that ends in {', '.join(PLOTS)}")
    return True


def add_options(parser: argparse.ArgumentParser) -> None:
    """Adds options that override the decoding parameters of the bundle."""
    group = parser.add_argument_group("decoding parameters of windows (default: from the bundle)")
    group.add_argument("--method", choices=("greedy", "beam", "sample+mbr"), help="decoding method")
    group.add_argument("--beam", type=int, metavar="N", help="beam width")
    group.add_argument("--temperature", type=float, metavar="T", help="temperature of all heads")
    group.add_argument("--top-k", type=int, metavar="K", help="only the K most probable classes of a head")
    group.add_argument(
        "--top-p",
        type=float,
        metavar="P",
        help="only the most probable classes with a total probability of P",
    )
    group.add_argument("--samples", type=int, metavar="N", help="samples per window (sample+mbr)")


def decoder_of(options: argparse.Namespace) -> Decoder:
    """The decoder that the options ask for."""
    from dataclasses import replace

    from inference.pipeline import Decoder, load
    from model.tokens import HEADS

    if options.run_folder is not None:
        decoder = Decoder.from_run(options.run_folder)
    else:
        decoder = load(options.bundle, results=options.results)
    given: dict[str, Any] = {
        name: getattr(options, name)
        for name in ("method", "beam", "top_k", "top_p", "samples")
        if getattr(options, name, None) is not None
    }
    if getattr(options, "temperature", None) is not None:
        given["temperatures"] = dict.fromkeys(HEADS, options.temperature)
    if given and "method" not in given:
        given["method"] = "sample+mbr" if "samples" in given else "beam"
    return decoder.with_options(replace(decoder.options, **given)) if given else decoder


def reader_of(options: argparse.Namespace) -> Reader:
    """The reader that the options ask for.

    With `--known` alone no network is loaded: unknown programs have no answer then.

    Raises:
        InputError: there are no known programs.
    """
    from inference.whole import Reader

    if options.known is None:
        return Reader.of(decoder_of(options))
    named = options.bundle is not None or options.run_folder is not None
    return Reader(known_library(options.known), decoder_of(options) if named else None)


def reader_if_known(options: argparse.Namespace) -> Reader | None:
    """As `reader_of`; None, which is said, if the bundle has no known programs."""
    from inference.whole import Reader

    if options.known is not None:
        return reader_of(options)
    decoder = decoder_of(options)
    if decoder.library is None:
        sys.stderr.write("no library of known programs: each window is decoded alone\n")
        return None
    return Reader.of(decoder)


def known_library(source: Path) -> Library:
    """The library of a data set or of a folder of recordings."""
    from model.library_fit import build
    from model.recordings import MANIFEST, Recordings

    if (source / MANIFEST).is_file():
        return build(Recordings.load(source))
    if not source.exists():
        raise InputError(f"--known {source}: no such data set or folder of recordings")
    return build(Recordings.from_files([source], require_lines=True))
