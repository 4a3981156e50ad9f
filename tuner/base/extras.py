"""Imports optional packages; each belongs to an extra of this project (`optuna-sweeps[dask]`)."""

from __future__ import annotations

import importlib
import re
from importlib import metadata
from typing import Any

from tuner.base.errors import InputError

PROJECT = "optuna-sweeps"
DISTRIBUTIONS = {"sklearn": "scikit-learn"}  # import name → name on the index
ALL = ("all", "dev")  # extras that only name the others
# extra → the module that is imported from it, and what it is called
EXTRAS = {
    "dask": ("distributed", "Dask"),
    "ray": ("ray", "Ray"),
    "s3": ("boto3", "boto3"),
    "grpc": ("grpc", "gRPC"),
    "postgresql": ("psycopg", "a PostgreSQL driver"),
    "dashboard": ("optuna_dashboard", "optuna-dashboard"),
    "notebook": ("pandas", "pandas"),
    "notify": ("apprise", "apprise"),
    "mcp": ("mcp", "the Model Context Protocol's package"),
    "mqtt": ("paho.mqtt.client", "paho-mqtt"),
    "model": ("torch", "PyTorch"),
}


def need(extra: str, what: str) -> Any:
    """The module of an extra. Raises InputError that says how to install it, if it is missing.

    Args:
        what: the option that needs the module, as the user wrote it (`--executor dask`).
    """
    module, name = EXTRAS[extra]
    try:
        return importlib.import_module(module)
    except ImportError:
        raise InputError(f"{what}: needs {name}: {remedy(extra)}") from None


def remedy(extra: str) -> str:
    """How to install an extra."""
    return f"pip install '{PROJECT}[{extra}]'"


def remedy_of(error: ModuleNotFoundError) -> str | None:
    """`pip install 'optuna-sweeps[model]'` for the package that `error` is about; None: no extra has it."""
    package = (error.name or "").partition(".")[0]
    wanted = DISTRIBUTIONS.get(package, package.replace("_", "-"))
    try:
        lines = metadata.requires(PROJECT) or []
    except metadata.PackageNotFoundError:  # a checkout that is not installed
        return None
    for line in lines:
        extra = re.search(r"""extra == ['"]([\w-]+)['"]""", line)
        if extra and extra[1] not in ALL and re.match(rf"{re.escape(wanted)}\b(?![-.\w])", line):
            return remedy(extra[1])
    return None
