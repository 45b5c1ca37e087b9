"""Cases that are tried in one test."""

import pytest

from scripts.tests.cases import every_case


def test_every_case_is_tried_and_all_that_fail_are_named():
    tried = []

    @every_case(("one", "other"), [(1, 1), (1, 2), (3, 3), (3, 4)])
    @every_case("third", [0, 5])
    def check(one: int, other: int, third: int) -> None:
        tried.append((one, other, third))
        assert one == other

    with pytest.raises(AssertionError, match=r"(?s)\(1, 2\): .*\(3, 4\): "):
        check()
    assert len(tried) == 8
