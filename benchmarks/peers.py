"""Other tuners, each installed in a Python environment of its own: they need other NumPys than we do."""

from __future__ import annotations

import subprocess
import venv
from dataclasses import dataclass
from pathlib import Path

ENVIRONMENTS = Path.home() / ".cache" / "gcode-tuner-peers"


@dataclass(frozen=True)
class Peer:
    """A tuner to compare with: what it is called here, what it runs, and what it needs."""

    key: str
    name: str
    packages: tuple[str, ...]
    environment: str = ""  # default: the key

    def python(self) -> Path:
        """The interpreter of its environment, which is made when it is not there.

        Raises:
            subprocess.CalledProcessError: it cannot be installed.
        """
        environment = ENVIRONMENTS / (self.environment or self.key)
        python = environment / "bin" / "python"
        if not (environment / "ready").exists():
            venv.create(environment, with_pip=True)
            quiet = ["--quiet", "--disable-pip-version-check"]
            subprocess.run([python, "-m", "pip", "install", *quiet, *self.packages], check=True)
            (environment / "ready").touch()
        return python


SYNE = ("syne-tune[basic]==0.16.*",)
PEERS = (
    Peer("ray", "Ray Tune (ASHA, OptunaSearch)", ("ray[tune]==2.*", "optuna", "pandas")),
    Peer("syne", "Syne Tune (BOHB)", SYNE),
    Peer("syne-asha", "Syne Tune (ASHA)", SYNE, "syne"),
    Peer("sweeps", "W&B sweeps (bayes, hyperband)", ("sweeps==0.3.0", "numpy==1.26.*")),
)
