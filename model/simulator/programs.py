"""Small programs for a desktop mill, in inches, as its CAM software writes them.

A command word is written when it changes and a coordinate when it moves, so many lines start with a
coordinate. Facing stays on one line for seconds; an adaptive pass changes line at nearly every row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

SAFE, CLEAR, CUT = 0.6, 0.2, 0.025  # heights in inches


@dataclass
class Writer:
    """Collects the lines of a program and leaves out the words that are still in force."""

    lines: list[str] = field(default_factory=list)
    command: str = ""
    at: dict[str, float] = field(default_factory=dict)

    def raw(self, *lines: str) -> None:
        """Lines as they are; the next move names its command again."""
        self.lines += lines
        self.command = ""

    def move(
        self, command: str, *, feed: float | None = None, radius: float | None = None, **to: float
    ) -> None:
        """One motion line to `x`, `y`, `z` (those that change), inches; feed in inches a minute."""
        words = [] if command == self.command else [command]
        for axis, value in to.items():
            if self.at.get(axis) != round(value, 4):
                self.at[axis] = round(value, 4)
                words.append(f"{axis.upper()}{_number(value)}")
        if not to or len(words) == (command != self.command):
            return
        if radius is not None:
            words.append(f"R{_number(radius)}")
        if feed is not None:
            words.append(f"F{_number(feed)}")
        self.lines.append(" ".join(words))
        self.command = command


@dataclass(frozen=True)
class Cut:
    """How one operation cuts; lengths in inches, feeds in inches a minute."""

    write: Callable[[Writer, Cut, int], None]
    width: float
    height: float
    step: float  # step-over
    feed: float
    steps: int  # passes, rings or bites of the whole program


def program(cut: Cut, *, scale: float = 1.0, skipped: int = 0) -> list[str]:
    """The lines of one program. `scale` is a factor on its steps, `skipped` the last steps left out."""
    writer = Writer()
    writer.raw("G90 G94 G17", "G20", "T2", "M3 S12000", "G55")
    cut.write(writer, cut, max(2, round(cut.steps * scale)) - skipped)
    writer.move("G0", z=SAFE)
    writer.raw("G53 G0 Z0.", "M30")
    return writer.lines


def _enter(writer: Writer, *, x: float, y: float, feed: float) -> None:
    writer.move("G0", x=x, y=y)
    writer.move("G0", z=CLEAR)
    writer.move("G1", z=CUT, feed=round(feed / 3, 1))


def facing(writer: Writer, cut: Cut, steps: int) -> None:
    """Back and forth along X; two quarter arcs lead to the next pass."""
    radius = round(cut.step / 2, 4)
    left, right, y = -radius, cut.width + radius, 0.0
    _enter(writer, x=left, y=y, feed=cut.feed)
    for step in range(steps):
        forward = step % 2 == 0
        writer.move("G1", x=right if forward else left, feed=cut.feed if step == 0 else None)
        arc, side = ("G3", radius) if forward else ("G2", -radius)
        edge = right if forward else left
        writer.move(arc, x=edge + side, y=y + radius, radius=radius)
        writer.move(arc, x=edge, y=y + cut.step, radius=radius)
        y += cut.step


def pocket(writer: Writer, cut: Cut, steps: int) -> None:
    """Rings from the middle outwards, corners rounded on the way in to each ring."""
    x, y = cut.width / 2, cut.height / 2
    _enter(writer, x=x, y=y, feed=cut.feed)
    for ring in range(1, steps + 1):
        out = ring * cut.step
        radius = round(cut.step / 2, 4)
        writer.move(
            "G3", x=x + out, y=y - out + radius, radius=radius * 4, feed=cut.feed if ring == 1 else None
        )
        writer.move("G1", y=y + out - radius)
        writer.move("G3", x=x + out - radius, y=y + out, radius=radius)
        writer.move("G1", x=x - out)
        writer.move("G1", y=y - out)
        writer.move("G1", x=x + out - radius)


def adaptive(writer: Writer, cut: Cut, steps: int) -> None:
    """Rows of round bites: out along an arc, back along a wider one, a short straight feed to the next."""
    bites = 12
    radius = round(cut.step * 1.5, 4)
    for first in range(0, steps, bites):
        base = first / bites * 2.4 * radius
        _enter(writer, x=0.0, y=base, feed=cut.feed)
        for bite in range(min(bites, steps - first)):
            x = (bite + 1) * cut.step
            writer.move(
                "G3", x=x + radius, y=base + radius, radius=radius, feed=cut.feed if bite == 0 else None
            )
            writer.move("G3", x=x, y=base + 2 * radius, radius=radius)
            writer.move("G2", x=x - cut.step / 2, y=base + radius, radius=2 * radius)
            writer.move("G1", x=x, y=base)
        writer.move("G0", z=CLEAR)


CUTS: dict[str, Cut] = {
    "adaptive": Cut(adaptive, width=1.6, height=1.2, step=0.11, feed=18.0, steps=24),
    "adaptivefine": Cut(adaptive, width=1.6, height=1.2, step=0.08, feed=12.0, steps=24),
    "face": Cut(facing, width=3.4, height=3.4, step=0.2968, feed=40.0, steps=12),
    "facefine": Cut(facing, width=2.2, height=3.0, step=0.1484, feed=30.0, steps=18),
    "pocket": Cut(pocket, width=3.0, height=3.0, step=0.146, feed=40.0, steps=9),
    "pocketfine": Cut(pocket, width=2.4, height=2.4, step=0.092, feed=26.0, steps=9),
}


def _number(value: float) -> str:
    """As a post-processor writes it: at most four decimals, whole numbers with a point."""
    text = f"{value:.4f}".rstrip("0")
    return "0." if text == "-0." else text
