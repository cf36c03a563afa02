"""One colour a contender, the same in every chart; ours stand out, limits are drawn thin and dashed."""

from collections.abc import Mapping

from benchmarks.contenders import CONTENDERS
from benchmarks.report.wording import kind

BY_KIND: Mapping[str, str] = {"ours": "#0b7285", "limit": "#868e96", "peer": "#adb5bd", "loses": "#e03131"}

OURS = ("#0b7285", "#3bc9db", "#1098ad", "#66d9e8", "#0c8599", "#15aabf", "#22b8cf", "#99e9f2")
LIMITS = ("#343a40", "#868e96", "#5c5f66", "#adb5bd", "#212529", "#495870", "#6b7280", "#9aa5b1")
PEERS = (
    *("#e03131", "#e67700", "#2f9e44", "#9c36b5", "#1971c2", "#f08c00", "#a5671f", "#6741d9", "#74b816", "#c2255c"),
    *("#ff8787", "#d9a400", "#8ce99a", "#da77f2", "#74c0fc", "#faa2c1", "#c69c6d", "#b197fc", "#a9a900", "#5c7cfa"),
    *("#087f5b", "#862e9c", "#d6336c", "#364fc7"),
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


def colour(contender: str) -> str:
    """The colour of a contender; grey for one that the tables no longer have."""
    return COLOURS.get(contender, "#495057")
