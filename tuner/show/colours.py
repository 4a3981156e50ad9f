"""Colours that colour-blind people tell apart: the palette of Okabe and Ito (2008), by state of a trial."""

GREEN, ORANGE, VERMILLION, SKY, PURPLE = "#009E73", "#E69F00", "#D55E00", "#56B4E9", "#CC79A7"
GREY = "#888888"

STATES = {
    "complete": GREEN,
    "pruned": ORANGE,
    "failed": VERMILLION,
    "running": SKY,
    "paused": PURPLE,
    "starting": GREY,
    "ready": GREY,
    "idle": GREY,
    "left": GREY,
    "refused": VERMILLION,
    "overdue": VERMILLION,
}
