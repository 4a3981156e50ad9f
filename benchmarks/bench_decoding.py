"""Decoding speed: one network greedy, an ensemble of ten at beam 5, and the latter against a plain loop.

    python benchmarks/bench_decoding.py                 # ten networks of the default size, simulated data
    python benchmarks/bench_decoding.py --bundle NAME --data data/mill
    python benchmarks/bench_decoding.py --bundle NAME --data data/mill --trials 50  # decoders of a study

The plain loop decodes one window at a time, one member at a time, without keeping encodings or keys and
values: each step runs every prefix through encoder and decoder again, as a first version would.
Without --bundle one network is trained for a moment and copied with small changes, so that lines have the
usual length. Measured in the same run, on the same threads.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import torch

from ensemble.bundle import Bundle, Member, find_bundle
from ensemble.predictor import BundlePredictor
from inference.beam import candidates
from inference.grammar import Grammar
from inference.options import DecodingOptions
from inference.pipeline import Decoder
from inference.workbench import Workbench, options_of
from model.recordings import Recordings
from model.tokens import BOS, EOS, HEADS

BEAM = 5
PLAIN_WINDOWS = 6  # the plain loop is slow: a few windows tell its speed
METHODS = ("greedy", "beam", "sample+mbr")
TARGETS = {"greedy": 2800.0, "beam": 200.0, "ratio": 20.0}


@dataclass(frozen=True)
class Setup:
    """What is measured: a bundle of several networks and windows to decode."""

    predictor: BundlePredictor
    data: Recordings


def trained_setup(folder: Path) -> Setup:
    """One network of the default size, trained for two epochs on simulated recordings, as ten members."""
    from model.data_sets import synthesize
    from model.predictor import RunPredictor
    from model.simulator import Simulation
    from model.trainer import train

    data = synthesize(folder / "data", Simulation(seed=3, recordings_per_operation=4))
    run = folder / "run"
    train({"epochs": 2}, lambda epoch, metrics: None, data=folder / "data", run_folder=run)
    members = []
    for seed in range(10):
        member = RunPredictor.load(run)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for tensor in member.network.parameters():
                if tensor.numel() > 1:
                    tensor += 0.01 * tensor.std() * torch.randn(tensor.shape, generator=generator)
        members.append(member)
    return Setup(BundlePredictor(_bundle(len(members)), members), data)


def _bundle(count: int) -> Bundle:
    shared = {
        "study": "bench",
        "source": "",
        "feasible": True,
        "parameters": 0,
        "ms_per_window": None,
        "seed": 0,
    }
    objective = {"name": "val/exact_acc", "goal": "maximize", "value": 0.0}
    members = tuple(
        Member(path=f"members/{i}", number=i, objective=objective, **shared) for i in range(count)
    )
    weights = dict.fromkeys((*HEADS, "operation"), (1 / count,) * count)
    return Bundle("bench", "recordings", "", "", 4, members, weights)


def plain_beam(
    member_windows: list[tuple[Any, Any]], pooled: Any, grammar: Grammar, window: int
) -> list[int]:
    """The line of one window: everything is computed anew for every prefix, member by member."""
    beam: list[tuple[float, list[int]]] = [(0.0, [])]
    while any(not line or line[-1] != EOS for _, line in beam):
        grown: list[tuple[float, list[int]]] = []
        for score, line in beam:
            if line and line[-1] == EOS:
                grown.append((score, line))
                continue
            answers = [_forced(member, loaded, window, line) for member, loaded in member_windows]
            logits = pooled(answers, torch.tensor(line[-1:] or [BOS]))
            states = grammar.start(1)
            for token in line:
                states = grammar.advance(states, np.array([token]))
            arrays = {head: values.numpy() for head, values in logits.items()}
            found = candidates(grammar, states, arrays, width=BEAM)
            best = np.argsort(-found.score[0])[:BEAM]
            grown += [
                (score + float(found.score[0, k]), [*line, int(found.token[0, k])])
                for k in best
                if np.isfinite(found.score[0, k])
            ]
        beam = sorted(grown, key=lambda item: -item[0])[:BEAM]
    return beam[0][1]


def _forced(member: Any, loaded: Any, window: int, line: list[int]) -> dict[str, torch.Tensor]:
    memory = member.encode(loaded, np.array([window]))
    with torch.inference_mode():
        logits = member.network.decoder(memory.encoded, torch.tensor([[BOS, *line]]))
    return {head: values[:, -1].float() for head, values in logits.items()}


def rate(work: Any, windows: int, *, repeats: int = 3) -> float:
    """Windows a second, the best of some repeats (others may use the machine meanwhile)."""
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return windows / min(seconds)


def tune(bench: Workbench, trials: int) -> None:
    """Prints the cost of `trials` random decoders of `studies/inference_parameters.yaml` on one bundle."""
    rng = np.random.default_rng(0)
    seconds, processor = dict.fromkeys(METHODS, 0.0), time.process_time()
    for trial in range(trials):
        method = METHODS[trial % len(METHODS)]
        config = {
            "method": method,
            "temperature": float(rng.uniform(0.1, 2.0)),
            "top_k": int(rng.choice([10, 50, 100, 200])),
            "top_p": float(rng.uniform(0.7, 0.99)),
            "beam": int(rng.choice([1, 3, 5, 10, 20])) if method == "beam" else 1,
        }
        began = time.perf_counter()
        bench.lines(options_of(config))
        seconds[method] += time.perf_counter() - began
    processor = time.process_time() - processor
    print(f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}, {len(bench.loaded)} windows")
    each = ", ".join(f"{method} {own:.1f} s" for method, own in seconds.items())
    print(f"{trials} decoders: {sum(seconds.values()):.1f} s ({each}), {processor:.1f} s of processor")
    print(f"networks run for {bench.steps.misses} prefixes")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--bundle", help="a bundle's name or folder")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--data", type=Path, help="data set of the windows, with --bundle")
    parser.add_argument("--windows", type=int, default=512, help="windows to decode (default: 512)")
    parser.add_argument("--trials", type=int, help="with --bundle: measure this many decoders of a study")
    options = parser.parse_args()
    if options.trials and not options.bundle:
        parser.error("--trials needs --bundle")
    if options.trials:
        tune(Workbench(find_bundle(options.results, options.bundle), data=options.data), options.trials)
        return
    with tempfile.TemporaryDirectory() as folder:
        if options.bundle:
            data = Recordings.load(options.data or Path("data/mill"))
            setup = Setup(BundlePredictor.load(find_bundle(options.results, options.bundle)), data)
        else:
            setup = trained_setup(Path(folder))
        measure(setup, options.windows)


def measure(setup: Setup, wanted: int) -> None:
    """Prints the three rates and the ratio, with their targets."""
    ensemble, single = Decoder(setup.predictor), Decoder(setup.predictor.members[0])
    owners, rows = [], 0
    for i, recording in enumerate(setup.data.recordings):
        owners.append(i)
        rows += max(
            1, (recording.rows - single.predictor.config.window) // single.predictor.config.stride + 1
        )
        if rows >= wanted:
            break
    of_one = single.predictor.windows(setup.data, owners)
    of_all = ensemble.predictor.windows(setup.data, owners)
    count = len(of_one)
    greedy = rate(lambda: single.search(of_one), count)
    beam = rate(lambda: ensemble.search(of_all, options=DecodingOptions("beam", BEAM)), count)
    pairs = list(zip(setup.predictor.members, of_all.members, strict=True))
    some = np.linspace(0, count - 1, PLAIN_WINDOWS).astype(int)
    lines: list[list[int]] = []
    began = time.perf_counter()
    for window in some:
        lines.append(plain_beam(pairs, setup.predictor.pooled, ensemble.grammar, int(window)))
    plain = PLAIN_WINDOWS / (time.perf_counter() - began)
    fast = ensemble.search(of_all, options=DecodingOptions("beam", BEAM)).hypotheses
    same = sum(list(fast[w][0].tokens) == line for w, line in zip(some, lines, strict=True))
    name = f"{len(setup.predictor.members)} networks"
    print(f"{torch.get_num_threads()} threads, load {os.getloadavg()[0]:.1f}, {count} windows")
    print(f"one network, greedy     {greedy:8.0f} windows/s (target {TARGETS['greedy']:.0f})")
    print(f"{name}, beam {BEAM}     {beam:8.0f} windows/s (target {TARGETS['beam']:.0f} for 10)")
    print(f"{name}, plain loop {plain:8.2f} windows/s ({same} of {len(some)} lines are the same)")
    print(f"ratio                   {beam / plain:8.0f} x         (target {TARGETS['ratio']:.0f})")


if __name__ == "__main__":
    main()
