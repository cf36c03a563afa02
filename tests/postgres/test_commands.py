"""`storewriter postgres init` and what else the command line does with documents in a database."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from threading import Barrier

import psycopg

from helpers.lines import Worker
from helpers.postgres_server import Server
from storewriter import PerStoreWriterQueue
from storewriter.postgres import create


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "storewriter", *arguments], capture_output=True, text=True, check=False
    )


def test_the_tables_are_made_once_and_can_be_made_again(server: Server, name: str) -> None:
    url = server.dsn(table=f"app_{name[:8]}.state")
    place = f"postgresql:///postgres?host={server.folder}&port=5432&table=app_{name[:8]}.state"
    made = run("postgres", "init", url)
    assert (made.returncode, made.stderr) == (
        0,
        f"storewriter: {place}: the table app_{name[:8]}.state was made\n",
    )
    again = run("postgres", "init", "--notify", "--role", "postgres", url)
    assert (again.returncode, "is there, and up to date" in again.stderr) == (0, True)


def test_several_programs_may_make_the_tables_at_the_same_time(server: Server, name: str) -> None:
    url = server.dsn(table=f"app_{name[:8]}$$.state")
    together = Barrier(6)

    def make() -> bool:
        together.wait()
        return create(url, notify=True)

    workers = [Worker(make) for _ in range(6)]
    assert sorted(worker.result() for worker in workers) == [False] * 5 + [True]


def test_a_table_of_a_newer_version_is_refused(server: Server, name: str) -> None:
    url = server.dsn(table=f"app_{name[:8]}.state")
    assert run("postgres", "init", url).returncode == 0
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(f"UPDATE app_{name[:8]}.state_version SET version = 99".encode())
    done = run("postgres", "init", url)
    assert (done.returncode, "is of version 99, and this program knows 1 only" in done.stderr) == (3, True)


def test_the_sql_can_be_printed_and_run_by_others(server: Server, name: str) -> None:
    url = server.dsn(table=f"app_{name[:8]}.state")
    printed = run("postgres", "init", "--print", "--notify", url)
    assert printed.returncode == 0
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(printed.stdout.encode())
    again = run("postgres", "init", url)
    assert "is there, and up to date" in again.stderr


def test_a_role_gets_what_writers_need_and_nothing_more(server: Server, name: str) -> None:
    from storewriter.postgres import Postgres

    role = f"writer_{name[:8]}"
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN".encode())
    url = server.dsn(name, table=f"app_{name[:8]}.state")
    assert run("postgres", "init", "--role", role, url).returncode == 0
    document = Postgres(url.replace("postgres@", f"{role}@"), backups=1)
    for number in range(3):
        hold = document.lock.wait(None, lambda: True)
        assert hold is not None
        document.commit(hold, b"%d" % number, document.load(hold), document.new_commit())
        hold.release()
    assert document.read() == b"2"
    assert document.status().as_json()["version"] == 3
    with psycopg.connect(server.dsn().replace("postgres@", f"{role}@"), autocommit=True) as connection:
        try:
            connection.execute(f"DELETE FROM app_{name[:8]}.state".encode())
        except psycopg.errors.InsufficientPrivilege:
            pass
        else:
            raise AssertionError("a writer may not delete documents")


def test_a_wrong_address_is_wrong_usage_or_an_error_in_one_line() -> None:
    done = run("postgres", "init", "postgresql://localhost:1/nowhere")
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "the tables could not be made" in done.stderr
    done = run("postgres", "init", "postgresql://localhost/nowhere?table=a.b.c")
    assert (done.returncode, "table must be schema.table" in done.stderr) == (2, True)


def test_the_commands_for_documents_work_on_urls(url: str, tmp_path: Path) -> None:
    assert run("update", url, "--set", "a.b=1").returncode == 0
    assert json.loads(run("get", url).stdout) == {"a": {"b": 1}}
    assert run("pipe", url, "--", "sed", "s/1/2/").returncode == 0
    assert run("get", url, "/a/b").stdout == "2\n"
    assert run("run", url, "--", "echo", "in the turn").stdout == "in the turn\n"
    assert "is healthy" in run("recover", "--yes", url).stdout
    doctor = run("doctor", url)
    assert (doctor.returncode, "and has the table" in doctor.stdout) == (0, True)
    missing = run("doctor", url.partition("?")[0] + "?table=no.where&" + url.partition("?")[2])
    assert (missing.returncode, "storewriter postgres init" in missing.stdout) == (1, True)
    status = json.loads(run("status", "--json", url).stdout)
    assert (status["version"], status["lock"]["held"]) == (2, False)
    file = tmp_path / "state.json"
    assert run("copy", "--tombstone", url, str(file)).returncode == 0
    assert json.loads(file.read_text()) == {"a": {"b": 2}}
    moved = run("get", url)
    assert (moved.returncode, f"this store has moved to {file}" in moved.stderr) == (3, True)
    assert run("copy", "--replace", str(file), url).returncode == 0
    assert json.loads(run("get", url).stdout) == {"a": {"b": 2}}


def test_a_command_waits_for_the_turn_and_names_the_holder(url: str) -> None:
    with PerStoreWriterQueue().turn(url, label="maintenance"):
        done = run("run", "--timeout", "200ms", url, "--", "echo", "never")
    assert (done.returncode, done.stdout) == (75, "")
    assert "maintenance" in done.stderr


def test_commitments_are_kept_under_a_url(url: str) -> None:
    command = [sys.executable, "-m", "commitments"]
    done = subprocess.run([*command, "list", "--json", "--store", url], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["commitments"] == []
