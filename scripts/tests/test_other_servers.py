"""What is said where a kind of database server can't be had."""

import sys

import pytest

from scripts import suite
from scripts.stack import SetupError, debian
from scripts.stack.debian import Root


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
