"""The parts of a report: sections with text, tables, cards and charts. Writers turn them into HTML or PDF."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tuner.show.report.charts import Chart


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        states: the state of each row, if rows are trials that readers can filter and sort.
        trials: the number of each row's trial, by which charts are linked.
        marked: rows that stand out.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    states: Sequence[str] = ()
    trials: Sequence[int] = ()
    marked: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Text:
    """Paragraphs. `aside`: the text says why something is not shown."""

    paragraphs: Sequence[str]
    aside: bool = False


Interval = tuple[float, float | None, float | None]  # mean, low, high


@dataclass(frozen=True)
class Setting:
    """A value of the winner's configuration. `changed`: it is not the `default`."""

    name: str
    value: str
    default: str
    changed: bool


@dataclass(frozen=True)
class Card:
    """The answer of one study.

    Attributes:
        anchor: of the study's section. state: how far it is.
        number, score, metric: of the winner; score "": there is none.
        verdict, tone, real: is it real, as two words, as good, bad or open, and as a sentence.
        gain: over the default configuration; None if that is not known.
        settings: the winner's configuration, searched and changed values first.
        yaml, command: the same as a file, and as the command that runs it ("" if there is none).
        next: the command to run next. todo: what it does, in two words.
    """

    title: str
    anchor: str
    state: str
    number: int | None
    score: str
    metric: str
    verdict: str
    tone: str
    real: str
    gain: Interval | None
    settings: Sequence[Setting]
    yaml: str
    command: str
    cost: str
    next: str
    todo: str = "Next"


@dataclass(frozen=True)
class Cards:
    """Cards side by side."""

    cards: Sequence[Card]


Block = Text | Table | Cards | Chart


@dataclass(frozen=True)
class Section:
    """A heading with its blocks.

    Attributes:
        pruned: number of trials that charts show only if a reader asks for them.
        winner: number of the trial that charts mark.
    """

    anchor: str
    title: str
    blocks: Sequence[Block] = field(default_factory=tuple)
    pruned: int = 0
    winner: int | None = None


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
