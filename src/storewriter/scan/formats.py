"""Findings as text for people, as annotations for GitHub's workflows, and as SARIF for code scanning."""

from __future__ import annotations

import json
import os
from importlib.metadata import version
from pathlib import PurePath
from typing import Any, Final
from urllib.parse import quote

from storewriter.scan.findings import Finding
from storewriter.scan.sources import Scan

__all__ = ["RULE", "as_github", "as_sarif", "as_text"]

RULE: Final = "lost-update"
"""The name of the only rule."""

_TITLE: Final = "Updates of this file can get lost"


def as_text(seen: Scan) -> str:
    """Return findings as lines that editors and terminals can follow: `file:line: ...`."""
    lines = [
        f"{each.path}:{each.line}: in {each.function}: {each.why}\n    with storewriter: {each.form}"
        for each in seen.findings
    ]
    return "\n".join([*lines, summary(seen)])


def summary(seen: Scan) -> str:
    """Return how much was found, in one line."""
    found = len(seen.findings)
    return f"{found} finding{'' if found == 1 else 's'} in {seen.files} file{'' if seen.files == 1 else 's'}"


def as_github(seen: Scan) -> str:
    """Return findings as workflow commands, which GitHub shows at the lines of a pull request."""
    return "\n".join(
        f"::warning file={_escaped(each.path, ',:')},line={each.line},title={_escaped(_TITLE, ',:')}"
        f"::{_escaped(_message(each))}"
        for each in seen.findings
    )


def _escaped(text: str, more: str = "") -> str:
    for sign in "%\r\n" + more:
        text = text.replace(sign, f"%{ord(sign):02X}")
    return text


def _message(finding: Finding) -> str:
    return f"{finding.why}. With storewriter: {finding.form}"


def as_sarif(seen: Scan) -> str:
    """Return findings as a SARIF 2.1.0 document."""
    rule = {
        "id": RULE,
        "name": "LostUpdate",
        "shortDescription": {"text": "A file is loaded, changed and saved without a lock around it."},
        "fullDescription": {"text": "Two callers can load the same state; the later save erases the earlier one."},
        "defaultConfiguration": {"level": "warning"},
    }
    driver = {"name": "storewriter scan", "version": version("storewriter"), "rules": [rule]}
    run = {"tool": {"driver": driver}, "results": [_result(each) for each in seen.findings]}
    document = {
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [run],
    }
    return json.dumps(document, indent=2)


def _result(finding: Finding) -> dict[str, Any]:
    return {
        "ruleId": RULE,
        "ruleIndex": 0,
        "level": "warning",
        "message": {"text": _message(finding)},
        "locations": [_location(finding.path, finding.line)],
    }


def _location(path: str, line: int) -> dict[str, Any]:
    uri = quote(os.fsencode(PurePath(path).as_posix()))
    return {"physicalLocation": {"artifactLocation": {"uri": uri}, "region": {"startLine": max(1, line)}}}
