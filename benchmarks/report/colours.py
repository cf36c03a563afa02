"""One colour a contender, the same in every chart; ours stand out, limits are drawn thin and dashed.

Red is for those that lost updates, and for no other.
"""

from collections.abc import Mapping

from benchmarks.contenders import CONTENDERS
from benchmarks.report.wording import kind

LOSES = "#e03131"
BY_KIND: Mapping[str, str] = {"ours": "#0b7285", "limit": "#868e96", "peer": "#adb5bd", "loses": LOSES}

OURS = ("#0b7285", "#3bc9db", "#1098ad", "#66d9e8", "#0c8599", "#15aabf", "#22b8cf", "#99e9f2")
LIMITS = ("#343a40", "#868e96", "#5c5f66", "#adb5bd", "#212529", "#495870", "#6b7280", "#9aa5b1")
PEERS = (
    *("#1971c2", "#e67700", "#2f9e44", "#9c36b5", "#364fc7", "#f08c00", "#a5671f", "#6741d9", "#74b816", "#b197fc"),
    *("#d9a400", "#8ce99a", "#da77f2", "#74c0fc", "#c69c6d", "#a9a900", "#5c7cfa", "#087f5b", "#862e9c", "#4dabf7"),
    *("#7f6a00", "#63e6be", "#e8b04b", "#8d6e97", "#3f7d20", "#c0a16b", "#4263eb", "#cc5de8", "#5f7a00", "#1864ab"),
)
CYCLES: Mapping[str, tuple[str, ...]] = {"ours": OURS, "limit": LIMITS, "peer": PEERS}


def _assigned() -> dict[str, str]:
    taken = dict.fromkeys(CYCLES, 0)
    colours: dict[str, str] = {}
    for name in CONTENDERS:
        cycle = CYCLES[kind(name)]
        colours[name] = cycle[taken[kind(name)] % len(cycle)]
        taken[kind(name)] += 1
    return colours


COLOURS: Mapping[str, str] = _assigned()


def colour(contender: str, kind: str = "") -> str:
    """The colour of a contender; red if it lost updates, grey for one that the tables no longer have."""
    return LOSES if kind == "loses" else COLOURS.get(contender, "#495057")


def on_dark(colour: str) -> str:
    """The same colour, bright enough to be seen on a dark page."""
    parts = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
    brightness = (0.299 * parts[0] + 0.587 * parts[1] + 0.114 * parts[2]) / 255
    share = max(0.0, 0.62 - brightness) / (1 - brightness)  # of white
    return "#" + "".join(f"{round(part + (255 - part) * share):02x}" for part in parts)
