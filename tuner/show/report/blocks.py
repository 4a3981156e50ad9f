"""The parts of a report: sections with text, tables and charts. The writers turn them into HTML or PDF."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tuner.show.report.charts import Chart


@dataclass(frozen=True)
class Table:
    """A table of text. `states`: the state of each row, if rows are trials that readers can filter."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    states: Sequence[str] = ()


@dataclass(frozen=True)
class Text:
    """Paragraphs. `aside`: the text says why something is not shown."""

    paragraphs: Sequence[str]
    aside: bool = False


Block = Text | Table | Chart


@dataclass(frozen=True)
class Section:
    """A heading with its blocks."""

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
        """All charts, in order."""
        for section in self.sections:
            yield from (block for block in section.blocks if isinstance(block, Chart))
