"""What a sale and its entries are at an instant."""

import pytest

from sales.tests.rules.states import MINUTE, NOW, SECOND, sale

pytestmark = pytest.mark.rules


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        pytest.param({"opens_at": NOW + SECOND}, "scheduled", id="before it opens"),
        pytest.param({"opens_at": NOW}, "open", id="from its opening on"),
        pytest.param({"paused_at": NOW - SECOND}, "paused", id="while it is paused"),
        pytest.param({"paused_at": NOW, "opens_at": NOW + SECOND}, "paused", id="paused before it opens"),
        pytest.param({"closes_at": NOW}, "closed", id="from its end on"),
        pytest.param({"closes_at": NOW, "paused_at": NOW - SECOND}, "closed", id="over, though it is paused"),
    ],
)
def test_a_sale_is(changes, status):
    assert sale(**changes).status_at(NOW) == status


@pytest.mark.parametrize(("admission", "is_queued"), [("queue", True), ("open", False)])
def test_orders_need_an_entry_with_a_waiting_room_alone(admission, is_queued):
    assert sale(admission=admission).is_queued is is_queued


@pytest.mark.parametrize(
    ("recorded", "until", "changes", "status"),
    [
        pytest.param("waiting", None, {}, "waiting", id="waits"),
        pytest.param("waiting", None, {"closes_at": NOW}, "over", id="waited when the sale closed"),
        pytest.param("admitted", NOW + SECOND, {}, "admitted", id="admitted until later"),
        pytest.param("admitted", None, {}, "admitted", id="admitted without an end"),
        pytest.param("admitted", NOW, {}, "expired", id="admitted until now"),
        pytest.param("admitted", NOW, {"closes_at": NOW}, "over", id="admitted when the sale closed"),
        pytest.param("admitted", NOW, {"paused_at": NOW - SECOND}, "admitted", id="a pause stops its clock"),
        pytest.param("admitted", NOW - MINUTE, {"paused_at": NOW}, "expired", id="expired before the pause"),
        pytest.param("used", NOW, {"closes_at": NOW}, "used", id="used, however late it is"),
    ],
)
def test_an_entry_is(recorded, until, changes, status):
    assert sale(**changes).status_of_entry(recorded, until, NOW) == status
