"""`make mutants`: which defects are planted, and which of them the tests of a small project notice."""

import sys
from pathlib import Path

import pytest

from scripts.stack import places
from scripts.tests import programs

PRICE = '''
import logging

logger = logging.getLogger()


def price(count: int, unit_price: int) -> int:
    """What so many cost."""
    logger.info("asked for %s", count > 3)
    if count < 3:
        return count * unit_price
    return count * unit_price - 1
'''
TEST = """
import price as module
from price import price

KNOWN = {"price": price}


def test_no_rebate():
    assert module.price(2, 10) == KNOWN["price"](2, 10) == 20


def test_rebate():
    assert price(4, 10) == 39
"""
PROGRAM = """
import sys
from pathlib import Path
import pytest
from lab.mutants import mutations, running

class WithoutDatabase(running.Runner):
    def _use_database(self): pass
    def _empty_database(self): pass

mutations.PROJECT = folder = Path.cwd()
found = mutations.mutants_of("price.py")
tests = ["test_price.py::test_no_rebate", "test_price.py::test_rebate"]
runner = WithoutDatabase(
    [(mutant, tests) for mutant in found],
    dict.fromkeys(tests, 0.1),
    folder,
    lambda number, result: print(found[number].key, "->", result["verdict"], result["by"], flush=True),
)
sys.exit(pytest.main(["-qs", "-p", "no:cacheprovider"], plugins=[runner]) or runner.error)
"""


@pytest.mark.boots("pytest in a process")
def test_a_test_catches_one_planted_defect_and_misses_another(tmp_path: Path):
    """None tries the boundary. Names that were imported before run the defect too."""
    (tmp_path / "price.py").write_text(PRICE)
    (tmp_path / "test_price.py").write_text(TEST)
    ran = programs.run([sys.executable, "-c", PROGRAM], tmp_path, PYTHONPATH=f"{places.PROJECT}:{tmp_path}")
    verdicts = dict(line.split(" -> ") for line in ran.splitlines() if " -> " in line)
    assert len(verdicts) == 11
    missed = {"comparison 1", "number 1"}
    assert {name for name, verdict in verdicts.items() if "caught" not in verdict} == {
        f"price.py::price {name}" for name in missed
    }
    assert verdicts["price.py::price return 1"] == "caught test_price.py::test_no_rebate"
    assert verdicts["price.py::price return 2"] == "caught test_price.py::test_rebate"
