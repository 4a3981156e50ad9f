"""The report's charts as plotly figures, for a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner.base.errors import InputError
from tuner.show.report import plotly_charts
from tuner.show.report.charts import Chart

if TYPE_CHECKING:
    import plotly.graph_objects as go

COLUMN = 360  # pixels of each plot, where several stand side by side


def figure(chart: Chart | str) -> go.Figure:
    """The figure of a chart; its plots stand side by side.

    Raises:
        InputError: there is nothing to draw yet; the message says why (`chart` is a sentence then).
    """
    if isinstance(chart, str):
        raise InputError(chart)
    import plotly.graph_objects as go
    from plotly.subplots import make_subplots

    drawn = plotly_charts.figures(chart)
    for one in drawn:
        one["layout"].pop("wide", None)  # the report's page reads it
    if len(drawn) == 1:
        found = go.Figure(drawn[0])
    else:
        found = make_subplots(rows=1, cols=len(drawn))
        for place, one in enumerate(drawn, 1):
            for trace in one["data"]:
                found.add_trace(trace, row=1, col=place)
            found.update_xaxes(one["layout"]["xaxis"], row=1, col=place)
            found.update_yaxes(one["layout"]["yaxis"], row=1, col=place)
        shown = any(one["layout"].get("showlegend") for one in drawn)
        found.update_layout(legend=drawn[0]["layout"]["legend"], showlegend=shown, width=COLUMN * len(drawn))
    found.update_layout(title={"text": chart.title}, margin={"t": 90})
    return found
