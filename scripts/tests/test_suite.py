"""The suite itself: its groups and their list, its servers, and `make check` without its programs."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.db import connection

from scripts import check, suite
from scripts.stack import SetupError, system_packages
from scripts.tests import circles, programs


def test_a_row_that_is_missing_or_too_many_is_found(request):
    items = request.session.items
    page = "\n".join(circles.listed(items))
    assert circles.changed_rows(items, page) == []
    of_this = f"| {Path(__file__).relative_to(request.config.rootpath)} | a_test | other | git |"
    assert circles.changed_rows(items, f"{page}\n{of_this}\n| elsewhere.py | all | other | git |") == [
        of_this
    ]


def test_the_guard_watches_this_very_test():
    circles._guard.refused.clear()
    with pytest.raises(RuntimeError, match="isn't marked boots"):
        subprocess.run([sys.executable, "-V"])
    assert circles._guard.refused
    circles._guard.refused.clear()


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


def test_a_seed_decides_the_order_and_long_modules_and_the_shared_shop_stay_first(request):
    items = request.session.items
    seconds = {circles._module(items[-1]): 60.0}
    chance = circles._ordered(items, seconds, "7")
    assert chance == circles._ordered(items, seconds, "7")
    assert {*chance} == {*items}
    own = [item for item in chance if not item.nodeid.startswith(circles.SHARED_SHOP)]
    assert circles._module(own[0]) == circles._module(items[-1])
    modules = [module for module, _ in itertools.groupby(chance, circles._module)]
    assert len(modules) == len({*modules})


@pytest.mark.boots("pytest, a MariaDB, or children", in_first_circle=True)
def test_the_names_of_failed_tests_are_written_a_line_each(tmp_path):
    (tmp_path / "test_of_two.py").write_text("def test_right(): pass\ndef test_wrong(): assert 0\n")
    names = tmp_path / "names"
    assert _pytest_in(tmp_path, "--failed-to", str(names)).returncode == 1
    assert names.read_text() == "test_of_two.py::test_wrong\n"


@pytest.mark.boots("pytest, a MariaDB, or children", in_first_circle=True)
def test_the_parts_of_two_seeds_are_the_whole(tmp_path):
    for name in "abcdefgh":
        (tmp_path / f"test_{name}.py").write_text("def test_it(): pass\n")
    parts = (("1/2", "1"), ("2/2", "2"))
    ran = [
        _pytest_in(tmp_path, "--collect-only", "-q", "--part", part, "--seed", seed) for part, seed in parts
    ]
    modules = [line.partition("::")[0] for one in ran for line in one.stdout.splitlines() if "::" in line]
    assert sorted(modules) == [f"test_{name}.py" for name in "abcdefgh"]


def _pytest_in(folder, *arguments):
    plugin = ("-p", "scripts.tests.circles", "-c", "/dev/null", "--rootdir", str(folder))
    return programs.end([sys.executable, "-m", "pytest", *plugin, *arguments, str(folder)])


@pytest.mark.parametrize(
    ("option", "value", "name"), [("--db", "mysql", "mysql"), ("--debian", "13", "debian-13")]
)
def test_ci_goes_on_without_a_server_that_it_can_not_have_and_others_are_told(
    option, value, name, monkeypatch, capsys
):
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    monkeypatch.setattr(sys, "argv", ["suite", option, value])
    monkeypatch.setenv("CI", "true")
    assert suite.main() == 0
    assert f"*** NOT TESTED on {name}: the Debian root of {name} needs root" in capsys.readouterr().err
    monkeypatch.delenv("CI")
    with pytest.raises(SetupError, match=f"the Debian root of {name} needs root"):
        suite.main()


def test_the_database_keeps_what_it_commits_and_allows_what_races_need(db):
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@innodb_flush_log_at_trx_commit, @@skip_networking, @@max_connections >= 500")
        assert cursor.fetchone() == (1, 1, 1)


@pytest.mark.boots("pytest, a MariaDB, or children")
def test_pytest_refuses_servers_that_were_not_started_for_it():
    ran = programs.end([sys.executable, "-m", "pytest", "--collect-only", "conftest.py"], FIRSTCOME_TEST="")
    assert ran.returncode == 4
    assert "make test SERVE=1" in ran.stderr
