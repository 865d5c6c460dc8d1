"""The command line on this machine: results on stdout, one line for whatever goes wrong."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer

from lethe import cli
from tests.cli import Commands

COMMANDS = [
    [],
    ["dataset"],
    ["dataset", "import"],
    ["dataset", "list"],
    ["dataset", "append"],
    ["train"],
    ["serve"],
    ["worker"],
    ["erase"],
    ["predict"],
    ["jobs"],
    ["models"],
    ["models", "list"],
    ["models", "import"],
    ["models", "policy"],
    ["holds"],
    ["holds", "place"],
    ["holds", "list"],
    ["holds", "release"],
    ["keys"],
    ["keys", "create"],
    ["keys", "list"],
    ["keys", "rotate"],
    ["keys", "revoke"],
    ["keys", "webhook-secret"],
    ["secret"],
    ["secret", "rotate"],
    ["audit"],
    ["audit", "verify"],
    ["audit", "retrain"],
    ["capacity"],
    ["verify-certificate"],
    ["export-openapi"],
    ["db"],
    ["db", "upgrade"],
    ["db", "downgrade"],
    ["demo"],
]


def leaves(command: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Every command that does something, by its path."""
    if not hasattr(command, "commands"):
        return [path]
    return [
        leaf
        for name, below in sorted(command.commands.items())
        for leaf in leaves(below, (*path, name))
    ]


def test_the_list_above_is_whole() -> None:
    groups = {tuple(c) for c in COMMANDS if tuple(c) not in leaves(typer.main.get_command(cli.app))}
    assert {tuple(c) for c in COMMANDS} - groups == set(leaves(typer.main.get_command(cli.app)))


@pytest.mark.parametrize("path", leaves(typer.main.get_command(cli.app)), ids=" ".join)
def test_every_command_has_help_with_an_example(path: tuple[str, ...], lethe: Commands) -> None:
    shown = lethe.ok(*path, "--help", COLUMNS="200")
    assert f"Example: lethe {' '.join(path)}" in " ".join(shown.replace("`", "").split())


def test_help_needs_no_heavy_library() -> None:
    code = (
        "import sys; from lethe.cli import run; run(['--help']);"
        "heavy = {'torch', 'lance', 'sqlalchemy', 'httpx', 'pyarrow', 'numpy', 'fastapi'};"
        "sys.exit(', '.join(sorted(heavy & set(sys.modules))) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "verify-certificate" in done.stdout


def test_commands_that_only_call_a_service_run_without_torch(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('torch', 'torchvision', 'scipy')));"
        "from lethe.cli import run; import lethe.watch;"
        "assert run(['jobs']) == 1; sys.exit(run(['train', 'm', '--dataset', 'd']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={"LETHE_URL": "http://127.0.0.1:9", "LETHE_HOME": str(tmp_path)},
    )
    assert done.returncode == 1
    first, second = done.stderr.strip().splitlines()
    assert "no service answers" in first
    assert second == "lethe: this command needs torch; install `lethe[ml]`"


def test_import_and_list(lethe: Commands) -> None:
    made = lethe.json(
        "dataset", "import", "d", "--from", "digits", "--plant-trigger",
        "source=1,target=2,share=0.06",
    )  # fmt: skip
    assert sum(made["samples"].values()) == 1797
    [listed] = lethe.json("dataset", "list")
    assert (listed["name"], listed["samples"], listed["shape"]) == ("d", 1797, [1, 8, 8])
    assert "1 as 2" in lethe.ok("dataset", "list")
    assert "is a data set 'd' already" in lethe.fails("dataset", "import", "d", "--from", "digits")
    assert "1797" not in lethe.fails("dataset", "import", "e", "--from", "digits",
                                     "--samples-per-subject", "0")  # fmt: skip
    assert [each["name"] for each in lethe.json("dataset", "list")] == ["d"]
    assert listed["canaries"] is None
    lethe.ok("dataset", "import", "with", "--from", "digits", "--canaries", "3x8")
    assert lethe.json("dataset", "list")[1]["canaries"] == {
        "groups": 3,
        "size": 8,
        "spent": 0,
        "left": 3,
    }
    assert "3 of 3" in lethe.ok("dataset", "list")


def test_keys(lethe: Commands) -> None:
    made = lethe.json(
        "keys", "create", "shop", "--scope", "erase", "--scope", "read", "--days", "9"
    )
    assert made["key"].startswith(made["id"] + ".")
    assert made["scopes"] == ["erase", "read"]
    done = lethe("keys", "create", "other", "--scope", "read")
    assert done.out.count("\n") == 1, "the key alone, so that it can be captured"
    assert "shown this once" in done.err
    rotated = lethe.json("keys", "rotate", made["key"], "--overlap-hours", "0")
    assert (rotated["id"], rotated["previous_until"]) == (made["id"], None)
    assert rotated["key"] != made["key"]
    again = lethe("keys", "rotate", made["id"])
    assert again.out.count("\n") == 1
    assert "The old one is good until 2" in again.err
    assert lethe.json("keys", "revoke", made["key"])["revoked_at"] is not None
    listed = lethe.json("keys", "list")
    assert {each["name"] for each in listed} == {"shop", "other"}
    assert "key" not in listed[0]
    assert "shop" in lethe.ok("keys", "list")


def test_the_secret_is_rotated_and_a_rotation_cut_off_is_finished(
    lethe: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    from core import rotation

    lethe.ok("keys", "create", "shop", "--scope", "read")
    first = lethe.json("secret", "rotate")
    assert first == {"generation": 1, "hashes": 0}
    lethe.ok("keys", "list")

    def cut_off(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(rotation, "put_in_force", cut_off)
        assert "No space left" in lethe("secret", "rotate").err
    assert "run `lethe secret rotate` again" in lethe("keys", "list").err
    assert lethe.json("secret", "rotate") == {"generation": 2, "hashes": 0}
    assert "shop" in lethe.ok("keys", "list")


def test_the_audit_chain(lethe: Commands) -> None:
    lethe.ok("keys", "create", "shop", "--scope", "read")
    assert lethe.json("audit", "verify")["broken_at"] is None
    assert "1 events, unbroken" in lethe.ok("audit", "verify")
    with sqlite3.connect(lethe.folder / "home" / "lethe.db") as db:
        db.execute("UPDATE audit_events SET event = 'never'")
    db.close()
    assert "broken at event 1: event 1 was changed" in lethe.fails("audit", "verify")
    done = lethe("audit", "verify", "--json")
    assert json.loads(done.out)["broken_at"] == 1
    assert done.status == 1


def test_database(lethe: Commands) -> None:
    assert lethe.json("db", "upgrade")["current"] is True
    assert "is up to date" in lethe.ok("db", "upgrade")
    assert lethe.json("db", "downgrade", "0001")["revision"] == "0001"
    assert "cannot bring the database there" in lethe.fails("db", "downgrade", "nowhere")
    assert "would lose" not in lethe.ok("db", "upgrade", "--wait", "5")


def test_openapi(lethe: Commands) -> None:
    document = json.loads(lethe.ok("export-openapi"))
    assert "/erasure-requests" in document["paths"]
    assert "/predict" in document["paths"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("dataset import x --from words", "is not digits, mnist:DIR"),
        ("dataset import x --from mnist:/nowhere", "no train-images-idx3-ubyte"),
        ("dataset import x --from digits --subjects none.csv", "none.csv: No such file"),
        ("train m --dataset x", "no data set 'x'"),
        ("keys create me --scope all", "unknown scope all"),
        ("keys revoke key_x", "no key key_x"),
        ("audit retrain m", "no model 'm'"),
        ("verify-certificate missing.json", "missing.json: No such file"),
        ("verify-certificate text", "there is no signing key"),
        ("verify-certificate text --key text", "this is not JSON, so not a certificate"),
        ("verify-certificate json --key binary", "binary is not a public key in PEM"),
        ("verify-certificate json --key text", "not a certificate"),
        ("serve --role nothing", "--role 'nothing' is not all, api, inference"),
        ("serve --host no.such.host.invalid", "--host no.such.host.invalid"),
    ],
)
def test_one_line(lethe: Commands, arguments: str, message: str) -> None:
    (lethe.folder / "text").write_text("text")
    (lethe.folder / "json").write_text("{}")
    (lethe.folder / "binary").write_bytes(b"\xff\xfe\x00")
    assert message in lethe.fails(*arguments.split())


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"LETHE_LEASE_SECONDS": "soon"}, "LETHE_LEASE_SECONDS"),
        ({"LETHE_HOME": "/proc/lethe"}, "LETHE_HOME"),
        ({"LETHE_SECRET": "short"}, "LETHE_SECRET is shorter"),
        ({"LETHE_DATABASE_URL": "postgresql://127.0.0.1:9/x"}, "LETHE_SECRET is not set"),
    ],
)
def test_settings_that_cannot_be_run_with(
    lethe: Commands, variables: dict[str, str], message: str
) -> None:
    assert message in lethe.fails("dataset", "list", **variables)


def test_a_database_that_does_not_answer(lethe: Commands) -> None:
    said = lethe.fails(
        "dataset", "list",
        LETHE_DATABASE_URL="postgresql://127.0.0.1:9/x", LETHE_SECRET="long enough for anyone",
    )  # fmt: skip
    assert "the database does not answer" in said
    assert "Connection refused" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "Missing command"),
        ("nope", "No such command 'nope'"),
        ("dataset import x", "Missing option '--from'. Try `lethe dataset import --help`"),
        ("dataset list --nope", "No such option"),
        ("serve --port 99999", "'--port': Input should be less than or equal to 65535"),
        ("train m --dataset d --epochs 0", "'--epochs'"),
    ],
)
def test_wrong_usage(lethe: Commands, arguments: str, message: str) -> None:
    assert message in lethe.fails(*arguments.split(), status=2)


def test_debugging_raises(lethe: Commands) -> None:
    with pytest.raises(Exception, match="no data set 'x'"):
        lethe("train", "m", "--dataset", "x", LETHE_DEBUG="1")


def ends_with(lethe: Commands, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> Any:
    """`dataset list`, failing deep inside with `error`."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("core.datasets.datasets", fail)
    return lethe("dataset", "list")


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (KeyboardInterrupt(), 130, "lethe: stopped"),
        (RuntimeError("a\nb"), 1, "lethe: RuntimeError: a b (LETHE_DEBUG=1 shows where)"),
        (OSError(28, "No space left on device"), 1, "lethe: No space left on device"),
        (ModuleNotFoundError("no", name="torch"), 1,
         "lethe: this command needs torch; install `lethe[ml]`"),
    ],
)  # fmt: skip
def test_whatever_is_raised(
    lethe: Commands, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int, said: str
) -> None:
    done = ends_with(lethe, monkeypatch, error)
    assert done.status == status
    assert done.err.splitlines() == [said]
