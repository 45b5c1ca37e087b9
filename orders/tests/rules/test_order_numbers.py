"""Order numbers: unique, short, not countable; read however people type them."""

from itertools import pairwise

import pytest

from orders import order_numbers

pytestmark = pytest.mark.rules
KEY = bytes(range(32))


def test_numbers_of_a_counter_are_all_different_and_have_no_signs_that_look_alike():
    numbers = [order_numbers.permuted(value, KEY) for value in range(20_000)]

    assert len(set(numbers)) == 20_000
    assert {len(number) for number in numbers} == {8}
    for alike in ("0O", "1IL", "2Z", "5S", "8B"):
        assert len(set(alike) & set("".join(numbers))) <= 1


def test_the_last_number_of_the_counter_is_followed_by_none():
    last = order_numbers.HALF**2 - 1

    assert order_numbers.permuted(last, KEY) != order_numbers.permuted(0, KEY)
    with pytest.raises(OverflowError):
        order_numbers.permuted(last + 1, KEY)


def test_numbers_do_not_show_how_many_orders_there_are():
    """Successive ones differ at every place about as often as numbers drawn by lot, and rise as often as they
    fall.
    """
    numbers = [order_numbers.permuted(value, KEY) for value in range(2_000)]
    pairs = list(pairwise(numbers))

    for place in range(order_numbers.LENGTH):
        same = sum(first[place] == second[place] for first, second in pairs)
        assert 40 < same < 140
    assert 900 < sum(first < second for first, second in pairs) < 1_100


def test_another_key_gives_other_numbers():
    assert order_numbers.permuted(1, KEY) != order_numbers.permuted(1, KEY[::-1])


@pytest.mark.parametrize("typed", ["2346789C", "2346-789c", " 2346 789C "])
def test_a_number_is_found_however_it_is_typed(typed):
    assert order_numbers.parse(typed) == "2346789C"


@pytest.mark.parametrize(
    "typed",
    [
        pytest.param("2346789", id="too short"),
        pytest.param("2346789CC", id="too long"),
        pytest.param("0346789C", id="another sign"),
        pytest.param("", id="nothing"),
    ],
)
def test_what_can_be_no_number_is_none(typed):
    assert order_numbers.parse(typed) is None


@pytest.mark.parametrize(("number", "shown"), [("2346789C", "2346-789C"), (None, "")])
def test_pages_show_a_number_in_groups(number, shown):
    assert order_numbers.shown(number) == shown
