"""What the drill counts as lost, doubled and allowed; and what the keepers of a cluster do."""

import pytest

from foundation.tests.case_tables import in_one_test
from lab.calls import Account, Answer, Call, Product, RecordedCall, Setup
from lab.chaos import comparison
from lab.chaos.clients import Work
from lab.cluster import keepers, layout
from lab.cluster.drill import faults
from lab.cluster.drill.faults import REFUSED
from lab.cluster.drill.load import Seen, Steady
from lab.cluster.keepers import View, next_step

CALL = Call("POST", "/orders", "token", {}, "key")


ALLOWED = {"201": 300, "503": 12, "409": 3, "no answer": 2}


def failures(
    statuses: dict[str, int], *, name="kill mysql-primary", outage=6.44, acknowledged=290
) -> list[str]:
    fault = faults.draw(name, seed="7")
    return [*fault.failures(ALLOWED | statuses, outage_seconds=outage, acknowledged=acknowledged)]


@in_one_test(
    ("statuses", "measured", "failure"),
    [
        ({}, {"outage": 10.1}, "writes were acknowledged again after 10.1 s, not within 10.0 s"),
        ({"500": 2}, {}, "2 x 500"),
        ({"599": 1}, {}, "1 x 599"),
        ({"400": 1}, {}, "1 x 400"),
        ({REFUSED: 1}, {}, "1 x no connection"),
        ({}, {"acknowledged": 0}, "no write was acknowledged, so none was checked"),
    ],
)
def test_a_promise_that_did_not_hold_is_a_failure(statuses, measured, failure):
    assert failures(statuses, **measured) == [failure]


def test_what_holds_has_no_failures_and_a_killed_proxy_may_refuse_connections():
    assert failures({}) == failures({REFUSED: 9}, name="kill haproxy-front") == []


def test_answers_are_counted_by_status_and_a_503_without_a_time_to_come_again_is_named():
    seen = Seen()
    seen.record_answer(CALL, Answer(409, {"code": "sold_out"}), 0.1)
    seen.record_answer(CALL, Answer(503, {"code": "unavailable"}), 0.1)
    seen.record_answer(CALL, Answer(400, {"code": "over_total"}), 0.1)
    seen.record_no_answer(CALL, 0.2, TimeoutError("timed out"))
    seen.record_no_answer(CALL, 0.2, ConnectionResetError())
    assert seen.words == {"400": 1, "409": 1, "503": 1, "no answer": 2, REFUSED: 1}
    assert seen.findings == ["POST /orders answered 503 unavailable without Retry-After"]


def test_the_outage_is_that_of_the_kind_of_write_that_was_away_for_longest(setup):
    steady = Steady([1], Work(setup, port=1, seen=Seen(), ends_at=0.0), "7")
    steady.acknowledged_at = {"coupon": [9.0, 10.2, 12.0], "order": [10.1, 11.0], "grant": [12.4, 15.0]}
    steady.ended = 12.5  # What was acknowledged later had waited alone.
    assert steady.outage_seconds(since=10.0) == pytest.approx(2.4)
    steady.acknowledged_at["grant"] = []
    assert steady.outage_seconds(since=10.0) == 2.5
    assert steady.latest() == 0.0


@pytest.fixture
def setup():
    calls = [
        RecordedCall("coupon", CALL, Answer(201, {"code": "A"})),
        RecordedCall("order", CALL, Answer(201, {"id": "11-22"})),
        RecordedCall("order", CALL, Answer(402, {"order": "33-44"})),
        RecordedCall("order", CALL, Answer(409, {"code": "insufficient_stock"})),
        RecordedCall("top_up", CALL, Answer(201, {"id": "55-66"})),
        RecordedCall("top_up", CALL, Answer(402, {"code": "payment_declined"})),
        RecordedCall("entry", CALL, Answer(202, {"id": "aa-bb"})),
    ]
    staff = [
        RecordedCall("refund", CALL, Answer(202, {"id": "77"})),
        RecordedCall("grant", CALL, Answer(201, {"id": 88})),
    ]
    return Setup(Account(0, "staff", calls=staff), [Account(1, "a", calls=calls)], [], [], Product(1, 9))


def rows(**changed: set[str]) -> dict[str, set[str]]:
    there = {
        "coupon": {"A"},
        "order": {"1122", "3344"},
        "payment": {"5566", "99"},
        "refund": {"77"},
        "entry": {"aabb"},
        "grant": {"5", "88"},
        "adjustment": set[str](),
    }
    return there | changed


BEFORE = {kind: set[str]() for kind in comparison.TABLES} | {"grant": {"5"}}


@in_one_test(
    ("changed", "lost", "doubled"),
    [
        ({}, [], []),
        ({"order": {"1122"}}, ["order 3344 is not on mysql-2"], []),
        ({"coupon": {"A", "B"}}, [], ["coupon B on mysql-2 was in no answer"]),
    ],
)
def test_what_a_member_lacks_is_lost_and_what_was_in_no_answer_is_doubled(changed, lost, doubled, setup):
    stored = {"mysql-1": rows(), "mysql-2": rows(**changed)}
    compared = comparison.compare(comparison.acknowledged(setup), stored, before=BEFORE)
    assert compared == (lost, doubled)


def test_a_table_with_another_content_on_one_member_is_named():
    same = {"firstcome.payments_entry": 5, "firstcome.orders_order": 7}
    assert comparison.unequal({"mysql-1": same, "mysql-2": same, "mysql-3": same}) == []
    other = {"mysql-1": same, "mysql-2": same, "mysql-3": same | {"firstcome.payments_entry": 6}}
    assert comparison.unequal(other) == ["firstcome.payments_entry is not the same on mysql-3 and mysql-1"]
    missing = {"firstcome.payments_entry": None}
    assert comparison.unequal({"mysql-1": missing, "mysql-2": missing})


def outside(received="", state="OFFLINE") -> View:
    return View(state=state, received=received)


def inside(role="SECONDARY", has_majority=True) -> View:
    return View("ONLINE", role, has_majority=has_majority)


def without(some: str, others: str) -> str:
    """Sets of letters in the place of MySQL's sets of transactions."""
    return "".join(sorted({*some} - {*others}))


@in_one_test(
    ("views", "action", "members"),
    [
        # New members are equal, and the first one founds the group.
        ([outside(), outside(), outside()], "found", (1,)),
        # Otherwise the member with the transactions of all others.
        ([outside("ab"), outside("abcd", "ERROR"), outside("abc")], "found", (2,)),
        # An emptied one lets the others found it, and is cloned.
        ([outside(), outside("ab"), outside("a")], "found", (2,)),
        # A member that is silent may have more.
        ([outside("a"), outside("a"), None], "wait", (3,)),
        # Members outside join the group that has a majority.
        ([inside("PRIMARY"), inside(), outside()], "join", (3,)),
        # A thawed primary believes in its old group: none is founded beside the new one.
        ([inside("PRIMARY", has_majority=False), outside(), outside()], "wait", (1,)),
        # A member that recovers is waited for.
        ([View("RECOVERING"), outside(), outside()], "wait", (1,)),
        # None founds it when each has what another lacks.
        ([outside("abd"), outside("abc"), outside("ab")], "refuse", (1, 2, 3)),
    ],
)
def test_the_group_is_founded_by_one_that_has_all_transactions(views, action, members):
    step = next_step({f"mysql-{number}": view for number, view in enumerate(views, 1)}, without)
    assert (step.action, step.members) == (action, tuple(f"mysql-{number}" for number in members))
    assert ("mysql-1 lacks c of mysql-2; mysql-2 lacks d of mysql-1" in step.reason) == (action == "refuse")


def test_the_node_of_rabbitmq_that_is_together_with_the_fewest_is_restarted():
    whole = {"a", "b", "c"}
    assert keepers.apart({}) == keepers.apart({"c": {"c"}}) == ""
    assert keepers.apart(dict.fromkeys(whole, whole)) == ""
    assert keepers.apart({"a": {"a", "b"}, "b": {"b"}, "c": {"c"}}) == "a"
    assert keepers.apart({"a": {"a", "c"}, "b": {"b"}, "c": {"a", "c"}}) == "b"


def test_the_shops_account_has_no_right_that_works_on_a_member_that_is_read_only(tmp_path):
    script = (layout.TEMPLATES / "member.sql").read_text()
    granted = [line for line in script.splitlines() if "TO 'firstcome'" in line]
    assert granted
    assert not any("*.*" in line.replace("performance_schema.*", "") for line in granted)


def test_no_server_of_a_cluster_listens_beyond_loopback():
    assert [path.name for path in layout.TEMPLATES.iterdir() if "0.0.0.0" in path.read_text()] == []
