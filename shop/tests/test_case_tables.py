"""Many cases in one test: all offenders are named, and none sees what another wrote."""

from itertools import count

import pytest
from django.contrib.auth.models import User

from shop.tests.case_tables import in_one_test
from shop.tests.factories import AccountFactory

numbers = count()


@pytest.fixture
def number() -> int:
    return next(numbers)


def test_every_case_that_fails_is_named_with_what_it_broke() -> None:
    @in_one_test(("half", "whole"), [(1, 2), (2, 3), (3, 6), (4, 0)])
    def doubled(half: int, whole: int) -> None:
        with pytest.raises(ZeroDivisionError):
            1 / (half * 2 - whole)

    with pytest.raises(AssertionError) as failed:
        doubled()

    first, *others = str(failed.value).splitlines()
    assert first == "2 of 4 cases:"
    assert others == [
        "{'half': 2, 'whole': 3}: DID NOT RAISE ZeroDivisionError",
        "{'half': 4, 'whole': 0}: DID NOT RAISE ZeroDivisionError",
    ]


@in_one_test("letter", "ab")
def test_the_cases_share_their_fixtures(letter: str, number: int) -> None:
    assert (letter in "ab", number) == (True, 0)


@pytest.mark.django_db
@in_one_test("attempt", range(2))
def test_what_a_case_writes_is_undone(attempt: int) -> None:
    AccountFactory.create()

    assert User.objects.count() == 1
