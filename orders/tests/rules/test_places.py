"""The places of sagas in progress: each class of work grows to its share, however much else arrives."""

from collections import Counter
from functools import partial

import pytest

from orders.saga import progress

pytestmark = pytest.mark.rules
NEW, AGAIN, REFUND, RECOVERY = ("new", "again", "refund", "recovery")
SHARES = {NEW: 48, AGAIN: 48, REFUND: 32, RECOVERY: 32}
KEPT_FREE = 8
free_places = partial(progress.free_places, shares=SHARES, kept_free=KEPT_FREE)


def test_what_a_class_does_not_use_another_may_but_for_a_rest_of_each_share():
    total = sum(SHARES.values())
    alone = free_places({})[NEW]
    assert alone == total - 3 * KEPT_FREE
    full = {NEW: alone}
    assert free_places(full) == {NEW: 0, AGAIN: KEPT_FREE, REFUND: KEPT_FREE, RECOVERY: KEPT_FREE}


@pytest.mark.parametrize("grows", [AGAIN, REFUND, RECOVERY, NEW])
def test_a_class_grows_to_its_share_as_the_work_of_another_ends(grows):
    other = NEW if grows != NEW else AGAIN
    taken = Counter({other: free_places({})[other]})
    while taken[grows] < SHARES[grows]:
        took = min(free_places(taken)[grows], SHARES[grows] - taken[grows])
        taken[grows] += took
        if not took:
            assert free_places(taken)[other] == 0, "what ends goes to the class that has less than its share"
            taken[other] -= 1
        assert sum(taken.values()) <= sum(SHARES.values())


def test_no_class_takes_more_places_than_there_are():
    taken = Counter[str]()
    while name := next((one for one, places in free_places(taken).items() if places), None):
        taken[name] += 1
    assert sum(taken.values()) == sum(SHARES.values())
