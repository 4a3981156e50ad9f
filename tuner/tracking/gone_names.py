"""Names that scripts call and W&B no longer has (looked up in 0.31), and what took their place."""

from __future__ import annotations

import re

_INTEGRATIONS = "catboost|fastai|gym|keras|lightgbm|sacred|sb3|tensorboard|tensorflow|xgboost"
GONE = (  # what Python says; the name; what to write
    (r"'Run' object has no attribute 'get_(sweep_|project_)?url'", "run.get_{}url()", "run.{}url"),
    (r"'Run' object has no attribute 'project_name'", "run.project_name()", "run.project"),
    (r"'Run' object has no attribute 'join'", "run.join()", "run.finish()"),
    (r"init\(\) got an unexpected keyword argument '(magic)'", "wandb.init({}=…)", "leave it out"),
    (rf"No module named 'wandb\.({_INTEGRATIONS})'", "wandb.{}", "wandb.integration.{}"),
    (r"No module named 'wandb\.plots'|'wandb' has no attribute 'plots'", "wandb.plots", "wandb.plot"),
    (
        r"Run\.log\(\) missing 1 required positional argument: 'data'",
        "wandb.log() without values",
        "wandb.log({{}})",
    ),
)


def instead(message: str) -> str:
    """What to write instead of a name that W&B no longer has, as the end of an error's line; else ""."""
    for pattern, name, other in GONE:
        if found := re.search(pattern, message):
            part = next(iter(found.groups(default="")), "")
            what = other.format(part)
            return f" (W&B 0.31 has no {name.format(part)}: {'use ' * ('leave' not in what)}{what})"
    return ""
