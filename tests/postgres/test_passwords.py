"""The password in a store's URL is shown nowhere: in no message, no name, no record of the process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from helpers.postgres_server import Server
from storewriter import LockTimeout, PerStoreWriterQueue, ServerUnavailable, Store
from storewriter.__main__ import run
from storewriter._platform.secrets import without_passwords
from storewriter.postgres import Postgres

SECRET = "s3cr3t"


def with_password(url: str) -> str:
    return url.replace("://postgres@", f"://postgres:{SECRET}@")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"postgresql://me:{SECRET}@db/app#state", "postgresql://***@db/app#state"),
        (f"postgresql://me:{SECRET}@{SECRET}@db/app", "postgresql://***@db/app"),
        (f"postgresql://me:{SECRET}/{SECRET}?{SECRET}@db/app", "postgresql://***@db/app"),
        (f"postgresql://db/app?password={SECRET}&port=1#x", "postgresql://db/app?password=***&port=1#x"),
        (f"get postgresql://me:{SECRET}@db/app#x 'host=h password='{SECRET} x'", "get postgresql://***@db/app#x"),
        (f"sslpassword={SECRET}", "sslpassword=***"),
        ("postgresql:///app?host=/run#state", "postgresql:///app?host=/run#state"),
        ("state.json a@b", "state.json a@b"),
    ],
)
def test_text_without_passwords(text: str, shown: str) -> None:
    assert without_passwords(text).startswith(shown)
    assert SECRET not in without_passwords(text)


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:{SECRET}%zz@db/app#x",
        f"postgresql://me:{SECRET}@[::1/app#x",
        f"postgresql://me:{SECRET}@{SECRET}@db/app#x",
        f"postgresql://me:{SECRET}/app#x",
        f"postgresql://me:{SECRET}?{SECRET}@db/app#x",
        f"postgresql://me:{SECRET}#{SECRET}@db/app",
        f"postgresql://me:{SECRET}@db/app?sslmood=1#x",
        f"postgresql://me:{SECRET}@db/app?table=a.b.c#x",
        f"postgresql://me:{SECRET}@db/app",
    ],
)
def test_an_address_that_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"\S") as refused:
        Store(url)
    assert SECRET not in str(refused.value)
    assert refused.value.__suppress_context__ or refused.value.__context__ is None


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(ValueError, match="invalid URI query parameter: 'sslmood'"):
        Store("postgresql://db/app?sslmood=1#x")


def test_names_and_errors_of_a_store(url: str) -> None:
    store = Store(with_password(url))
    shown = [store.path, repr(store), repr(Postgres(with_password(url)))]
    with PerStoreWriterQueue().turn(with_password(url)) as turn:
        shown += [turn.path, repr(turn)]
    nowhere = Store(f"postgresql://me:{SECRET}@localhost:1/app#x")
    with pytest.raises(ServerUnavailable) as away:
        nowhere.read()
    shown += [str(away.value), repr(away.value), str(vars(away.value))]
    assert SECRET not in " ".join(shown)


def test_no_record_of_a_process_holds_the_password_of_its_command_line(
    url: str, server: Server, tmp_path: Path
) -> None:
    """The author of a version, the name of a session, and the owner of a turn are made of the command line."""
    given = with_password(url)
    script = (
        "import json, sys; from storewriter import Store, this_process\n"
        "from storewriter.postgres._connections import application_name\n"
        "Store(sys.argv[1]).update(lambda state: state.update(a=1))\n"
        "Store(sys.argv[2]).update(lambda state: state.update(a=1))\n"
        "print(this_process(), application_name())\n"
    )
    file = tmp_path / "state.json"
    done = subprocess.run(
        [sys.executable, "-c", script, given, str(file)], capture_output=True, text=True, check=True, env=os.environ
    )
    assert "import json" in done.stdout
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        rows = connection.execute("SELECT updated_by FROM storewriter.documents").fetchall()
    records = [path.read_text() for path in tmp_path.iterdir()]
    assert SECRET not in " ".join([done.stdout, str(rows), *records])


def test_the_commands(url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    given = with_password(url)
    for arguments in (
        ("get", given),
        ("update", given, "--set", "a=1", "--json"),
        ("get", given, "/a", given),  # one argument too many, which click quotes
        ("status", given),
        ("status", "--json", given),
        ("doctor", given),
        ("recover", "--yes", given),
        ("copy", given, str(tmp_path / "copy.json")),
        ("copy", given, given),
        ("postgres", "init", given),
        ("postgres", "init", f"postgresql://me:{SECRET}@localhost:1/app"),
        ("get", given.partition("#")[0]),
    ):
        run(arguments)
        assert SECRET not in "".join(capfd.readouterr()), arguments
    assert json.loads((tmp_path / "copy.json").read_text()) == {"a": 1}


def test_the_error_of_a_waiter_names_the_holder_without_it(url: str) -> None:
    script = (
        "import sys; from storewriter import PerStoreWriterQueue\n"
        "with PerStoreWriterQueue().turn(sys.argv[1]): print('held', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, with_password(url)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LockTimeout) as timeout:
            Store(with_password(url), timeout=0).update(lambda state: None)
        holder.communicate("\n")
    # The server keeps 63 bytes of a name: with a long host name none of the command is left.
    assert f"storewriter {holder.pid}@" in str(timeout.value)
    assert SECRET not in f"{timeout.value} {vars(timeout.value)}"
