"""The charts as SVG, for pages that cannot run scripts: each on white, and once more for dark pages."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from benchmarks.report.charts import Bars, Chart, Lines, Shares, Timeline
from benchmarks.report.colours import BY_KIND, colour, on_dark

mpl.use("svg")

STYLE = {
    "svg.hashsalt": "storewriter",  # the same run gives the same bytes
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
}
LIGHT, DARK = "#495057", "#c9d1d9"
"""Lines and texts on a white and on a dark page."""
NO_BACKGROUND = {"figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none"}
ON_DARK = {
    **NO_BACKGROUND,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "axes.titlecolor"), DARK),
    **dict.fromkeys(("xtick.color", "ytick.color", "xtick.labelcolor", "ytick.labelcolor"), DARK),
}
STROKES = {"limit": "--", "loses": ":"}
WIDTH = 8.0
"""Inches."""

Paint = Callable[[str], str]
"""What becomes of a colour: nothing on white, something brighter on a dark page."""


def write_pictures(chart: Chart, path: Path) -> Iterator[Path]:
    """Draw one chart as SVG, on white at `path` and for dark pages beside it; yield both."""
    path.parent.mkdir(parents=True, exist_ok=True)
    yield _write(chart, path, STYLE, lambda colour: colour)
    yield _write(chart, dark_one(path), {**STYLE, **ON_DARK}, on_dark)


def dark_one(path: Path) -> Path:
    """Where the picture for dark pages is."""
    return path.with_name(f"{path.stem}-dark{path.suffix}")


def _write(chart: Chart, path: Path, style: Mapping[str, Any], paint: Paint) -> Path:
    with mpl.rc_context(dict(style)):
        figure = DRAW[type(chart)](chart, paint)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
    return path


def _figure(chart: Chart, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH, height), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(chart.title)
    return figure, axes


def _bars(chart: Bars, paint: Paint) -> Figure:
    figure, axes = _figure(chart, 0.9 + 0.24 * len(chart.bars))
    places = range(len(chart.bars), 0, -1)  # the best one on top
    values = [bar.value for bar in chart.bars]
    spread = [
        [bar.value - bar.low for bar in chart.bars],
        [bar.high - bar.value for bar in chart.bars],
    ]
    axes.barh(
        places, values, xerr=spread, height=0.7, color=[paint(BY_KIND[bar.kind]) for bar in chart.bars],
        error_kw={"elinewidth": 0.8, "ecolor": paint(LIGHT)},
    )  # fmt: skip
    axes.set_yticks(places, [bar.name for bar in chart.bars])
    axes.set_xlabel(chart.axis)
    _scale(axes.xaxis, chart.ticks)
    for place, bar in zip(places, chart.bars, strict=True):
        axes.annotate(bar.label, (bar.high, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=8)
    if chart.ticks:
        axes.set_xlim(chart.ticks[0][0], max(bar.high for bar in chart.bars) * 4)  # room for the label
    else:
        axes.margins(x=0.15)
    return figure


def _scale(axis: Axis, ticks: Sequence[tuple[float, str]]) -> None:
    """Make an axis logarithmic over these decades; leave it linear if there are none."""
    if not ticks:
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        return
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    values, names = zip(*ticks, strict=True)
    axis.set_ticks(values, names)
    axis.set_minor_locator(NullLocator())


def _lines(chart: Lines, paint: Paint) -> Figure:
    figure, axes = _figure(chart, 4.2)
    for line in chart.lines:
        axes.plot(
            line.x, line.y, label=f"{line.name}: lost updates" if line.kind == "loses" else line.name,
            color=paint(colour(line.name, line.kind)), lw=2.5 if line.kind == "ours" else 1.1,
            ls=STROKES.get(line.kind, "-"), marker="o" if chart.log_x else None, ms=3,
        )  # fmt: skip
    _scale(axes.yaxis, chart.decades)
    if chart.log_x:
        axes.set_xscale("log")
    positions, names = zip(*chart.ticks, strict=True)
    axes.set_xticks(positions, names)
    axes.minorticks_off()
    axes.set_xlabel(chart.x_axis)
    axes.set_ylabel(chart.y_axis)
    axes.grid(axis="y", color=paint(LIGHT), alpha=0.15)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8)
    return figure


def _shares(chart: Shares, paint: Paint) -> Figure:
    figure, axes = _figure(chart, 0.9 + 0.24 * len(chart.groups))
    places = range(len(chart.groups), 0, -1)
    for place, group in zip(places, chart.groups, strict=True):
        axes.plot(
            group.shares, [place] * len(group.shares), "o", color=paint(BY_KIND[group.kind]), alpha=0.55, ms=5, mew=0
        )
    axes.axvline(1, color=paint("#2f9e44"), ls=":", lw=1)
    axes.set_yticks(places, [group.name for group in chart.groups])
    axes.set_xlim(left=-0.05)
    axes.set_xlabel(chart.axis)
    return figure


def _timeline(chart: Timeline, paint: Paint) -> Figure:
    figure = Figure(figsize=(WIDTH, 0.8 + 1.9 * len(chart.panels)), layout="constrained")
    rows = figure.subplots(len(chart.panels), sharex=True, squeeze=False)[:, 0]
    for axes, panel in zip(rows, chart.panels, strict=True):
        for number, lane in enumerate(panel.lanes, start=1):
            axes.broken_barh(
                [(entered, left - entered) for entered, left in lane],
                (number - 0.4, 0.8),
                color=paint(colour(panel.name)),
            )
        axes.set_title(f"{panel.name}: {panel.note}")
        axes.set_yticks(range(1, len(panel.lanes) + 1))
        axes.set_ylabel("process")
    rows[-1].set_xlabel(chart.axis)
    figure.suptitle(chart.title, x=0.01, ha="left", fontsize=10)
    return figure


DRAW: Mapping[type, Callable[[Any, Paint], Figure]] = {
    Bars: _bars, Lines: _lines, Shares: _shares, Timeline: _timeline,
}  # fmt: skip
