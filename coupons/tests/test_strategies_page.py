"""docs/strategies.md has each strategy, and each strategy's docstring has the required paragraphs."""

import inspect
import re
import sys

from coupons.issuing import issuing
from coupons.tests.under_load import NEED_NO_REDIS
from scripts.bench.report import documents
from scripts.lab import report, results
from scripts.stack import places
from shop.tests.case_tables import in_one_test

PAGE = places.PROJECT / "docs" / "strategies.md"
of_each = in_one_test("strategy", issuing.STRATEGIES)


def test_each_table_has_one_row_for_each_strategy() -> None:
    text = PAGE.read_text()
    for heading in ("What each promises", "What a crash costs"):
        assert _rows(text, heading).keys() == issuing.STRATEGIES.keys()


def test_the_page_says_which_strategies_work_without_redis() -> None:
    without_redis = {name: cells[2] for name, cells in _rows(PAGE.read_text(), "What each promises").items()}
    assert {name for name, says in without_redis.items() if says == "unchanged"} == NEED_NO_REDIS
    assert {without_redis[name] for name in issuing.STRATEGIES.keys() - NEED_NO_REDIS} == {
        "503 `unavailable`"
    }


def test_the_figures_are_those_that_the_lab_measured() -> None:
    rows = results.read(places.PROJECT / "docs" / "lab")
    assert documents.inside(report.STRATEGIES, report.MARKS) == report.strategies(rows)


@of_each
def test_its_docstring_says_how_it_works_what_it_promises_and_when_to_choose_it(strategy: str) -> None:
    text = inspect.getdoc(sys.modules[issuing.STRATEGIES[strategy].__module__])
    assert text is not None
    assert re.match(rf"`{strategy}`: \S.*\.\n\n", text), text
    said = re.findall(r"^(How|Promises|Scales|Choose it): ", text, flags=re.MULTILINE)
    assert said[:2] == ["How", "Promises"], text
    assert "choose it" in text.lower() or strategy == "group_commit", text


def _rows(text: str, heading: str) -> dict[str, list[str]]:
    """The cells of the table below that heading, after the strategy's name, by it."""
    section = text.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", section, flags=re.MULTILINE)
    assert len(dict(rows)) == len(rows)
    return {name: cells.split(" | ") for name, cells in rows}
