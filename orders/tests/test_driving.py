"""Sagas driven together: as they would go alone, in far fewer statements, and nobody waits for the slow."""

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from inventory.tests.factories import ProductFactory
from orders import driving, saga_log, steps, visiting
from orders.deciding import Placed
from orders.models import Order, Saga
from orders.steps import Outside
from orders.tests import buying
from orders.tests.test_crashes import Killed
from orders.visiting import Visit, Visitor
from payments import ledger
from payments.models import LedgerAccount
from shop.models import JournalLine
from shop.tests.racing import wait_until
from shop.tests.second_connection import holding

pytestmark = pytest.mark.django_db(transaction=True)


def bought(*tokens: str, points: int = 300) -> list[Placed]:
    """Orders of one product by so many cards: each with a coupon, points and a card."""
    product = ProductFactory.create(on_hand=100, price=1_000)
    placed = []
    for token in tokens:
        buyer = buying.account(points=points)
        coupon = buying.coupon_of(buyer.id, discount_value=100).code
        placed.append(buying.place(buyer.id, {product: 1}, coupon=coupon, points=points, token=token))
    return placed


def saga_ids(placed: Sequence[Placed]) -> list[Any]:
    return [one.started.saga.id for one in placed if one.started]


def ended(placed: Sequence[Placed]) -> list[str]:
    """The orders' states, once all their sagas have ended."""
    wait_until(lambda: not Saga.objects.filter(id__in=saga_ids(placed), ended_at=None).exists(), seconds=30)
    return [buying.state_of(one.order.id) for one in placed]


def visit(placed: Sequence[Placed]) -> Visit:
    return visiting.visit([Visitor(saga_id) for saga_id in saga_ids(placed)])


def driven_to_the_card(visitor: Visitor) -> list[tuple[Outside, list[Visitor]]]:
    """Who calls the gateway next, after a visit of this one."""
    return visiting.visit([visitor]).calling


@pytest.fixture
def stalled() -> Iterator[None]:
    """All threads of those who go alone and may call outside wait, as for a gateway that hangs."""
    is_over = threading.Event()
    stuck = [driving._outgoing.submit(is_over.wait, 60) for _ in range(driving.OUTGOING_AT_ONCE)]
    wait_until(lambda: not driving._outgoing._work_queue.qsize())
    yield
    is_over.set()
    assert all(one.result(10) for one in stuck)
    # Who gathers now would stand in the way of the next test.
    assert driving.finish(seconds=20)


@pytest.fixture
def idle_driver() -> Iterator[None]:
    """The driver does nothing."""
    is_over = threading.Event()
    wait = driving._drivers.submit(is_over.wait, 60)
    yield
    is_over.set()
    assert wait.result(10)
    assert driving.finish(seconds=20)


def test_each_of_many_comes_to_the_end_that_its_card_has_for_it() -> None:
    placed = bought("tok_ok", "tok_declined", "tok_ok", "tok_insufficient_funds", "tok_ok")
    driving.advance_all(saga_ids(placed))
    assert ended(placed) == ["paid", "payment_failed", "paid", "payment_failed", "paid"]
    assert buying.broken_laws() == []


def test_a_slow_card_keeps_nobody_else_waiting() -> None:
    placed = bought("tok_slow", "tok_ok", "tok_ok")
    driving.advance_all(saga_ids(placed))
    assert ended(placed[1:]) == ["paid", "paid"]
    assert buying.state_of(placed[0].order.id) == Order.Status.PAYING
    assert ended(placed) == ["paid"] * 3
    assert buying.broken_laws() == []


def test_who_has_spent_the_points_meanwhile_is_refused_alone() -> None:
    placed = bought("tok_ok", "tok_ok", "tok_ok")
    spender = placed[1].order.account_id
    LedgerAccount.objects.filter(id=spender).update(balance_amount=299)
    driving.advance_all(saga_ids(placed))
    assert ended(placed) == ["paid", "payment_failed", "paid"]
    assert ledger.balance_amount(spender) == 299


def test_orders_that_cost_nothing_or_points_alone_are_paid_too() -> None:
    product = ProductFactory.create(on_hand=9, price=100)
    gift, buyer = ProductFactory.create(on_hand=9, price=0), buying.account(points=100)
    placed = [
        buying.place(buyer.id, {product: 1}, points=100, token=""),
        buying.place(buying.account().id, {gift: 1}, token=""),
    ]
    driving.advance_all(saga_ids(placed))
    assert ended(placed) == ["paid", "paid"]
    assert buying.broken_laws() == []


def test_one_that_cannot_be_settled_spoils_it_for_nobody_else() -> None:
    placed = bought("tok_ok", "tok_ok", "tok_ok")
    # As nothing in the shop does: its saga must not end as if the order were paid.
    Order.objects.filter(id=placed[1].order.id).update(status=Order.Status.EXPIRED)
    driving.advance_all(saga_ids(placed))
    assert ended([placed[0], placed[2]]) == ["paid", "paid"]
    assert buying.state_of(placed[1].order.id) == Order.Status.EXPIRED
    wait_until(lambda: Saga.objects.get(id=saga_ids(placed)[1]).attempts == 1)


def test_a_visit_takes_as_many_statements_for_ten_as_for_two() -> None:
    counts = []
    for count in (2, 10):
        placed = bought(*["tok_ok"] * count)
        with CaptureQueriesContext(
            connection,
        ) as captured:
            visit(placed)
        counts.append(len(captured))
    assert counts[0] == counts[1]


def test_whoever_comes_twice_or_is_driven_already_is_visited_once() -> None:
    placed = bought("tok_ok")
    [saga_id] = saga_ids(placed)
    twice = visiting.visit([Visitor(saga_id) for _ in range(2)])
    assert [len(some) for _, some in twice.calling] == [1]
    assert len(twice.over) == 1
    assert [visitor.saga_id for visitor in visit(placed).over] == [saga_id]


def test_a_visitor_that_lost_its_lease_changes_nothing() -> None:
    placed = bought("tok_ok")
    [(_, [visitor])] = visit(placed).calling
    Saga.objects.filter(id=visitor.saga_id).update(lease_token="another")
    visitor.called, visitor.heard = "charge_card", saga_log.Heard(saga_log.Event.DONE, reference="ch_1")
    assert visiting.visit([visitor]).over == [visitor]
    assert buying.state_of(placed[0].order.id) == Order.Status.PAYING


def test_each_line_of_a_batch_names_the_request_that_began_it() -> None:
    placed = bought("tok_ok", "tok_ok")
    for number, saga_id in enumerate(saga_ids(placed)):
        Saga.objects.filter(id=saga_id).update(request_id=f"request-{number}")
    driving.advance_all(saga_ids(placed))
    assert ended(placed) == ["paid", "paid"]
    for number, one in enumerate(placed):
        lines = JournalLine.objects.filter(order_id=one.order.id, at__gt=one.order.placed_at)
        since = lines.exclude(what__in=["order.placed", "coupon.held"]).exclude(request_id="")
        assert set(since.values_list("request_id", flat=True)) == {f"request-{number}"}


@pytest.mark.parametrize("point", ["visit before", "visit committed", "charge_card do called"])
@pytest.mark.parametrize("passed", [0, 1])
def test_a_driver_that_dies_at_any_point_is_made_good(
    point: str, passed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed = bought("tok_ok", "tok_ok", "tok_declined")
    left = [passed]

    def die(at: str) -> None:
        if at == point:
            left[0] -= 1
        if left[0] < 0:
            raise Killed(at)

    with monkeypatch.context() as patched:
        patched.setattr(steps, "reach", die)
        driving.advance_all(saga_ids(placed))
        wait_until(lambda: not driving._under_way)
    buying.settle_everything()
    assert ended(placed) == ["paid", "paid", "payment_failed"]
    assert buying.broken_laws() == []


def test_a_row_that_somebody_keeps_locked_stops_nobody_else() -> None:
    placed = bought("tok_ok", "tok_ok", "tok_ok")
    held = placed[1].order.id
    with holding("SELECT id FROM orders_order WHERE id = %s FOR UPDATE", str(held)):
        driving.advance_all(saga_ids(placed))
        assert ended([placed[0], placed[2]]) == ["paid", "paid"]
    buying.settle_everything()
    assert ended(placed) == ["paid"] * 3
    assert buying.broken_laws() == []


def test_who_goes_alone_anyway_is_not_locked_with_the_others() -> None:
    placed = bought("tok_ok", "tok_ok")
    tried, fresh = saga_ids(placed)
    Saga.objects.filter(id=tried).update(attempts=1)
    with holding("SELECT id FROM orders_order WHERE id = %s FOR UPDATE", str(placed[0].order.id)):
        made = visit(placed)
    assert [visitor.saga_id for visitor in made.alone] == [tried]
    assert [visitor.saga_id for _, some in made.calling for visitor in some] == [fresh]


def test_while_all_who_call_alone_hang_others_are_paid_and_refused(
    stalled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driving, "UNDER_WAY_AT_ONCE", 2)
    placed = bought("tok_ok", "tok_ok", "tok_ok", "tok_ok", "tok_declined")
    Saga.objects.filter(id__in=saga_ids(placed[:3])).update(attempts=1)
    driving.advance_all(saga_ids(placed))
    wait_until(lambda: buying.state_of(placed[3].order.id) == Order.Status.PAID)
    assert ended(placed[4:]) == ["payment_failed"]
    assert buying.state_of(placed[0].order.id) == Order.Status.PAYING


def test_who_waits_to_go_alone_waits_once(stalled: None) -> None:
    placed = bought("tok_ok")
    Saga.objects.update(attempts=1)
    for _ in range(3):
        driving.advance_all(saga_ids(placed))
    wait_until(lambda: not driving._under_way and driving._outgoing._work_queue.qsize() > 0)
    assert driving._outgoing._work_queue.qsize() == 1


def test_of_two_that_were_gathered_for_one_saga_none_keeps_its_place() -> None:
    placed = bought("tok_ok")
    [saga_id] = saga_ids(placed)
    visitors = [Visitor(saga_id), Visitor(saga_id)]
    for visitor in visitors:
        # The first one's lease is over when the second comes.
        Saga.objects.update(leased_until=None)
        assert [some for _, some in driven_to_the_card(visitor)] == [[visitor]]
    driving._under_way.update(visitors)
    step = steps.KINDS["purchase"].step("charge_card")
    assert isinstance(step, Outside)
    driving._call_outside(step, visitors)
    assert ended(placed) == ["paid"]
    wait_until(lambda: not driving._under_way)
    assert visitors[0].visited.is_set()


def test_a_message_is_done_once_its_sagas_have_leases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driving, "WAIT_SECONDS", 60.0)
    placed = bought("tok_slow")
    driving.advance_all(saga_ids(placed))
    assert buying.state_of(placed[0].order.id) == Order.Status.PAYING
    assert Saga.objects.get().leased_until
    assert ended(placed) == ["paid"]


def test_all_sagas_of_a_message_are_waited_for_together(
    idle_driver: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driving, "WAIT_SECONDS", 0.5)
    placed = bought(*["tok_ok"] * 6)
    message = threading.Thread(target=driving.advance_all, args=[saga_ids(placed)])
    message.start()
    wait_until(lambda: len(driving._new) == 6)
    visitors = list(driving._new.values())
    for visitor in visitors:
        # Sooner than one alone would be waited for.
        message.join(0.3)
        if not message.is_alive():
            break
        visitor.visited.set()
    assert not visitors[-1].visited.is_set()


def test_a_saga_that_is_told_again_and_again_waits_once(
    idle_driver: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driving, "WAIT_SECONDS", 0.01)
    placed = bought("tok_ok", "tok_ok")
    for _ in range(3):
        driving.advance_all(saga_ids(placed))
    assert list(driving._new) == saga_ids(placed)


def test_what_was_heard_is_written_once_and_not_carried_on() -> None:
    placed = bought("tok_ok")
    [(_, [visitor])] = driven_to_the_card(Visitor(saga_ids(placed)[0]))
    visitor.called, visitor.heard = "charge_card", saga_log.Heard(saga_log.Event.DONE, reference="ch_1")
    visiting.visit([visitor])
    assert (visitor.called, visitor.heard) == ("", None)


def test_before_a_stop_those_on_their_way_arrive() -> None:
    placed = bought("tok_slow", "tok_ok", "tok_declined")
    driving.advance_all(saga_ids(placed))
    assert not driving.finish(seconds=0)
    assert driving.finish(seconds=30)
    assert not Saga.objects.filter(ended_at=None).exists()
