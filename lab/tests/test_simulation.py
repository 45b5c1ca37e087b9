"""The simulation: a seed repeats its run, and planted defects are found."""

import inspect
import re
import subprocess
import sys
from itertools import chain

import pytest

from lab.simulation.planted import DEFECTS
from scripts.tests import programs

pytestmark = [pytest.mark.boots("another process of the shop")]

DEFECT_SECONDS = 180
"""The run that finds a defect which the first runs of the seed miss: a busy machine does few in the time."""


def simulate(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "lab.simulation", *arguments]
    return programs.end(command, seconds=300, **environment)


def test_a_seed_repeats_its_run_in_every_detail():
    runs = [simulate("--seed", "4.1", "--digest", PYTHONHASHSEED=seed) for seed in ("0", "77")]
    assert [run.returncode for run in runs] == [0, 0], runs[0].stdout + runs[0].stderr
    digests = [run.stdout.splitlines()[0] for run in runs]
    assert re.fullmatch(r"[0-9a-f]{64}", digests[0])
    assert digests[0] == digests[1]
    other = simulate("--seed", "4.2", "--digest")
    assert other.stdout.splitlines()[0] != digests[0]
    one_after_the_other = simulate("--seed", "4", "--seconds", "30", "--digest").stdout.splitlines()
    assert one_after_the_other[1] == digests[0]


def test_what_stands_in_the_place_of_a_function_can_be_called_as_that_is():
    for replacement in chain(*DEFECTS.values()):
        usual = inspect.signature(getattr(replacement.owner, replacement.name)).parameters.values()
        given = [one.name for one in usual if one.kind == one.POSITIONAL_OR_KEYWORD]
        named = {one.name: one for one in usual if one.kind == one.KEYWORD_ONLY}
        assert inspect.signature(replacement.by).bind(replacement.name, *given, **named)


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_planted_defect_is_found_with_the_command_that_repeats_it(defect):
    ran = simulate("--seed", "4", "--seconds", str(DEFECT_SECONDS), "--planted", defect)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    assert "FINDING " in ran.stdout
    assert re.search(rf"`make simulate SEED=4\.\d+ PLANTED={defect}` repeats it", ran.stdout)
