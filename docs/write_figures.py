"""Puts the figures of docs/figures.json into README.md and the pages of docs/, between their marks.

python docs/write_figures.py            # writes them
python docs/write_figures.py --check    # exit 1 when a page shows another figure

The file is written by benchmarks (`--write`) and by docs/write_results.py. It has the command that
measures each figure, the date and the machine.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "benchmarks"))

import figures  # noqa: E402


def pages() -> dict[Path, str]:
    """README.md and all pages of docs/, as they should be."""
    stored = figures.load()
    found = {}
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("[!_]*.md"))):
        if path.name == "results_template.md":
            continue
        try:
            found[path] = figures.filled(path.read_text(encoding="utf-8"), stored)
        except KeyError as key:
            sys.exit(f"{path.name}: there is no figure {key} in docs/figures.json")
    return found


def main() -> None:
    stale = {path: text for path, text in pages().items() if text != path.read_text(encoding="utf-8")}
    if "--check" in sys.argv and stale:
        names = ", ".join(path.name for path in stale)
        sys.exit(f"{names}: not the figures of docs/figures.json: run `python docs/write_figures.py`")
    for path, text in stale.items():
        path.write_text(text, encoding="utf-8")
        sys.stderr.write(f"wrote {path.relative_to(ROOT)}\n")


if __name__ == "__main__":
    main()
