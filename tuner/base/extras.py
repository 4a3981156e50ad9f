"""Imports optional packages. Each belongs to an extra of this project (`pip install 'gcode-tuner[dask]'`)."""

from __future__ import annotations

import importlib
from typing import Any

from tuner.base.errors import InputError

# extra → the module to import, and its name in messages
EXTRAS = {
    "dask": ("distributed", "Dask"),
    "ray": ("ray", "Ray"),
    "s3": ("boto3", "boto3"),
    "grpc": ("grpc", "gRPC"),
    "postgresql": ("psycopg", "a PostgreSQL driver"),
    "dashboard": ("optuna_dashboard", "optuna-dashboard"),
    "notebook": ("pandas", "pandas"),
    "model": ("torch", "PyTorch"),
}


def need(extra: str, what: str) -> Any:
    """Imports and returns the module of an extra.

    Args:
        what: the option that needs the module, as the user wrote it (`--executor dask`).

    Raises:
        InputError: the module is not installed. The message says how to install it.
    """
    module, name = EXTRAS[extra]
    try:
        return importlib.import_module(module)
    except ImportError:
        raise InputError(f"{what}: needs {name}: {remedy(extra)}") from None


def remedy(extra: str) -> str:
    """The command that installs an extra."""
    return f"pip install 'gcode-tuner[{extra}]'"
