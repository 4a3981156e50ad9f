"""What a study's winner takes for what, from the predictions that its run kept: no network is run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from model.run_files import VOCABULARY
from model.tokens import Vocabulary
from model.workload.confusion import confusions
from tuner.base.errors import InputError
from tuner.base.files import read_json
from tuner.base.words import slug
from tuner.claims.material import Study
from tuner.show.report.blocks import Block

PART = "test"  # predictions shown; nothing is chosen by them


def blocks(study: Study, results: Path) -> list[Block]:
    """Confusions of commands, letters and values on recordings that nothing was chosen by; [] without any."""
    winner = study.winner
    folder = None if winner is None else results / "runs" / study.name / str(winner.number)
    if folder is None or not (folder / "predictions" / f"{PART}.npz").exists():
        return []
    try:
        heads = answers(folder, PART)
    except (InputError, KeyError, ValueError, OSError):
        return []
    heads = {title: pairs for title, pairs in heads.items() if pairs}
    if not heads:
        return []
    right = {
        title: sum(n for (a, b), n in pairs.items() if a == b) / sum(pairs.values())
        for title, pairs in heads.items()
    }
    shares = ", ".join(f"{title} {share:.1%}" for title, share in right.items())
    caption = (
        f"Columns: the winner's answers on the part {PART}, the true tokens before them given; rows: the "
        f"truth. Right: {shares}."
    )
    ordered = {title: [(a, b, n) for (a, b), n in pairs.most_common()] for title, pairs in heads.items()}
    return confusions(slug(study.name), caption, ordered)


def answers(folder: Path, part: str) -> dict[str, Counter[tuple[str, str]]]:
    """`commands`, `parameter letters`, `values` → (true, answered) → times, where the head applies.

    Raises:
        InputError, KeyError, ValueError, OSError: the run keeps no such predictions, or torn ones.
    """
    vocabulary = Vocabulary.from_json(read_json(folder / VOCABULARY))
    with np.load(folder / "predictions" / f"{part}.npz", allow_pickle=False) as file:
        arrays = {name: file[name] for name in ("gold", "applies", "command", "param_type", "param_value")}
    return {
        "commands": _counted(arrays, "command", 1, list(vocabulary.commands), vocabulary),
        "parameter letters": _counted(arrays, "param_type", 2, list(vocabulary.param_types), vocabulary),
        "values": _counted(arrays, "param_value", 3, value_words(vocabulary), vocabulary),
    }


def _counted(
    arrays: dict[str, Any], head: str, column: int, names: list[str], vocabulary: Vocabulary
) -> Counter[tuple[str, str]]:
    applies = arrays["applies"][:, column]
    factors = vocabulary.factor_table[arrays["gold"][applies]]
    logits = arrays[head]
    if head == "param_value" and len(names):  # among the values of the parameter in question
        logits = np.where(vocabulary.values_of_param[np.maximum(factors[:, 2], 0)], logits, -np.inf)
    here = factors[:, 0] == column  # a value's letter is named by the token before it
    if not here.any():
        return Counter()
    pairs = zip(factors[here, column].tolist(), logits[here].argmax(axis=1).tolist(), strict=True)
    return Counter({(names[g], names[p]): n for (g, p), n in Counter(pairs).items() if g >= 0})


def value_words(vocabulary: Vocabulary) -> list[str]:
    """Each value class as the word that it stands for: `X1.575`."""
    letters = (vocabulary.param_types[i] for i in vocabulary.value_param_type)
    return [letter + text for letter, text in zip(letters, vocabulary.texts, strict=True)]
