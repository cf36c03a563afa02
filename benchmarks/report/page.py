"""A run as one interactive page: plotly is part of it, so it opens without a network."""

from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

from plotly.offline import get_plotlyjs

from benchmarks.contenders import CONTENDERS
from benchmarks.report.charts import charts, cost_against_size
from benchmarks.report.colours import BY_KIND
from benchmarks.report.plots import drawn
from benchmarks.report.tables import Table, ahead, table
from benchmarks.report.targets import lost_updates, verdicts
from benchmarks.report.wording import count, kind, ratio, rounds
from benchmarks.scenarios import FAMILIES, SCENARIOS
from storewriter.cli.bench.results import Run

QUICK = "; too short to judge fairness among many processes"
NO_NETWORK = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
"""What the browser may load: nothing from anywhere. The plot library could fetch maps, which are not used."""
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
        "rounds": f"{rounds(settings)}{QUICK if settings['quick'] else ''}",
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
        parts.append(drawn(limit))
    parts += [_scenario(run, key) for key in scenarios]
    return "\n".join([*parts, "</section>"])


def _scenario(run: Run, scenario: str) -> str:
    plots = (drawn(chart) for chart in charts(run, scenario))
    return "\n".join((f"<h3>{escape(scenario)}</h3>", *plots, _table(table(run, scenario)), _ahead(run, scenario)))


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
