"""Studies on a bundle: `inference_parameters` and `head_temperatures`, through the tuner's own machinery.

Trials are the tuner's: same storage, sampler, conditional space, agents. `BundleObjective` is what its agents
call for a study file with `on: bundle`; the networks run once in an agent, however many trials it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from ensemble.bundle import Bundle, find_bundle
from ensemble.choose import Interval, over_recordings
from inference.calibrate import by_head, exact_temperature, read_samples
from inference.joint import JointOptions
from inference.options import DecodingOptions, neutral
from inference.workbench import Workbench, identity, options_of
from model.tokens import HEADS
from tuner.base.errors import InputError, WorkFailed
from tuner.base.run_folder import Report
from tuner.definition.loading import load_study_file
from tuner.definition.study_file import StudyFile
from tuner.run.launch import Request, launch
from tuner.run.winner import config_of
from tuner.show.live import make_view
from tuner.storage.access import open_records
from tuner.storage.stored import load_study
from tuner.storage.study_store import ChangedStudy
from tuner.workloads.objective import FunctionObjective

TEMPERATURES = "temperatures"
JOINT_EVIDENCE = (0.1, 0.25, 0.5, 1.0)
JOINT_PROGRAM = (0.03, 0.1, 0.3)


class BundleObjective:
    """Decodes or scores `calibrate` of a bundle with the configuration of a trial."""

    def __call__(self, config: Mapping[str, Any], report: Report, *, run_folder: Path) -> Mapping[str, float]:
        """The configuration may name `bundle` (default: the newest of the results that the study is in) and
        `data`.

        Raises:
            InputError: no such bundle, or its data set was not found.
        """
        results = run_folder.parents[2]
        function = objective_for(
            find_bundle(results, config.get("bundle")), data=config.get("data"), of=_what(config)
        )
        return FunctionObjective(function)(config, report, run_folder=run_folder)


def _what(config: Mapping[str, Any]) -> str:
    """Whether a study searches temperatures by head and no method: it calibrates, and decodes no lines."""
    return TEMPERATURES if TEMPERATURES in config and "method" not in config else "lines"


@lru_cache(maxsize=2)
def objective_for(folder: Path, *, data: str | None = None, of: str = "lines") -> Any:
    """`(config, report) -> metrics` on a bundle.

    Args:
        of: "lines" decodes and counts exact ones; "temperatures" takes the likelihood of stored predictions.
    """
    if of == TEMPERATURES:
        return _Likelihood(folder)
    return _Lines(Workbench(folder, data=None if data is None else Path(data)))


class _Lines:
    """Share of exact lines and of right commands of a decoder."""

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench

    def __call__(self, config: Mapping[str, Any], report: Report) -> dict[str, float]:
        options = options_of(config)
        right = self.bench.right(options)
        words = [
            [word for word in line.split() if word[0] in "GMT"]
            for lines in (self.bench.lines(options), self.bench.truth)
            for line in lines
        ]
        half = len(words) // 2
        same = [a == b for a, b in zip(words[:half], words[half:], strict=True)]
        metrics = {"val/exact_acc": float(right.mean()), "val/command_acc": float(np.mean(same))}
        report(0, metrics)
        return metrics


class _Likelihood:
    """Negative log-likelihood of the stored predictions, in nats per token."""

    def __init__(self, folder: Path) -> None:
        self.samples = read_samples(folder, "calibrate")

    def __call__(self, config: Mapping[str, Any], report: Report) -> dict[str, float]:
        metrics = self.measure({**neutral(), **config[TEMPERATURES]})
        report(0, metrics)
        return metrics

    def measure(self, temperatures: Mapping[str, float]) -> dict[str, float]:
        """`val/nll` of all heads, and that of each head, a mean over its positions."""
        each = {head: self.samples[head].nll(float(temperatures[head])) for head in HEADS}
        total = sum(each[head] * len(self.samples[head]) for head in HEADS)
        tokens = len(self.samples["type"])
        return {"val/nll": total / max(1, tokens), **{f"val/nll_{head}": nll for head, nll in each.items()}}


@dataclass(frozen=True)
class Tuned:
    """The result of a study on a bundle.

    Attributes:
        options: of the best trial; `kept`: those that the bundle has now.
        gain: over greedy on calibrate, and `test_gain` on test, paired, over recordings.
        exact: exact lines on calibrate and test, for greedy and for the best trial.
        inert: parameters of the best trial that change no line of calibrate, with the tried values.
        trials: number of finished trials.
    """

    options: DecodingOptions
    kept: DecodingOptions
    gain: Interval
    test_gain: Interval
    exact: dict[str, dict[str, float]]
    inert: dict[str, str]
    trials: int


def run_study(
    name: str,
    folder: Path,
    *,
    results: Path,
    console: Console,
    data: Path | None = None,
    trials: int | None = None,
    seed: int = 0,
    fresh: bool = False,
) -> tuple[StudyFile, dict[str, Any], int]:
    """Runs or resumes a study on the bundle at `folder`.

    Returns:
        the study file, the configuration of the best trial, and the number of finished trials.

    Raises:
        InputError: not a study on a bundle.
        WorkFailed: the study stopped with an error.
    """
    file = load_study_file(name)
    if file.on != "bundle":
        raise InputError(f"study '{name}' trains networks: run it with `python -m tuner study {name}`")
    start: dict[str, Any] = {TEMPERATURES: neutral()} if name == "head_temperatures" else {"method": "greedy"}
    fixed = {"bundle": str(folder), "identity": identity(Bundle.load(folder))}
    request = Request(
        study_file=file,
        url=f"sqlite:///{results / 'studies.db'}",
        results=results,
        trials=trials,
        agents=1,
        overrides=fixed if data is None else {**fixed, "data": str(data)},
        base=start,
        seed=seed,
        fresh=fresh,
        wandb="off",
    )
    view = make_view(console)
    try:
        result = launch(request, view)
    except ChangedStudy:
        view.say(f"'{file.name}' was run on another bundle, or with other settings: starting afresh")
        result = launch(replace(request, fresh=True), view)
    if result.interrupted:
        raise KeyboardInterrupt
    if not result.fine:
        raise WorkFailed(f"{file.name}: {result.reason}")
    study = load_study(open_records(request.url), file.name)
    return file, config_of(study, study.best_trial, results), result.finished


def tune_lines(
    calibrate: Workbench, test: Workbench, config: Mapping[str, Any], file: StudyFile, trials: int
) -> Tuned:
    """Compares the best trial with greedy; stores it in the bundle if significantly better on `calibrate`.

    `test` is for the report only.
    """
    greedy, best = DecodingOptions(), options_of(config).canonical()
    gain = calibrate.gain(best, greedy)
    kept = best if gain.low > 0 else greedy
    inert = inert_parameters(calibrate, best, file)
    tuned = Tuned(
        options=best,
        kept=kept,
        gain=gain,
        test_gain=test.gain(best, greedy),
        exact={
            bench.part: {
                "greedy": float(bench.right(greedy).mean()),
                "best": float(bench.right(best).mean()),
            }
            for bench in (calibrate, test)
        },
        inert=inert,
        trials=trials,
    )
    bundle = Bundle.load(calibrate.folder)
    why = "better beyond chance" if kept is best else "nothing gained beyond chance: greedy is kept"
    bundle.with_decoding(
        kept.to_dict(),
        chosen_by={
            "how": f"study {file.name}, {trials} trials; {why}",
            "part": "calibrate",
            "margin": gain.to_json(),
            "against": "greedy",
            "best": best.to_dict(),
            "exact": tuned.exact,
            "on_test": tuned.test_gain.to_json(),
            "inert": inert,
        },
    ).save(calibrate.folder)
    return tuned


def inert_parameters(bench: Workbench, options: DecodingOptions, file: StudyFile) -> dict[str, str]:
    """Parameters of the study that change no line if only they are varied from `options`."""
    if options.method == "greedy":
        unread = [p.name for p in file.space.searched if p.name != "method"]
        return dict.fromkeys(unread, "greedy does not read it")
    lines = bench.lines(options)
    tries: dict[str, list[DecodingOptions]] = {
        "temperature": [_warmed(options, t) for t in (0.25, 0.5, 1.0, 2.0)],
        "top_k": [replace(options, top_k=k) for k in (10, 50, 200)],
        "top_p": [replace(options, top_p=p) for p in (0.7, 0.9, 0.99)],
    }
    if options.method == "beam":
        tries["beam"] = [replace(options, beam=b) for b in (3, 5, 10, 20)]
    return {
        name: f"{len(varied)} values tried, no line of calibrate differs"
        for name, varied in tries.items()
        if all(bench.lines(each) == lines for each in varied)
    }


def _warmed(options: DecodingOptions, temperature: float) -> DecodingOptions:
    return replace(options, temperatures=dict.fromkeys(options.temperatures, temperature))


@dataclass(frozen=True)
class TunedTemperatures:
    """Learned and exact temperatures, and the NLL (nats per token) with each and without."""

    learned: dict[str, float]
    exact: dict[str, float]
    nll: dict[str, float]
    trials: int

    def __str__(self) -> str:
        return f"learned {by_head(self.learned)}; exact {by_head(self.exact)}"


def tune_temperatures(folder: Path, config: Mapping[str, Any], trials: int) -> TunedTemperatures:
    """Compares the best trial with the exact solution and stores the latter in the bundle."""
    likelihood = _Likelihood(folder)
    learned = {head: float(config[TEMPERATURES][head]) for head in HEADS}
    exact = {head: exact_temperature(likelihood.samples[head]) for head in HEADS}
    nll = {
        name: likelihood.measure(temperatures)["val/nll"]
        for name, temperatures in (("none", neutral()), ("learned", learned), ("exact", exact))
    }
    bundle = Bundle.load(folder)
    note = {**bundle.chosen_by.get(TEMPERATURES, {}), "learned": learned, "learned_nll": nll["learned"]}
    bundle.with_temperatures(bundle.temperatures, chosen_by=note).save(folder)
    return TunedTemperatures(learned, exact, nll, trials)


@dataclass(frozen=True)
class TunedJoint:
    """Parameters of joint decoding, chosen on calibrate, with exact lines before and after, and the gain."""

    options: JointOptions
    exact: float
    exact_default: float
    exact_window: float
    gain: Interval  # over window by window
    tried: int


def tune_joint(bench: Workbench) -> TunedJoint | None:
    """Chooses the two powers of the evidence on calibrate and stores them; None without programs.

    By exact lines; ties: higher mean log-probability of the true lines.
    """
    if bench.decoder.programs is None:
        return None
    scores: dict[tuple[float, float], tuple[float, float]] = {}
    outcomes: dict[tuple[float, float], Any] = {}
    for evidence in JOINT_EVIDENCE:
        for program in JOINT_PROGRAM:
            options = replace(JointOptions(), evidence=evidence, program=program)
            right, sure = bench.joint(options)
            scores[evidence, program] = (float(right.mean()), float(np.log(np.maximum(sure, 1e-4)).mean()))
            outcomes[evidence, program] = right
    best = max(scores, key=lambda key: scores[key])
    chosen = replace(JointOptions(), evidence=best[0], program=best[1])
    alone = bench.right(bench.decoder.options)
    default, _ = bench.joint(JointOptions())
    gain = over_recordings(outcomes[best].astype(float) - alone, bench.recording)
    bundle = Bundle.load(bench.folder)
    note = bundle.chosen_by.get("decoding", {})
    joint_note = {
        "how": f"exact lines of {len(scores)} pairs of powers",
        "part": "calibrate",
        "margin": gain.to_json(),
        "against": "each window alone",
        "exact": {"window": float(alone.mean()), "joint": scores[best][0]},
        "tried": [
            {"evidence": evidence, "program": program, "exact": exact}
            for (evidence, program), (exact, _) in scores.items()
        ],
    }
    powers = {"evidence": chosen.evidence, "program": chosen.program}
    bundle.with_decoding({"joint": powers}, chosen_by={**note, "joint": joint_note}).save(bench.folder)
    return TunedJoint(
        options=chosen,
        exact=scores[best][0],
        exact_default=float(default.mean()),
        exact_window=float(alone.mean()),
        gain=gain,
        tried=len(scores),
    )
