"""`make verify`: each step is a command that there is, and one that fails or can't run stops no other."""

import re

import pytest

from foundation.tests.case_tables import in_one_test
from lab import verify
from lab.__main__ import COMMANDS
from lab.verify import Step
from scripts.stack import places


@in_one_test("name", verify.STEPS)
def test_a_step_is_a_command_of_the_lab_or_a_target_with_variables_that_the_makefile_takes(name):
    makefile = (places.PROJECT / "Makefile").read_text()
    make, target, *variables = verify.STEPS[name].command.split()
    if make == "python3":
        assert (target, variables[0]) == ("-m", "lab") and variables[1] in COMMANDS
        return
    assert make == "make"
    recipe = re.search(rf"^{target}: .*\n((?:\t.*\n)+)", makefile, re.MULTILINE)
    assert recipe is not None
    for variable in variables:
        assert f"$({variable.partition('=')[0]})" in recipe[1]


@pytest.mark.boots("the steps of `make verify`")
def test_a_failed_step_is_named_and_the_others_go_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("FIRSTCOME_VAR", str(tmp_path))
    monkeypatch.setenv("ONLY", "is for this command, not for a step's")
    # `-c` stands where a step has the target that says it can't run.
    third = "sh -c echo${IFS}-c:${IFS}NOT${IFS}RUN:${IFS}no-root;exit${IFS}2"
    fourth = "echo *** NOT TESTED on mysql: no-root ***"
    steps = {
        "first": Step("sh -c exit${IFS}3"),
        "second": Step("sh -c echo${IFS}done$ONLY"),
        "third": Step(third),
        "fourth": Step(fourth),
    }
    assert verify.verify(steps, seed="", page=tmp_path / "page") == 1
    printed = capsys.readouterr().out
    assert "FAILED (3) first" in printed
    assert "ok     second" in printed
    assert "NOT RUN third" in printed and "-c: NOT RUN: no-root" in (tmp_path / "page").read_text()
    assert "ok     fourth" in printed and "NOT TESTED on mysql" in (tmp_path / "page").read_text()
    assert (tmp_path / "verify" / "second.log").read_text() == "done\n"
