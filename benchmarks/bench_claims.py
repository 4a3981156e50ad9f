"""How many claims of the guide's campaign the rounds of `study hypotheses` decide, and how many wrongly.

    python benchmarks/bench_claims.py [--campaigns 5] [--minutes 15]
    python benchmarks/bench_claims.py --worlds 200 [--write]

The second command compares ways to use the same time, on sixteen claims without studies: two huge effects,
two claims with slow runs, twelve quick ones. `--write` stores the figures for the docs.

The campaign is written by a formula with noise (`synthetic_campaign.py`), so the truth of every claim is
known: the formula's difference between the two sides. Each campaign draws other effects: a few huge ones
(SGD, one digit), some of one to three points, most below half a point. Bad configurations have more noise.
Rounds are planned as the command plans them, and their runs get the formula's scores with the noise of a
seed. They end when two agents would have used up the time: a run of the default network takes ten seconds,
larger ones longer.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import figures
import numpy as np
import synthetic_campaign as campaign

from model.config import Config
from tuner.base import anytime
from tuner.claims import design, hypotheses, rounds, verdict, verdicts
from tuner.claims import material as materials
from tuner.claims.material import Material
from tuner.claims.sides import Sides
from tuner.definition.loading import load_study_file
from tuner.storage.access import default_url, open_records

STUDIES = (
    "augmentation_optimization",
    "warmup_optimization",
    "architecture_sweep",
    "loss_weighting",
    "vocabulary_bucketing",
)
COMMANDS = 0.04  # what a point of accuracy adds to the accuracy of commands, in the formula
NOISE, BAD = 0.007, 5.0  # between seeds, and how many times larger it is for a bad configuration
AGENTS, SECONDS = 2, 10.0  # and what a run of the default network takes
BETWEEN = 6.0  # seconds from the end of a round to the runs of the next


class World:
    """The effects of one campaign."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.sgd, self.digit = -rng.uniform(0.05, 0.3), -rng.uniform(0.05, 0.3)
        self.digits, self.width = -rng.uniform(0.02, 0.1), rng.uniform(0, 0.03)
        some, most = rng.uniform(0.01, 0.03, 12) * rng.choice([-1, 1], 12), rng.normal(0, 0.002, 12)
        self.small = np.where(rng.random(12) < 0.25, some, most)

    def noise(self, config: Mapping[str, Any]) -> float:
        """Standard deviation of what comes on top of the noise of `synthetic_campaign.py`."""
        bad = config.get("optimizer") == "sgd" or config.get("vocab_bucket_digits") == 1
        return math.sqrt((NOISE * (BAD if bad else 1)) ** 2 - campaign.NOISE**2)

    def truth(self, config: Mapping[str, Any]) -> float:
        """The accuracy of a configuration, without noise."""
        known = {**Config().to_dict(), **config}
        digits, warmup = known["vocab_bucket_digits"], known["warmup_epochs"]
        value = (
            0.7 + self.sgd * (known["optimizer"] == "sgd") + self.width * math.log2(known["d_model"] / 128)
        )
        value += self.digit * (digits == 1) + self.digits * (digits == 2)
        features = (
            math.log2(known["encoder_layers"]) / 1.6,
            math.log2(known["decoder_layers"]) / 1.6,
            known["optimizer"] == "adam",
            known["scheduler"] != "cosine",
            known["warmup_type"] != "linear" and warmup > 0,
            warmup > 0,
            known["oversampling_factor"] >= 3,
            known["noise_std"] > 0.03,
            known["mixup_alpha"] > 0.15,
            known["reconstruction_weight"] > 0.2,
            known["loss_type"] == "focal",
            known["param_value_weight"] >= 1.5,
        )
        return value + float(np.dot(self.small, np.array(features, dtype=float)))


def seconds(config: Mapping[str, Any]) -> float:
    """What a run takes."""
    known = {**Config().to_dict(), **config}
    layers = 1 + 0.35 * (known["encoder_layers"] + known["decoder_layers"] - 2)
    wide = (known["d_model"] / 128) ** 1.3
    return SECONDS * layers * wide * (1 + 0.2 * (known["oversampling_factor"] - 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--campaigns", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=15, help="time for the claims of one campaign")
    parser.add_argument("--first", type=int, default=0, help="number of the first campaign")
    parser.add_argument(
        "--worlds", type=int, default=0, help="compare ways to use the time in so many worlds"
    )
    parser.add_argument("--write", action="store_true", help="store the comparison for the docs")
    options = parser.parse_args()
    if options.worlds:
        lines = compare(options.worlds, options.minutes)
        print("\n".join(lines))
        if options.write:
            command = f"python benchmarks/bench_claims.py --worlds {options.worlds}"
            figures.record({"claims.ways": lines, "claims.worlds": str(options.worlds)}, command=command)
        return
    counts: Counter[str] = Counter()
    for seed in range(options.first, options.first + options.campaigns):
        with tempfile.TemporaryDirectory() as folder:
            counts += one(Path(folder), seed, options.minutes)
    claims = counts.pop("claims")
    for name, count in counts.items():
        print(f"{name:>28}: {count / options.campaigns:.2f}  (of {claims / options.campaigns:.0f} claims)")


def one(folder: Path, seed: int, minutes: float) -> Counter[str]:
    """Decides the claims of one campaign; counts them."""
    rng = np.random.default_rng(seed)
    world = World(rng)
    campaign.truth = lambda config: world.truth(config) + rng.normal(0, world.noise(config))  # type: ignore
    campaign.seconds_of_epoch = lambda config: seconds(config) / 9  # a round's runs have nine
    files = [load_study_file(name) for name in STUDIES]
    campaign.make_campaign(folder, files=files, seed=seed)
    records = open_records(default_url(folder))
    counts = Counter({"open after the studies": len(open_claims(read(folder)))})
    left = AGENTS * 60 * minutes
    made: set[str] = set()
    sides: dict[str, tuple[Sides, Mapping[str, Any]]] = {}
    while left > 0:
        prepared = hypotheses.prepare(records, folder, chosen=None, overrides={}, fresh=False)
        ready = [one for one in prepared if one.file is not None and one.planned is not None]
        if not ready:
            break
        for each in ready:
            assert each.file is not None and each.planned is not None
            sides |= {c.name: (c, each.planned.points[0]) for c in each.planned.claims}
            count, left = 0, left - AGENTS * BETWEEN
            for point in each.planned.points:
                known = json.dumps(point, sort_keys=True)
                left -= 0 if known in made else seconds(point)
                if left < 0:
                    break
                made.add(known)
                count += 1
            if count:
                campaign.make_study(records, each.file, folder, count=count, rng=rng)
            counts["runs"] += count
            counts["rounds"] += 1
    found = [f for f in verdicts.findings(read(folder)) if f.study in STUDIES]
    counts["claims"] += len(found)
    counts["decided in the end"] += sum(f.decided for f in found)
    for finding in found:
        known_sides = sides.get(f"{finding.study}: {finding.claim}")
        if known_sides is None or not finding.decided or not finding.pairs_run:
            continue
        claim, start = known_sides
        shrunk = 1 - 0.6 * math.exp(-int(start.get("epochs", 18)) / 3)
        truth = shrunk * (world.truth({**start, **claim.where}) - world.truth({**start, **claim.against}))
        truth *= COMMANDS if finding.metric == "val/command_acc" else 1
        true = verdict.decide(truth, truth, gain=finding.gain, matters=finding.matters)
        counts["decided by rounds"] += 1
        assert finding.low is not None and finding.high is not None
        counts["interval misses the truth"] += not finding.low <= truth <= finding.high
        counts["wrong"] += true != finding.verdict and (truth > 0) != (finding.verdict == "as claimed")
    return counts


HUGE, SLOW, QUICK, MATTERS = 2, 2, 12, 0.005
CLAIMS = HUGE + SLOW + QUICK
COST = np.array([1.0] * HUGE + [2.5] * SLOW + [1.0] * QUICK)  # of a run on the slower side


def compare(worlds: int, minutes: float) -> list[str]:
    """A table: for each way how many claims are decided, how many wrongly, how many intervals ever miss."""
    ways: dict[str, tuple[bool, Callable[..., float]]] = {
        "all together, interval for any number": (False, anytime.mixture),
        "all together": (False, anytime.critical),
        "each alone first, interval for any number": (True, anytime.mixture),
        "each alone first (study hypotheses)": (True, anytime.critical),
    }
    used = anytime.critical
    lines = [f"| way | decided of {CLAIMS} | wrong | missed by an interval |", "| --- | --: | --: | --: |"]
    for name, (first, interval) in ways.items():
        anytime.critical = interval  # type: ignore[assignment]
        found = np.mean([_settled(seed, minutes, alone_first=first) for seed in range(worlds)], axis=0)
        lines.append(f"| {name} | {found[0]:.1f} | {found[1]:.2f} | {found[2]:.2f} |")
    anytime.critical = used
    return lines


def _settled(seed: int, minutes: float, *, alone_first: bool) -> tuple[int, int, int]:
    """Claims of one world that are decided, wrongly decided, and missed by an interval at any look."""
    rng = np.random.default_rng(seed)
    some, most = rng.uniform(0.01, 0.03, CLAIMS) * rng.choice([-1, 1], CLAIMS), rng.normal(0, 0.002, CLAIMS)
    truth = np.where(rng.random(CLAIMS) < 0.25, some, most)
    truth[:HUGE] = rng.uniform(0.05, 0.3, HUGE)
    signs, y, left = np.zeros((0, CLAIMS)), np.zeros(0), AGENTS * 60 * minutes
    undecided, large = list(range(CLAIMS)), np.zeros(CLAIMS, dtype=bool)
    wrong, missed = np.zeros(CLAIMS, dtype=bool), np.zeros(CLAIMS, dtype=bool)
    first = True
    while undecided and left > 0:
        rows = []
        if first and alone_first:
            rows = [np.eye(CLAIMS)[i] for i in undecided]
        else:
            alone = [i for i in undecided if large[i]] * rounds.ALONE
            others = [i for i in undecided if not large[i]]
            quick = [i for i in others if COST[i] <= design.SLOW] if alone_first else others
            together = quick or others
            table = np.zeros((design.rows_of([[i] for i in together], first) if together else 0, CLAIMS))
            if together:
                table[:, together] = design.signs(len(together), len(table), rng)
            if not alone_first:  # slow ones in every second pair
                table[1::2, HUGE : HUGE + SLOW] = 0
            rows = [*(np.eye(CLAIMS)[i] for i in alone), *table]
        left -= AGENTS * BETWEEN
        made = []
        for row in rows:
            each = SECONDS * float(np.prod(np.where(row != 0, (1 + COST) / 2, 1)))
            left -= each * (1 if first and alone_first else 2)  # the run of the default is shared
            if left < 0:
                break
            bad = np.count_nonzero(row[:HUGE])
            noise = NOISE * math.hypot(1, BAD if bad else 1)
            made.append((row, float(row @ truth) + rng.normal(0, noise)))
        if made:
            signs, y = np.vstack([signs, [r for r, _ in made]]), np.append(y, [v for _, v in made])
        if first and alone_first:
            large[[i for i, v in zip(undecided, y, strict=False) if abs(v) >= rounds.LARGE * MATTERS]] = True
        first = False
        found = anytime.effects(signs, y)
        for claim in list(undecided):
            effect, pairs = found[claim], np.count_nonzero(signs[:, claim])
            if effect is None or pairs < verdicts.MIN_PAIRS:
                continue
            missed[claim] |= not effect.low <= truth[claim] <= effect.high
            said = verdict.decide(effect.low, effect.high, gain=None, matters=MATTERS)
            if said != "open":
                undecided.remove(claim)
                true = {"no difference": abs(truth[claim]) <= MATTERS, "as claimed": truth[claim] > 0}
                wrong[claim] = not true.get(said, truth[claim] < 0)
    return CLAIMS - len(undecided), int(wrong.sum()), int(missed.sum())


def read(folder: Path) -> Material:
    return materials.load(open_records(default_url(folder)), (), folder, made=datetime(2026, 1, 7))


def open_claims(material: Material) -> list[verdicts.Finding]:
    return [f for f in verdicts.findings(material) if f.study in STUDIES and not f.decided]


if __name__ == "__main__":
    main()
