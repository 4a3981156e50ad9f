"""Draws docs/architecture.svg from the imports of the code: the packages, and the layers of the engine.

    python docs/draw_architecture.py

A test compares the picture with the code.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parent.parent
PICTURE = Path(__file__).with_suffix("").with_name("architecture.svg")
ROOMS = {  # from left to right: each imports those to its left
    "tuner": "engine",
    "model": "network",
    "ensemble": "bundles",
    "inference": "decoder",
}
FLOORS = {  # from the ground: each imports those below it
    "base": "errors, files, run folder, words",
    "stats": "is A better than B: one comparison",
    "definition": "study and campaign files",
    "storage": "who runs which trial",
    "search": "samplers, pruners, ranking",
    "workloads": "what a trial runs: script, function",
    "tracking": "runs in W&amp;B",
    "artifacts": "run folders kept, shipped, collected",
    "run": "plan, supervisor, agents, trial",
    "claims": "retraining, matched pairs, verdicts",
    "campaign": "steps from a file, confirmed winners",
    "show": "live view, report, dashboard",
    "commands": "command line",
    "plugins": "imports, dashboard, server, MCP, Dask, Ray, referee",
}
WIDTH, ROW, LEFT = 760, 34, 20
BOX = 430  # width of a floor


def imported(path: Path) -> set[str]:
    """Dotted names that a file imports, also inside functions and for annotations."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room_arrows() -> set[tuple[str, str]]:
    """`(room, room that it imports)`."""
    return _arrows((room, ROOT / room) for room in ROOMS)


def floor_arrows() -> set[tuple[str, str]]:
    """`(floor, floor that it imports)` of the engine."""
    return _arrows(((floor, ROOT / "tuner" / floor) for floor in FLOORS), below="tuner.")


def _arrows(folders: Iterable[tuple[str, Path]], below: str = "") -> set[tuple[str, str]]:
    known = FLOORS if below else ROOMS
    found = set()
    for name, folder in folders:
        for path in sorted(folder.rglob("*.py")):
            for module in imported(path):
                other = module.removeprefix(below).partition(".")[0] if module.startswith(below) else ""
                if other in known and other != name:
                    found.add((name, other))
    return found


def draw() -> str:
    """The picture as SVG."""
    floors = list(FLOORS)[::-1]
    top = 110
    height = top + ROW * len(floors) + 20
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" font-family="sans-serif" font-size="13" fill="#1b2430">',
        '<rect width="100%" height="100%" fill="#fff"/>',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0L8 4L0 8z" fill="#5b6b7c"/></marker></defs>',
    ]
    parts += _rooms()
    centre = {floor: top + ROW * index + (ROW - 8) / 2 for index, floor in enumerate(floors)}
    for floor in floors:
        y = centre[floor] - (ROW - 8) / 2
        parts.append(
            f'<rect x="{LEFT}" y="{y}" width="{BOX}" height="{ROW - 8}" rx="4" fill="#e8eef5" '
            'stroke="#9fb2c6"/>'
        )
        parts.append(f'<text x="{LEFT + 10}" y="{centre[floor] + 4.5}" font-weight="bold">{floor}</text>')
        parts.append(f'<text x="{LEFT + 110}" y="{centre[floor] + 4.5}">{FLOORS[floor]}</text>')
    arrows = sorted(floor_arrows(), key=lambda pair: (abs(centre[pair[0]] - centre[pair[1]]), pair))
    for index, (above, under) in enumerate(arrows):
        x, y1, y2 = LEFT + BOX, centre[above], centre[under]
        bend = x + 14 + 5.2 * index
        parts.append(
            f'<path d="M{x} {y1}C{bend:.0f} {y1} {bend:.0f} {y2} {x + 2} {y2}" fill="none" '
            f'stroke="#5b6b7c" stroke-opacity="0.55" marker-end="url(#tip)"><title>{above} imports {under}'
            "</title></path>"
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _rooms() -> list[str]:
    """The four rooms in a row; an arrow goes to a room that is imported."""
    step = (WIDTH - 2 * LEFT) / len(ROOMS)
    centre = {room: LEFT + step * (index + 0.5) for index, room in enumerate(ROOMS)}
    parts = []
    for room, what in ROOMS.items():
        x = centre[room]
        parts.append(
            f'<rect x="{x - 60}" y="40" width="120" height="40" rx="4" fill="#f3ead8" stroke="#c4a96a"/>'
        )
        parts.append(f'<text x="{x}" y="57" text-anchor="middle" font-weight="bold">{room}/</text>')
        parts.append(f'<text x="{x}" y="73" text-anchor="middle">{what}</text>')
    for room, other in sorted(room_arrows()):
        near = abs(list(ROOMS).index(room) - list(ROOMS).index(other)) == 1
        x1, x2 = centre[room] - 60 if near else centre[room], centre[other] + 60 if near else centre[other]
        path = f"M{x1} 60L{x2} 60" if near else f"M{x1} 40C{x1} 8 {x2} 8 {x2} 40"
        parts.append(
            f'<path d="{path}" fill="none" stroke="#5b6b7c" marker-end="url(#tip)">'
            f"<title>{room} imports {other}</title></path>"
        )
    return parts


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
