"""The colours of reports: page, PDF and notebook figures have the same ones.

Series have the colours of Okabe and Ito (2008), which colour-blind people tell apart, made darker or brighter
until they stand out from the page (3:1 for marks, 4.5:1 for text; WCAG 2.2 AA). They also differ in symbol or
dash.
"""

from __future__ import annotations

LIGHT = {
    "paper": "#ffffff", "ink": "#1b2430", "quiet": "#55606d", "line": "#d8dee5", "soft": "#f2f5f8",
    "link": "#1f5c9e", "good": "#00664a", "bad": "#a33b00",
    "s0": "#0072b2", "s1": "#d55e00", "s2": "#00875f", "s3": "#a04d84", "s4": "#6b6b00", "faint": "#848d97",
}  # fmt: skip
DARK = {
    "paper": "#14181d", "ink": "#e4e9ee", "quiet": "#a3aeb9", "line": "#333c46", "soft": "#1d232a",
    "link": "#7db4ec", "good": "#5ec99b", "bad": "#f0a070",
    "s0": "#56b4e9", "s1": "#f0924a", "s2": "#2fc39b", "s3": "#e3a0c8", "s4": "#f0e442", "faint": "#7b8692",
}  # fmt: skip
RAMP = ("#d5e8a8", "#a9dcae", "#7fcdbb", "#4fb9c3", "#2f9fc4", "#2279b5", "#22559e", "#0c2c84")  # to the best
SERIES = tuple(LIGHT[f"s{i}"] for i in range(5))
FAINT, INK, QUIET = LIGHT["faint"], LIGHT["ink"], LIGHT["quiet"]
MISSES = "misses a constraint"  # complete trials that do, as a series
STATES = {
    "complete": "s0",
    "winner": "s1",
    "best so far": "s1",
    "failed": "s3",
    "running": "s2",
    MISSES: "s4",
}
MARKS = {"complete": 0, "running": 1, MISSES: 4}  # symbols of states; other series get the next one
GREY = (
    "pruned",
    "before",
    "dominated",
    "waiting",
    "paused",
    "interrupted",
)  # names of series that stay in the background


def of_series(name: str, place: int) -> str:
    """The name of a series' colour: that of its state, else the next one."""
    return "faint" if name in GREY else STATES.get(name, f"s{place % len(SERIES)}")


def mark(name: str, place: int) -> int:
    """The number of a series' symbol: circle, diamond, square, triangle, cross."""
    return MARKS.get(name, place % 5)


def ramp(shade: float) -> str:
    """The colour of `shade`, 0 … 1 (the best)."""
    return RAMP[min(len(RAMP) - 1, max(0, int(shade * len(RAMP))))]


def short(text: str, most: int = 22) -> str:
    """`text`, with its middle left out if it is too long for an axis."""
    return text if len(text) <= most else f"{text[: most // 2]}…{text[-(most // 2 - 1) :]}"


def css() -> str:
    """Both themes as custom properties; `data-theme` on the root element overrules the browser's wish."""
    ramps = {f"r{i}": colour for i, colour in enumerate(RAMP)}
    light = _properties({**LIGHT, **ramps})
    dark = _properties({**DARK, **dict(zip(ramps, reversed(RAMP), strict=True))})
    classes = "".join(f".{n}{{color:var(--{n})}}" for n in [*ramps, *(f"s{i}" for i in range(5)), "faint"])
    return (
        f":root{{{light}}}@media screen and (prefers-color-scheme:dark)"
        f'{{:root:not([data-theme="light"]){{{dark}}}}}'
        f'@media screen{{:root[data-theme="dark"]{{{dark}}}}}{classes}'
    )


def _properties(colours: dict[str, str]) -> str:
    return "".join(f"--{name}:{colour};" for name, colour in colours.items())
