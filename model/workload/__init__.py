"""Our network as a workload of the engine: the only folder of `model` that knows studies."""

from model.workload.training import Training

__all__ = ["Training"]
