"""The pages of the site that lie outside docs/: the first page, changelog and contributing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGES = {"index.md": "README.md", "changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md"}


def on_files(files: Any, *, config: Any) -> Any:
    """Called by mkdocs with the files of docs/; adds the pages."""
    from mkdocs.structure.files import File

    for page in PAGES:
        files.append(File.generated(config, page, content=text_of(page)))
    return files


def text_of(page: str) -> str:
    """The text of a page, with links as they are from docs/."""
    text = (ROOT / PAGES[page]).read_text(encoding="utf-8").replace("](docs/", "](")
    for target, source in PAGES.items():
        text = text.replace(f"]({source})", f"]({target})")
    return text
