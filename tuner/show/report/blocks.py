"""The parts of a report: sections with text, tables, cards and charts. Writers turn them into HTML or PDF."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from tuner.show.report.charts import Chart


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        states: the state of each row, if rows are trials that readers can filter and sort.
        trials: the number of each row's trial, by which charts are linked.
        marked: rows that stand out.
        links: the anchor of the section that the first cell of each row leads to; the last cell is a command.
    """

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    states: Sequence[str] = ()
    trials: Sequence[int] = ()
    marked: frozenset[int] = frozenset()
    links: Sequence[str] = ()

    def short(self, most: int) -> Table:
        """The first trials, without notes and folders. A table that is not of trials stays whole."""
        if not self.states:
            return self
        keep = [i for i, heading in enumerate(self.headings) if heading not in ("folder", "note")]
        headings, *rows = ([row[i] for i in keep] for row in (self.headings, *self.rows[:most]))
        more = f": the first {most} of {len(self.rows)}; the HTML report has all"
        caption = f"{self.caption}{more if len(self.rows) > most else ''}"
        return replace(self, headings=headings, rows=rows, caption=caption)


@dataclass(frozen=True)
class Text:
    """Paragraphs. `aside`: the text says why something is not shown; it is folded."""

    paragraphs: Sequence[str]
    aside: bool = False


Interval = tuple[float, float | None, float | None]  # mean, low, high


@dataclass(frozen=True)
class Fact:
    """A figure of a card: `Winner: trial 5`, its value, and what else has to be known about it."""

    label: str
    name: str
    value: str
    note: str

    @property
    def title(self) -> str:
        return f"{self.label}: {self.name}" if self.name else self.label


@dataclass(frozen=True)
class Setting:
    """A value of the winner's configuration. `changed`: it is not the `default`. `searched`: by the study."""

    name: str
    value: str
    default: str
    changed: bool
    searched: bool


@dataclass(frozen=True)
class Card:
    """The answer of one study.

    Attributes:
        anchor: of the study's section. state: how far it is.
        number, score, metric: of the winner; score "": there is none.
        verdict, tone, real: is it real, as two words, as good, bad or open, and as a sentence.
        facts: the winner, what it is compared with, the gain, the cost; those that are known.
        gain: over the default configuration; None if that is not known. interval: the same as text.
        settings: the winner's configuration, searched and changed values first.
        yaml, command: the same as a file, and as the command that runs it ("" if there is none).
        next: the command to run next. todo: what for.
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
    facts: Sequence[Fact]
    gain: Interval | None = None
    interval: str = ""
    settings: Sequence[Setting] = ()
    yaml: str = ""
    command: str = ""
    next: str = ""
    todo: str = "Next"

    @property
    def values(self) -> Table | None:
        """The searched and changed values beside those of the default; None if there is no winner."""
        shown = [s for s in self.settings if s.changed or s.searched]
        marked = frozenset(i for i, s in enumerate(shown) if s.changed)
        columns = 3 if any(s.default for s in shown) else 2
        rows = [[s.name, s.value, s.default][:columns] for s in shown]
        return Table(["parameter", "winner", "default"][:columns], rows, marked=marked) if rows else None


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
        folded: the page shows the heading alone until a reader opens it.
    """

    anchor: str
    title: str
    blocks: Sequence[Block] = field(default_factory=tuple)
    pruned: int = 0
    winner: int | None = None
    folded: bool = False

    @property
    def empty(self) -> bool:
        """It only says why it shows nothing."""
        return all(isinstance(block, Text) and block.aside for block in self.blocks)


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
