"""How many claims of the guide's campaign the rounds of `study hypotheses` decide, and how many wrongly.

    python benchmarks/bench_claims.py [--campaigns 5] [--runs 160]

The campaign is written by a formula with noise (`synthetic_campaign.py`), so the truth of every claim is
known: the formula's difference between the two sides. Rounds are planned as the command plans them, and their
runs get the formula's scores with the noise of a seed. "Old way": five
matched pairs a claim.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from datetime import datetime
from pathlib import Path

import numpy as np
import synthetic_campaign as campaign

from tuner.claims import hypotheses, verdict, verdicts
from tuner.claims import material as materials
from tuner.claims.material import Material
from tuner.definition.loading import load_study_file
from tuner.storage.access import default_url, open_records

STUDIES = ("augmentation_optimization", "warmup_optimization", "architecture_sweep", "loss_weighting")
OLD_PAIRS = 5
COMMANDS = 0.04  # what a point of accuracy adds to the accuracy of commands, in the formula


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--campaigns", type=int, default=5)
    parser.add_argument("--runs", type=int, default=160, help="runs for the claims of one campaign, at most")
    options = parser.parse_args()
    counts: Counter[str] = Counter()
    for seed in range(options.campaigns):
        with tempfile.TemporaryDirectory() as folder:
            counts += one(Path(folder), seed, options.runs)
    claims = counts.pop("claims")
    for name, count in counts.items():
        print(f"{name:>28}: {count / options.campaigns:.1f}  (of {claims / options.campaigns:.0f} claims)")


def one(folder: Path, seed: int, most: int) -> Counter[str]:
    """Decides the claims of one campaign; counts them."""
    files = [load_study_file(name) for name in STUDIES]
    campaign.make_campaign(folder, files=files, seed=seed)
    records, rng = open_records(default_url(folder)), np.random.default_rng(seed)
    counts = Counter({"open after the studies": len(open_claims(read(folder)))})
    runs = 0
    sides = {}
    while runs < most:
        prepared = hypotheses.prepare(records, folder, chosen=None, overrides={}, fresh=False)
        ready = [one for one in prepared if one.file is not None]
        if not ready:
            break
        for each in ready:
            assert each.file is not None and each.planned is not None
            sides |= {c.name: (c, each.planned.points[0]) for c in each.planned.claims}
            campaign.make_study(records, each.file, folder, count=each.file.run_cap or 0, rng=rng)
            runs += each.file.run_cap or 0
    found = [f for f in verdicts.findings(read(folder)) if f.study in STUDIES]
    counts["claims"] += len(found)
    counts["open after the rounds"] += sum(not f.decided for f in found)
    counts["runs"] += runs
    counts["runs of the old way"] += 2 * OLD_PAIRS * counts["open after the studies"]
    for finding in found:
        known = sides.get(f"{finding.study}: {finding.claim}")
        if known is None or not finding.decided or not finding.pairs_run:
            continue
        claim, start = known
        truth = score({**start, **claim.where}) - score({**start, **claim.against})
        truth *= COMMANDS if finding.metric == "val/command_acc" else 1
        true = verdict.decide(truth, truth, gain=finding.gain, matters=finding.matters)
        counts["decided by rounds"] += 1
        assert finding.low is not None and finding.high is not None
        counts["interval misses the truth"] += not finding.low <= truth <= finding.high
        counts["wrong"] += true != finding.verdict and (truth > 0) != (finding.verdict == "as claimed")
    return counts


def score(config: dict[str, object]) -> float:
    """The formula's accuracy after as many epochs as a run has."""
    epochs = int(str(config.get("epochs", 18)))
    return campaign.truth(config) * (1 - 0.6 * float(np.exp(-epochs / 3)))


def read(folder: Path) -> Material:
    return materials.load(open_records(default_url(folder)), (), folder, made=datetime(2026, 1, 7))


def open_claims(material: Material) -> list[verdicts.Finding]:
    return [f for f in verdicts.findings(material) if f.study in STUDIES and not f.decided]


if __name__ == "__main__":
    main()
