"""The store that the writers change: eight commitments of two agents, two of which matter here."""

from __future__ import annotations

import json
import os
from importlib import resources
from typing import Any

import attrs

_SHIPPED = "commitments-valid.json"


@attrs.frozen
class Subject:
    """One commitments store in a folder of its own."""

    path: str
    """The store."""
    first: str
    """Id of the commitment that is called A: pending, never attempted."""
    second: str
    """Id of the commitment that is called B: the same."""
    original: bytes = attrs.field(repr=False)
    """The document that every trial starts with."""

    def restore(self) -> None:
        """Put the original document in place; only while no writer runs."""
        spare = f"{self.path}.original"
        with open(os.open(spare, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(self.original)
        os.replace(spare, self.path)

    def record(self, commitment_id: str) -> dict[str, Any]:
        """One record as it stands in the file now, read with `json` alone."""
        with open(self.path, "rb") as file:
            records: list[dict[str, Any]] = json.load(file)["commitments"]
        return next(record for record in records if record["id"] == commitment_id)


def in_folder(folder: str) -> Subject:
    """A subject under `folder`, laid out as in the state folder of a real gateway."""
    home = os.path.join(folder, "commitments")
    os.makedirs(home, mode=0o700, exist_ok=True)
    original = resources.files("storewriter.cli.demo").joinpath(_SHIPPED).read_bytes()
    records = json.loads(original)["commitments"]
    first, second, *_ = [record["id"] for record in records if record["status"] == "pending"]
    return Subject(os.path.join(home, "commitments.json"), first, second, original)
