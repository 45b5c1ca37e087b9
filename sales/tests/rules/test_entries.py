"""Entries of waiting rooms: what one is, and which account gets another one."""

from uuid import UUID

import pytest

from foundation.errors import NotFound
from sales.tests.rules.states import MINUTE, NOW, SALE_ID, SECOND, sale
from sales.waiting_room import entries
from sales.waiting_room.entries import CurrentEntry, JoinRequest

pytestmark = pytest.mark.rules
BUYER = 42
ORDER_ID = UUID(int=2)
REQUEST = JoinRequest(SALE_ID, BUYER)


def current(status="waiting", position=5, **changes):
    """The buyer's entry."""
    return CurrentEntry(UUID(int=1), SALE_ID, BUYER, status, position)._replace(**changes)


def with_order(status, expires_at=NOW + MINUTE):
    """The buyer's entry that an order used."""
    return current("used", order_id=ORDER_ID, order__status=status, order__expires_at=expires_at)


KEPT = [
    pytest.param(current(), id="waits"),
    pytest.param(current("admitted", admitted_until=NOW + SECOND), id="is admitted"),
    pytest.param(with_order("awaiting_payment"), id="is used by an open order"),
    pytest.param(with_order("paid"), id="is used by a paid order"),
]
REPLACED = [
    pytest.param(None, id="there is none"),
    pytest.param(current("expired"), id="it expired"),
    pytest.param(current("admitted", admitted_until=NOW), id="its time is over"),
    pytest.param(current("over"), id="it ended, and there is stock again"),
    *[pytest.param(with_order(one), id=f"its order is {one}") for one in entries.ENDED_UNPAID],
]


def decide(state, entry, sold_out=()):
    return entries.decide(REQUEST, state, entry, NOW, sold_out=sold_out)


@pytest.mark.parametrize("entry", KEPT)
def test_an_account_keeps_its_entry_that(entry):
    assert decide(sale(), entry) is entry


@pytest.mark.parametrize("entry", REPLACED)
def test_an_account_gets_a_new_entry_when(entry):
    assert decide(sale(), entry) is None


def test_an_entry_that_is_over_stays_while_nothing_is_on_hand():
    entry = current("over")

    assert decide(sale(), entry, sold_out={SALE_ID}) is entry


def test_one_that_expired_is_replaced_also_while_nothing_is_on_hand():
    assert decide(sale(), current("expired"), sold_out={SALE_ID}) is None


@pytest.mark.parametrize(
    ("state", "code"),
    [
        pytest.param(None, "not_found", id="does not exist"),
        pytest.param(sale(admission="open"), "admission_not_required", id="has no waiting room"),
        pytest.param(sale(closes_at=NOW), "sale_closed", id="has closed"),
        pytest.param(sale(ended_at=NOW), "sale_closed", id="was ended by a clock that is ahead"),
    ],
)
def test_nobody_joins_a_sale_that(state, code):
    assert decide(state, current()).code == code


@pytest.mark.parametrize("changes", [{"opens_at": NOW + MINUTE}, {"paused_at": NOW}], ids=["early", "paused"])
def test_an_account_may_join_a_sale_that_is(changes):
    assert decide(sale(**changes), None) is None


@pytest.mark.parametrize(
    ("entry", "passed", "ahead"),
    [
        pytest.param(current(position=5), 2, 2, id="those between the passed place and its own"),
        pytest.param(current(position=5), 5, 0, id="none once its place was passed"),
        pytest.param(current(position=None), 0, None, id="unknown before the draw"),
        pytest.param(current("used", position=5), 2, 0, id="none when it waits no more"),
    ],
)
def test_how_many_wait_before_an_entry(entry, passed, ahead):
    assert entries.to_entry(entry, sale(passed_position=passed), NOW).ahead == ahead


@pytest.mark.parametrize(
    ("entry", "paused_at", "until"),
    [
        pytest.param(current("admitted", admitted_until=NOW + SECOND), None, NOW + SECOND, id="as recorded"),
        pytest.param(
            current("admitted", admitted_until=NOW + SECOND),
            NOW - MINUTE,
            NOW + MINUTE + SECOND,
            id="later by a pause",
        ),
        pytest.param(
            current("admitted", admitted_until=NOW + 2 * MINUTE),
            NOW + MINUTE,
            NOW + 2 * MINUTE,
            id="not by a pause of a clock that is ahead",
        ),
        pytest.param(current("used", admitted_until=NOW + SECOND), None, None, id="never once it is used"),
    ],
)
def test_until_when_an_entry_is_admitted(entry, paused_at, until):
    assert entries.to_entry(entry, sale(paused_at=paused_at), NOW).admitted_until == until


@pytest.mark.parametrize(
    ("entry", "order_id"),
    [
        pytest.param(with_order("awaiting_payment", NOW), ORDER_ID, id="its time to pay is over"),
        pytest.param(with_order("awaiting_payment", NOW + SECOND), None, id="it may still be paid"),
        pytest.param(with_order("paying", NOW), None, id="it is being paid"),
        pytest.param(current(), None, id="it has none"),
    ],
)
def test_the_order_of_an_entry_has_lapsed_if(entry, order_id):
    assert entries.to_entry(entry, sale(), NOW).lapsed_order_id == order_id


@pytest.mark.parametrize("owner_id", [BUYER, None], ids=["its account", "staff"])
def test_an_entry_is_shown_to(owner_id):
    entry = entries.to_entry(current(), sale(), NOW)

    assert entries.require_owner(entry, owner_id) is entry


def test_an_entry_of_another_account_is_not_found():
    with pytest.raises(NotFound):
        entries.require_owner(entries.to_entry(current(), sale(), NOW), BUYER + 1)
