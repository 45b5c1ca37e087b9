"""Which tests run on every kind of database server, and what is said where a server can't be had."""

import os
import sys
from pathlib import Path

import pytest

from scripts import suite
from scripts.stack import SetupError, debian, throwaway
from scripts.stack.debian import Root
from scripts.tests import each_server


def test_a_module_of_that_name_is_marked(request: pytest.FixtureRequest):
    assert each_server.is_for_each_server(Path("test_new_races.py"))
    assert not each_server.is_for_each_server(Path("test_pricing.py"))
    assert not each_server.is_for_each_server(Path("test_traces.py"))
    assert request.node.get_closest_marker("each_server") is None


def a_root(**changed: str) -> Root:
    return Root(**{"name": "none", "release": "sid", "packages": ("one",), "program": "bin/one"} | changed)


def a_debootstrap(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A debootstrap of the test's own, in an empty project."""
    program = folder / "bin" / "debootstrap"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    monkeypatch.setattr("os.getuid", lambda: 0)
    monkeypatch.setattr(debian.places, "PROJECT", folder)
    monkeypatch.setattr(debian, "MEGABYTES_NEEDED", 1)


@pytest.mark.boots("a debootstrap of the test")
@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("sleep 60", "was not done in 1 s"),
        ("echo E: no mirror; exit 1", "(?s)debootstrap failed, which needs http.*E: no mirror"),
    ],
)
def test_a_root_that_can_not_be_made_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, words: str
):
    a_debootstrap(tmp_path, script, monkeypatch)
    with pytest.raises(SetupError, match=words):
        a_root().require(within_seconds=1)
    assert not a_root().is_made()


def test_an_unknown_server_is_refused_with_those_there_are(tmp_path: Path):
    with (
        pytest.raises(SetupError, match=r"DB=oracle is not .* mariadb, mysql, mariadb-next"),
        throwaway.servers(tmp_path / "home", kind="oracle"),
    ):
        pass


def test_a_server_that_can_not_be_had_is_named_and_the_others_are_met(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    def missing(root: Root, *, within_seconds: int = 0) -> None:
        if root is debian.MYSQL:
            raise SetupError("no network")

    ran = []
    monkeypatch.setattr(Root, "require", missing)

    def run(kind: str, *arguments: str) -> int:
        ran.append((kind, arguments[:2]))
        print(f"the tests on {kind}", file=sys.stderr)
        return 0

    monkeypatch.setattr(suite, "_pytest_on", run)
    monkeypatch.setattr(sys, "argv", ["suite", "--other-servers"])
    assert suite.main() == 0
    assert ran == [("mariadb-next", ("-m", "each_server"))]
    named = "*** NOT TESTED on mysql: no network ***"
    assert capsys.readouterr().err.splitlines() == [named, "the tests on mariadb-next", named]
