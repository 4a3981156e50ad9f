"""`tuner model train`: one run, with progress and final metrics."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from model.config import Config
from model.data_commands import PLAIN_SECONDS, chosen_data
from tuner.base.command_line import settings
from tuner.base.errors import InputError
from tuner.base.files import read_json
from tuner.base.run_folder import RESULT, Report

SHOWN = ("overall_acc", "exact_acc", "command_acc", "operation_acc")


def config_file(path: Path) -> dict[str, Any]:
    """The values in a YAML or JSON file, such as from `tuner export`, or the `config.json` of a run.

    Raises:
        InputError: the file cannot be read, or does not have keys and values.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        content = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise InputError(f"--config {path}: {reason}") from None
    except YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = f"{path}:{line + 1}" if line is not None else f"{path}"
        raise InputError(
            f"--config {where}: not YAML; expected lines such as `learning_rate: 0.001`"
        ) from None
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise InputError(f"--config {path}: expected keys and values, such as tuner export writes")
    return content


def run_train(options: argparse.Namespace) -> None:
    """Trains one network and prints the metrics of its best epoch."""
    values = {**(config_file(options.config) if options.config else {}), **settings(options.set)}
    if options.seed is not None:
        values["seed"] = options.seed
    config = Config.from_dict(values)
    data = chosen_data(options.data)
    assert data.folder is not None, "loaded from its folder"
    from model.trainer import train  # imports torch: a second

    chosen = nullcontext(options.output) if options.output else new_folder(options.results)
    with chosen as output, training_progress(config.epochs) as report:
        train(config.to_dict(), report, data=data.folder, run_folder=output)
    _print_result(read_json(output / RESULT), output, as_json=options.json)


def _print_result(result: dict[str, Any], output: Path, *, as_json: bool) -> None:
    metrics = {**result["metrics"], **result["test_metrics"]}
    if as_json:
        kept = ("track", "seed", "best_epoch", "parameters", "seconds", "unknown_token_rate")
        facts = {key: result.get(key) for key in kept}
        sys.stdout.write(json.dumps({**metrics, **facts, "run": str(output)}) + "\n")
        return
    for name in sorted(metrics):
        sys.stdout.write(f"{name:28s} {metrics[name]:.4f}\n")
    for part, rate in result.get("unknown_token_rate", {}).items():
        if part != "train":
            sys.stdout.write(f"{part + '/unknown_token_rate':28s} {rate:.4f}\n")
    sys.stdout.write(
        f"track {result['track']}, seed {result['seed']}, best epoch {result['best_epoch']}, "
        f"{result['parameters']:,} parameters, {result['seconds']:.0f} s\nrun kept in {output}\n"
    )


@contextmanager
def training_progress(epochs: int) -> Iterator[Report]:
    """A progress bar on a terminal; else a line every few seconds and one for the last epoch."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _plain_lines(epochs)
        return
    columns = (
        TextColumn("epoch {task.completed}/{task.total}"),
        BarColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as bar:
        epoch_bar = bar.add_task("preparing", total=epochs)

        def report(epoch: int, metrics: Mapping[str, float]) -> None:
            bar.update(epoch_bar, completed=epoch + 1, description=_in_words(metrics))

        yield report


def _plain_lines(epochs: int) -> Report:
    last = time.monotonic() - PLAIN_SECONDS

    def report(epoch: int, metrics: Mapping[str, float]) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= PLAIN_SECONDS or epoch + 1 == epochs:
            sys.stderr.write(f"epoch {epoch + 1}/{epochs}: {_in_words(metrics)}\n")
            last = now

    return report


def _in_words(metrics: Mapping[str, float]) -> str:
    shown = [f"{n} {metrics[f'val/{n}']:.3f}" for n in SHOWN if f"val/{n}" in metrics]
    return ", ".join([f"loss {metrics['train/loss']:.3f}", *shown, f"{metrics['epoch_seconds']:.1f} s"])


@contextmanager
def new_folder(results: Path) -> Iterator[Path]:
    """A new folder `results/runs/single/<n>`; runs that start at the same time get different numbers."""
    parent = results / "runs" / "single"
    parent.mkdir(parents=True, exist_ok=True)
    number = max((int(path.name) for path in parent.glob("*") if path.name.isdigit()), default=-1) + 1
    while True:
        folder = parent / str(number)
        try:
            folder.mkdir()
            break
        except FileExistsError:
            number += 1
    try:
        yield folder
    finally:
        with suppress(OSError):  # removes the folder if it is empty
            folder.rmdir()
