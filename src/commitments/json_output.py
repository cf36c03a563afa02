r"""What the command line prints with `--json`: one document, two spaces a level.

Records are printed as they stand in the file. U+007F to U+009F, which terminals obey and JSON allows, are written
as escapes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from commitments.json_text import encode_object
from commitments.problems import Problem
from commitments.queries import Listing

_CONTROLS = re.compile("[\x7f-\x9f]")


def object_json(members: Mapping[str, object]) -> str:
    """Return the members as a JSON object."""
    return _harmless(encode_object(members, ""))


def listing_json(listing: Listing, *, status: str | None, agent_id: str | None, store: str) -> str:
    """Return a listing as a JSON object; `problems` is there only if there are any."""
    head = {"count": len(listing.commitments), "status": status, "agentId": agent_id, "store": store}
    members = [encode_object(head, "").removeprefix("{\n").removesuffix("\n}")]
    records = [record.raw.decode() for record in listing.commitments]
    members.append(_array("commitments", records))
    if listing.problems:
        problems = [encode_object(_problem(problem), "    ") for problem in listing.problems]
        members.append(_array("problems", problems))
    return _harmless("{\n" + ",\n".join(members) + "\n}")


def _array(name: str, items: list[str]) -> str:
    if not items:
        return f'  "{name}": []'
    return f'  "{name}": [' + ",".join(f"\n    {item}" for item in items) + "\n  ]"


def _problem(problem: Problem) -> dict[str, object]:
    return {
        "index": problem.index,
        "id": problem.id,
        "field": problem.field,
        "reason": problem.reason,
        "leftOut": problem.left_out,
    }


def _harmless(text: str) -> str:
    # Outside of strings JSON has none of these, so every one found may become an escape.
    return _CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
