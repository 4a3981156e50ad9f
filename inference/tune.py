"""What a finished study on a bundle means for it: compared with greedy or the exact solution, and stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ensemble.bundle import Bundle
from ensemble.choose import Interval
from inference.calibrate import by_head
from inference.options import DecodingOptions, neutral
from inference.scaling import exact_temperature
from inference.scores import TEMPERATURES, Likelihood
from inference.workbench import Workbench, options_of
from model.tokens import HEADS
from tuner.definition.study_file import StudyFile


@dataclass(frozen=True)
class Tuned:
    """What a study found on a bundle.

    Attributes:
        options: of the best trial, and `kept`, those that the bundle now has.
        gain: over greedy on calibrate, and `test_gain` on test, paired, over recordings.
        exact: exact lines on calibrate and test, for greedy and for the best.
        inert: parameters of the best trial that change no line of calibrate, with what was tried.
        trials: finished trials.
    """

    options: DecodingOptions
    kept: DecodingOptions
    gain: Interval
    test_gain: Interval
    exact: dict[str, dict[str, float]]
    inert: dict[str, str]
    trials: int


@dataclass(frozen=True)
class Conclusion:
    """What became of a bundle: a tuned decoder, or temperatures."""

    lines: Tuned | None = None
    temperatures: TunedTemperatures | None = None

    def to_json(self) -> dict[str, Any]:
        """For `--json`."""
        if self.temperatures is not None:
            return asdict(self.temperatures)
        return {"lines": None if self.lines is None else asdict(self.lines)}


def conclude(
    folder: Path, config: Mapping[str, Any], file: StudyFile, *, trials: int, data: Path | None = None
) -> Conclusion:
    """Compares a study's best configuration with what the bundle has and stores what is better.

    Args:
        config: of the best trial. data: the runs' data set (default: found below `data/`).
    """
    if "method" not in config:
        return Conclusion(temperatures=tune_temperatures(folder, config, trials))
    calibrate = Workbench(folder, data=data)
    test = Workbench(folder, data=data, part="test")
    return Conclusion(tune_lines(calibrate, test, config, file, trials))


def tune_lines(
    calibrate: Workbench, test: Workbench, config: Mapping[str, Any], file: StudyFile, trials: int
) -> Tuned:
    """Compares the best trial with greedy and stores what is significantly better on `calibrate` in the
    bundle.

    `test` is for the report; nothing is chosen by it.
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
    why = "significantly better" if kept is best else "no significant gain: greedy is kept"
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
    """Parameters of the study that change no line when they alone are varied around `options`."""
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
    """Learned temperatures beside the exact ones, and the NLL (nats a token) of each and of none."""

    learned: dict[str, float]
    exact: dict[str, float]
    nll: dict[str, float]
    trials: int

    def __str__(self) -> str:
        return f"learned {by_head(self.learned)}; exact {by_head(self.exact)}"


def tune_temperatures(folder: Path, config: Mapping[str, Any], trials: int) -> TunedTemperatures:
    """Compares the best trial with the exact solution, which the bundle gets; the search is its check."""
    likelihood = Likelihood(folder)
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
