"""What a report is built of: sections of text, tables and charts, before they become a page or a PDF."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tuner.show.report.charts import Chart


@dataclass(frozen=True)
class Table:
    """Words in rows. `states`: each row's state, where rows are trials that can be filtered."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    states: Sequence[str] = ()


@dataclass(frozen=True)
class Text:
    """Paragraphs; `aside` marks a sentence that stands for something that could not be shown."""

    paragraphs: Sequence[str]
    aside: bool = False


Block = Text | Table | Chart


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    anchor: str
    title: str
    blocks: Sequence[Block] = field(default_factory=tuple)


@dataclass(frozen=True)
class Document:
    """The whole report."""

    title: str
    subtitle: str
    sections: Sequence[Section]

    def charts(self) -> Iterator[Chart]:
        """Every chart, in order."""
        for section in self.sections:
            yield from (block for block in section.blocks if isinstance(block, Chart))
