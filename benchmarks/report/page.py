"""A run as one interactive page: plotly is part of it, so it opens without a network."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from math import log10
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs
from plotly.subplots import make_subplots

from benchmarks.contenders import CONTENDERS
from benchmarks.report.charts import Bars, Chart, Lines, Shares, Timeline, charts, cost_against_size
from benchmarks.report.colours import BY_KIND, colour
from benchmarks.report.tables import Table, ahead, table
from benchmarks.report.targets import lost_updates, verdicts
from benchmarks.report.wording import OURS, count, kind, ratio
from storewriter.cli.bench.results import Run
from storewriter.cli.bench.scenarios import FAMILIES, SCENARIOS

QUICK = "; a quick run, too short to judge fairness among many processes"
NO_NETWORK = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
"""What the browser is told to load: nothing from anywhere. The plot library could fetch maps, which nobody draws."""
BUTTONS = {"displaylogo": False, "modeBarButtons": [["toImage", "zoom2d", "pan2d", "resetScale2d"]]}
"""Those that need no network."""
STYLE = (Path(__file__).parent / "page.css").read_text()


def write_page(run: Run, path: Path) -> None:
    """Write the page."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(run))


def page(run: Run) -> str:
    """Return the page as HTML."""
    families = list(dict.fromkeys(SCENARIOS[key].family for key in run.scenarios()))
    parts = (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>storewriter: benchmarks</title>",
        "<meta name='viewport' content='width=device-width'>",
        f"<meta http-equiv='Content-Security-Policy' content=\"{NO_NETWORK}\">",
        f"<style>{STYLE}</style><script>{get_plotlyjs()}</script></head><body>",
        "<header><h1>storewriter beside what people use today</h1>",
        _nav(families),
        "</header><main>",
        _introduction(run),
        _promises(run),
        *(_family(run, family) for family in families),
        _who_is_who(run),
        "</main></body></html>\n",
    )
    return "\n".join(parts)


def _nav(families: list[str]) -> str:
    links = "".join(f"<a href='#{family}' title='{escape(FAMILIES[family])}'>{family}</a>" for family in families)
    return f"<nav><a href='#promises'>promises</a>{links}<a href='#who'>who is who</a></nav>"


def _introduction(run: Run) -> str:
    machine, settings = run.machine, run.settings
    facts = {
        "processor": f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB",
        "system": machine["system"],
        "file system": machine["file_system"],
        "versions": ", ".join(_versions(machine)),
        "rounds": f"{settings['rounds']}, contenders interleaved{QUICK if settings['quick'] else ''}",
    }
    rows = "".join(f"<tr><th>{name}</th><td>{escape(str(fact))}</td></tr>" for name, fact in facts.items())
    unfinished = "" if settings["finished"] else "<p class='bad'>This run was interrupted.</p>"
    lost = lost_updates(run)
    return (
        "<section><p>Every contender does the same work: one more attempt on one record of a shared document. What was "
        "acknowledged is counted again in the stored document at the end, so a lost update is a result. Durable means "
        "that file and folder are flushed before the acknowledgement. Absolute figures move with the machine's mood: "
        "compare ratios.</p>"
        f"<p>Updates lost by storewriter, all measurements together: "
        f"<b class='{'bad' if lost else 'good'}'>{count(lost)}</b>.</p>{unfinished}"
        f"<table class='facts'>{rows}</table>{_key()}</section>"
    )


def _key() -> str:
    """Say what the colours of bars and dots mean."""
    words = {
        "ours": "storewriter",
        "peer": "what people use instead",
        "limit": "a bare sketch that gives up guarantees: what the machine can do at all",
        "loses": "lost acknowledged updates: its speed means nothing",
    }
    entries = "".join(
        f"<span><i style='background:{BY_KIND[kind]}'></i>{meaning}</span>" for kind, meaning in words.items()
    )
    return f"<p class='key'>{entries}</p>"


def _versions(machine: Mapping[str, Any]) -> Iterator[str]:
    yield machine["python"]
    yield f"SQLite {machine['sqlite']}"
    if machine.get("node"):
        yield f"Node {machine['node']}"
    yield from (f"{name} {version}" for name, version in machine["packages"].items())


def _promises(run: Run) -> str:
    classes = {True: "good", False: "bad", None: "quiet"}
    rows = "".join(
        f"<tr><td>{escape(verdict.target.promise)}</td><td>{verdict.bound}</td><td>{verdict.measured}</td>"
        f"<td class='{classes[verdict.kept]}'>{escape(verdict.word)}</td></tr>"
        for verdict in verdicts(run)
    )
    header = "<tr><th>promise</th><th>bound</th><th>measured</th><th></th></tr>"
    title = "<h2>What storewriter promises</h2>"
    note = (
        "<p>'As fast as' counts updates per second, 'as long as' the time of one update; both are ratios within this "
        "run. A promise about fairness is judged only where each caller had a hundred turns and more.</p>"
    )
    return f"<section id='promises'>{title}{note}<table class='words'>{header}{rows}</table></section>"


def _family(run: Run, family: str) -> str:
    scenarios = [key for key in run.scenarios() if SCENARIOS[key].family == family]
    parts = [f"<section id='{family}'><h2>{family}: {escape(FAMILIES[family])}</h2>"]
    limit = cost_against_size(run) if family == "S9" else None
    if limit is not None:
        parts.append(_drawn(limit))
    parts += [_scenario(run, key) for key in scenarios]
    return "\n".join([*parts, "</section>"])


def _scenario(run: Run, scenario: str) -> str:
    drawn = (_drawn(chart) for chart in charts(run, scenario))
    return "\n".join((f"<h3>{escape(scenario)}</h3>", *drawn, _table(table(run, scenario)), _ahead(run, scenario)))


def _table(shown: Table) -> str:
    header = "".join(f"<th>{escape(name)}</th>" for name in shown.header)
    rows = "".join(
        f"<tr class='{kind(contender)}'>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>"
        for contender, row in zip(shown.contenders, shown.rows, strict=True)
    )
    remarks = "".join(f"<li>{escape(remark)}</li>" for remark in shown.remarks)
    listed = f"<ul class='remarks'>{remarks}</ul>" if remarks else ""
    return f"<div class='wide'><table class='figures'><tr>{header}</tr>{rows}</table></div>{listed}"


def _ahead(run: Run, scenario: str) -> str:
    found = [(name, factor) for name, factor in ahead(run, scenario) if kind(name) != "ours"]
    if not found:
        return ""
    items = "".join(
        f"<li>{escape(name)}, {ratio(factor)}: {escape(_about(name))}{_lost(run, scenario, name)}</li>"
        for name, factor in found
    )
    return f"<p>Ahead of storewriter-flock here, and what they are:</p><ul>{items}</ul>"


def _about(name: str) -> str:
    return CONTENDERS[name].about if name in CONTENDERS else "no longer measured"


def _lost(run: Run, scenario: str, name: str) -> str:
    lost = sum(run.values(scenario, name, "lost"))
    return f" <b class='bad'>({count(lost)} updates lost)</b>" if lost else ""


def _who_is_who(run: Run) -> str:
    rows = "".join(
        f"<tr><td>{escape(name)}</td><td>{escape(_about(name))}</td></tr>" for name in run.settings["contenders"]
    )
    skipped = "".join(f"<li>{escape(each.contender)}: {escape(each.reason)}</li>" for each in run.skipped)
    absent = f"<p>Not measured here:</p><ul>{skipped}</ul>" if skipped else ""
    return f"<section id='who'><h2>Who is who</h2><table class='words'>{rows}</table>{absent}</section>"


# Charts


def _drawn(chart: Chart) -> str:
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
                "color": colour(line.name),
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
