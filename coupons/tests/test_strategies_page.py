"""docs/strategies.md and the strategies: each is on the page, and its docstring says what it promises."""

import inspect
import re
import sys

import pytest

from coupons import issuing
from coupons.tests.under_load import NEED_NO_REDIS
from scripts import places

PAGE = places.PROJECT / "docs" / "strategies.md"
of_each = pytest.mark.parametrize("strategy", issuing.STRATEGIES)


def test_each_table_has_a_row_of_each_strategy_and_of_nobody_else() -> None:
    text = PAGE.read_text()
    for heading in ("What each promises", "What a crash costs"):
        assert _rows(text, heading).keys() == issuing.STRATEGIES.keys()


def test_the_page_says_who_works_without_redis() -> None:
    without_redis = {name: cells[2] for name, cells in _rows(PAGE.read_text(), "What each promises").items()}
    assert {name for name, says in without_redis.items() if says == "as ever"} == NEED_NO_REDIS
    assert {without_redis[name] for name in issuing.STRATEGIES.keys() - NEED_NO_REDIS} == {
        "503 `unavailable`"
    }


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
