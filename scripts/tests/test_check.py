"""`make check` without its programs: a user who may not install them gets what the other checks say."""

import pytest

from scripts import check
from scripts.stack import system_packages


def test_what_another_check_finds_fails_everywhere(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def find_something() -> None:
        raise check.Failed("a line that is wrong")

    monkeypatch.setattr(system_packages, "SEARCH_PATH", "")
    monkeypatch.setenv("CI", "")
    checks = {"found": find_something, "rules": check.check_rules, "layers": lambda: None}
    assert check.run_all(checks) == 1
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "FAILED  found\na line that is wrong" in printed.out and "SKIPPED rules" in printed.out
