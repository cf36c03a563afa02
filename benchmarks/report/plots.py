"""The charts as interactive plots."""

from collections.abc import Callable, Mapping, Sequence
from math import log10
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from benchmarks.report.charts import Bars, Chart, Lines, Shares, Timeline
from benchmarks.report.colours import BY_KIND, colour
from benchmarks.report.wording import OURS

BUTTONS = {"displaylogo": False, "modeBarButtons": [["toImage", "zoom2d", "pan2d", "resetScale2d"]]}
"""Those that need no network."""


def drawn(chart: Chart) -> str:
    """Return the chart as a part of a page that has plotly."""
    figure = DRAW[type(chart)](chart)
    figure.update_layout(
        title={"text": chart.title, "font": {"size": 15}},
        template="plotly_white",
        margin={"l": 10, "r": 20, "t": 60, "b": 40},
        font={"family": "system-ui, sans-serif", "size": 12},
    )
    return figure.to_html(full_html=False, include_plotlyjs=False, div_id=chart.slug, config=BUTTONS)


def _bars(chart: Bars) -> go.Figure:
    bars = list(reversed(chart.bars))  # plotly draws the first one at the bottom
    figure = go.Figure(
        go.Bar(
            orientation="h",
            y=[bar.name for bar in bars],
            x=[bar.value for bar in bars],
            text=[bar.label for bar in bars],
            textposition="outside",
            cliponaxis=False,
            marker_color=[BY_KIND[bar.kind] for bar in bars],
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [bar.high - bar.value for bar in bars],
                "arrayminus": [bar.value - bar.low for bar in bars],
                "color": "#495057",
                "thickness": 1,
            },
            hovertemplate="%{y}: %{text}<extra></extra>",
        )
    )
    figure.update_xaxes(title=chart.axis, exponentformat="SI", separatethousands=True, **_decades(chart.ticks))
    figure.update_yaxes(automargin=True)
    figure.update_layout(height=120 + 26 * len(bars))
    return figure


def _decades(ticks: Sequence[tuple[float, str]]) -> dict[str, Any]:
    """A logarithmic axis over these decades; a linear one if there are none."""
    if not ticks:
        return {}
    values, names = zip(*ticks, strict=True)
    room = 0.25 * (len(ticks) - 1) / 4  # for the label of the longest bar
    span = [log10(values[0]), log10(values[-1]) + room]
    return {"type": "log", "tickvals": values, "ticktext": names, "range": span}


def _lines(chart: Lines) -> go.Figure:
    figure = go.Figure()
    for line in chart.lines:
        figure.add_scatter(
            name=line.name,
            x=line.x,
            y=line.y,
            mode="lines+markers" if chart.log_x else "lines",
            line={
                "color": colour(line.name, line.kind),
                "width": 3 if line.name == OURS else 2 if line.kind == "ours" else 1.5,
                "dash": "dash" if line.kind == "limit" else "solid",
            },
            hovertemplate="%{y:.3s}s<extra>%{fullData.name}</extra>",
        )
    positions, names = zip(*chart.ticks, strict=True)
    figure.update_xaxes(
        title=chart.x_axis, type="log" if chart.log_x else "linear", tickvals=positions, ticktext=names, automargin=True
    )
    figure.update_yaxes(title=chart.y_axis, automargin=True, **_decades(chart.decades))
    figure.update_layout(height=max(460, 130 + 20 * len(chart.lines)), hovermode="closest")
    return figure


def _shares(chart: Shares) -> go.Figure:
    figure = go.Figure()
    for group in reversed(chart.groups):
        figure.add_scatter(
            name=group.name,
            x=group.shares,
            y=[group.name] * len(group.shares),
            mode="markers",
            marker={"color": BY_KIND[group.kind], "size": 8, "opacity": 0.55},
            hovertemplate="%{x:.2f} of an even share<extra>%{y}</extra>",
        )
    figure.add_vline(x=1, line={"color": "#2f9e44", "dash": "dot"})
    figure.update_xaxes(title=chart.axis, rangemode="tozero")
    figure.update_yaxes(automargin=True)
    figure.update_layout(height=110 + 26 * len(chart.groups), showlegend=False)
    return figure


def _timeline(chart: Timeline) -> go.Figure:
    figure = make_subplots(
        rows=len(chart.panels),
        shared_xaxes=True,
        vertical_spacing=0.12,
        subplot_titles=[f"<b>{panel.name}</b>: {panel.note}" for panel in chart.panels],
    )
    for row, panel in enumerate(chart.panels, start=1):
        for number, lane in enumerate(panel.lanes, start=1):
            x, y = _segments(lane, number)
            figure.add_scatter(
                x=x,
                y=y,
                mode="lines",
                line={"width": 12, "color": colour(panel.name)},
                hovertemplate=f"process {number}: %{{x:.4f}} s<extra></extra>",
                row=row,
                col=1,
            )
        figure.update_yaxes(title="process", tickvals=list(range(1, len(panel.lanes) + 1)), row=row, col=1)
    figure.update_xaxes(title=chart.axis, row=len(chart.panels), col=1)
    figure.update_annotations(x=0, xanchor="left", font={"size": 13})
    figure.update_layout(height=120 + 260 * len(chart.panels), showlegend=False)
    return figure


def _segments(lane: list[tuple[float, float]], number: int) -> tuple[list[float | None], list[float | None]]:
    """One line with a gap between two turns."""
    x: list[float | None] = []
    for entered, left in lane:
        x += [entered, left, None]
    return x, [None if position is None else number for position in x]


DRAW: Mapping[type, Callable[[Any], go.Figure]] = {
    Bars: _bars, Lines: _lines, Shares: _shares, Timeline: _timeline,
}  # fmt: skip
