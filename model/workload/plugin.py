"""What `model` adds to the engine's report and to `tuner doctor`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from model.recordings import MANIFEST
from model.workload.training import MEMORY, Training
from tuner.base.files import read_json
from tuner.claims.material import Material
from tuner.show.report.blocks import Section, Table, Text

Check = tuple[str, Callable[[], tuple[bool, str]]]
KEPT = ("track", "data_hash", "split_hash", "code_version")  # of a run's result


def sections(material: Material) -> list[Section]:
    """What our network's runs were trained on; nothing where a report has none of them."""
    studies = [study for study in material.studies if isinstance(study.workload, Training)]
    if not studies:
        return []
    folder = material.data or _only_one()
    manifest = folder / MANIFEST if folder is not None else None
    known = {} if manifest is None or not manifest.exists() else {"name": folder.name, **read_json(manifest)}  # type: ignore[union-attr]
    rows = [[name, str(value)] for name, value in _facts(known).items()]
    for key in KEPT:
        seen = {str(t.result[key])[:16] for study in studies for t in study.trials if t.result.get(key)}
        if seen:
            rows.append([f"runs' {key.replace('_', ' ')}", ", ".join(sorted(seen))])
    if rows:
        return [Section("data", "Data", [Table(["data", ""], rows)])]
    none = "No data set found (data/<name>/manifest.json), and the runs do not name theirs."
    return [Section("data", "Data", [Text([none], aside=True)])]


def _only_one() -> Path | None:
    """The data set where there is one alone."""
    found = sorted(path.parent for path in Path("data").glob(f"*/{MANIFEST}"))
    return found[0] if len(found) == 1 else None


def checks() -> list[Check]:
    """Data sets and torch."""
    return [("data", _data), ("torch", _torch)]


def _data() -> tuple[bool, str]:
    found = []
    for manifest in sorted(Path("data").glob(f"*/{MANIFEST}")):
        content = read_json(manifest)
        found.append(f"{manifest.parent} ({len(content['recordings'])} recordings, {content['rows']:,} rows)")
    if not found:
        return True, "none imported: studies use the simulator's (tuner model import DIR takes yours)"
    return True, ", ".join(found)


def _torch() -> tuple[bool, str]:
    import torch

    if torch.cuda.is_available():
        device = f"cuda ({torch.cuda.get_device_name(0)})"
    elif torch.backends.mps.is_available():
        device = "mps"
    else:
        device = "cpu"
    needs = f"a training agent takes some {MEMORY / 2**20:.0f} MiB"
    return True, f"{torch.__version__}, device {device}, {torch.get_num_threads()} threads; {needs}"


def _facts(manifest: Mapping[str, Any]) -> dict[str, Any]:
    if not manifest:
        return {}
    recordings = manifest.get("recordings", [])
    operations: dict[str, int] = {}
    for recording in recordings:
        operations[recording["operation"]] = operations.get(recording["operation"], 0) + 1
    return {
        "name": manifest.get("name", ""),
        "kind": manifest.get("kind", ""),
        "recordings": len(recordings),
        "operations": ", ".join(f"{name} {count}" for name, count in sorted(operations.items())),
        "rows": f"{manifest.get('rows', 0):,}",
        "channels": len(manifest.get("channels", [])),
        "boards": ", ".join(manifest.get("boards", [])),
        "content hash": str(manifest.get("content_hash", ""))[:16],
    }
