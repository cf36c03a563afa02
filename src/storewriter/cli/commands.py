"""The `storewriter` command: a group of commands, each imported when it is asked for."""

from __future__ import annotations

from storewriter.cli.base.options import group

__all__ = ["storewriter"]

storewriter = group(
    "storewriter",
    "Safe concurrent updates of small shared files: no lost updates, even if a process is killed.",
    negative="see the command's help",
    lazy={
        "bench": "storewriter.cli.bench.command:bench",
        "copy": "storewriter.cli.copying:copy",
        "demo": "storewriter.cli.demo:demo",
        "postgres": "storewriter.cli.postgres:postgres",
        "race": "storewriter.cli.race:command",
        "status": "storewriter.cli.status:status",
    },
)
