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
        "break": "storewriter.cli.breaking:break_",
        "copy": "storewriter.cli.copying:copy",
        "demo": "storewriter.cli.demo:demo",
        "doctor": "storewriter.cli.doctor.command:doctor",
        "edit": "storewriter.cli.edit:edit",
        "get": "storewriter.cli.get:get",
        "pipe": "storewriter.cli.pipe:pipe",
        "postgres": "storewriter.cli.postgres:postgres",
        "race": "storewriter.cli.race:command",
        "recover": "storewriter.cli.recover:recover",
        "run": "storewriter.cli.run:run",
        "scan": "storewriter.cli.scan:command",
        "status": "storewriter.cli.status:status",
        "update": "storewriter.cli.update:update",
        "watch": "storewriter.cli.watch:watch",
    },
)
