"""`make check` without its programs: a user who may not install them gets what the other checks say."""

import pytest

from scripts import check
from scripts.stack import system_packages


@pytest.mark.boots("a Python process", in_first_circle=True)
def test_what_another_check_finds_fails_everywhere(monkeypatch, capsys):
    monkeypatch.setattr(system_packages, "SEARCH_PATH", "")
    monkeypatch.setenv("CI", "")
    finds = [["python", "-c", "raise SystemExit('a line that is wrong')"]]
    assert check.run_all({"found": finds, "layers": [["python", "-c", ""]], **check.rules()}) == 1
    printed = capsys.readouterr()
    assert printed.err == ""
    assert "FAILED  found\na line that is wrong" in printed.out and "SKIPPED rules" in printed.out
    monkeypatch.setenv("CI", "true")
    assert check.run_all(check.rules()) == 1
