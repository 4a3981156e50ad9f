"""Which extra of this project brings a package that is not installed: what an error tells the user to do."""

from __future__ import annotations

import re
from importlib import metadata

PROJECT = "gcode-tuner"
DISTRIBUTIONS = {"sklearn": "scikit-learn"}  # import name → name on the index
ALL = ("all", "dev")  # extras that only name the others


def remedy(error: ModuleNotFoundError) -> str | None:
    """`pip install 'gcode-tuner[model]'` for the package that `error` is about; None: no extra has it."""
    package = (error.name or "").partition(".")[0]
    wanted = DISTRIBUTIONS.get(package, package.replace("_", "-"))
    try:
        lines = metadata.requires(PROJECT) or []
    except metadata.PackageNotFoundError:  # a checkout that is not installed
        return None
    for line in lines:
        extra = re.search(r"""extra == ['"]([\w-]+)['"]""", line)
        if extra and extra[1] not in ALL and re.match(rf"{re.escape(wanted)}\b(?![-.\w])", line):
            return f"pip install '{PROJECT}[{extra[1]}]'"
    return None
