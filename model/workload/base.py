"""What studies about recordings of a machine have in common."""

from __future__ import annotations

from tuner.claims.material import Material
from tuner.workloads.workload import Workload


class OfRecordings(Workload):
    """Trains on recordings, or decodes them. Reports show ensembles and programs only for these."""


def are_in(material: Material) -> bool:
    """Whether a report has such a study."""
    return any(isinstance(study.workload, OfRecordings) for study in material.studies)
