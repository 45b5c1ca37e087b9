"""What the drill counts as lost, doubled and allowed; and what the keepers of a cluster do."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lab.chaos.calls import Answer, Call
from lab.chaos.memory import Account, Product, RecordedCall, Setup
from lab.cluster import templates
from lab.cluster.drill import effects, judging, plan
from lab.cluster.drill.judging import Outcome
from lab.cluster.group_replication.gtids import GtidSet
from lab.cluster.group_replication.membership import View, next_step
from lab.cluster.layout import Cluster
from lab.cluster.servers import mysql
from shop.tests.case_tables import in_one_test

CALL = Call("POST", "/orders", "token", {}, "key")


def outcome(name: str = "kill mysql-primary", **changed: Any) -> Outcome:
    values: dict[str, Any] = {
        "fault": plan.draw(name, seed="7"),
        "target": "mysql-2",
        "outage_seconds": 6.44,
        "whole_seconds": 19.0,
        "statuses": Counter({"201": 300, "503": 12, "409": 3}),
        "load_average": 4.4,
        "slowest_seconds": 6.5,
        "acknowledged": 290,
    }
    return Outcome(**values | changed)


@in_one_test(
    ("answer", "word", "allowed"),
    [
        (Answer(201, {}), "201", True),
        (Answer(409, {"code": "sold_out"}), "409", True),
        (Answer(503, {"code": "unavailable"}, retry_after="1"), "503", True),
        (Answer(503, {"code": "unavailable"}), "503 without Retry-After", False),
        (Answer(500, {"code": "internal"}), "500", False),
        (Answer(599, {"code": "not_json"}), "599", False),
    ],
)
def test_only_success_refusals_and_a_503_with_a_time_to_come_again_are_allowed(
    answer: Answer, word: str, allowed: bool
):
    assert judging.status_word(answer) == word
    assert judging.is_allowed(word) is allowed


@in_one_test(
    ("changed", "failure"),
    [
        ({"outage_seconds": 10.1}, "writes were acknowledged again after 10.1 s, not within 10.0 s"),
        ({"statuses": Counter({"500": 2})}, "2 x 500"),
        ({"statuses": Counter({judging.REFUSED: 1})}, "1 x no connection"),
        ({"acknowledged": 0}, "no write was acknowledged"),
        ({"lost": ["coupon A is not on mysql-3"]}, "lost: coupon A is not on mysql-3"),
        ({"doubled": ["order 1 on mysql-1 was in no answer"]}, "doubled: order 1"),
        ({"findings": ["L1 is broken"]}, "L1 is broken"),
    ],
)
def test_a_promise_that_did_not_hold_is_a_failure(changed: dict[str, Any], failure: str):
    [found] = outcome(**changed).failures()
    assert found.startswith(failure)


def test_what_holds_has_no_failures_and_a_killed_proxy_may_refuse_connections():
    assert list(outcome().failures()) == []
    refused = Counter({judging.REFUSED: 9})
    assert list(outcome("kill haproxy-front", statuses=refused).failures()) == []


@pytest.fixture
def setup() -> Setup:
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


BEFORE = {kind: set[str]() for kind in effects.TABLES} | {"grant": {"5"}}


@in_one_test(
    ("changed", "lost", "doubled"),
    [
        ({}, [], []),
        ({"order": {"1122"}}, ["order 3344 is not on mysql-2"], []),
        ({"coupon": {"A", "B"}}, [], ["coupon B on mysql-2 was in no answer"]),
    ],
)
def test_what_a_member_lacks_is_lost_and_what_was_in_no_answer_is_doubled(
    changed: dict[str, set[str]], lost: list[str], doubled: list[str], setup: Setup
):
    stored = {"mysql-1": rows(), "mysql-2": rows(**changed)}
    compared = effects.compare(effects.acknowledged(setup), stored, before=BEFORE)
    assert (compared.lost, compared.doubled) == (lost, doubled)


def test_a_table_with_another_content_on_one_member_is_named():
    same = {"firstcome.payments_entry": 5, "firstcome.orders_order": 7}
    assert effects.unequal({"mysql-1": same, "mysql-2": same, "mysql-3": same}) == []
    other = {"mysql-1": same, "mysql-2": same, "mysql-3": same | {"firstcome.payments_entry": 6}}
    assert effects.unequal(other) == ["firstcome.payments_entry is not the same on mysql-3 and mysql-1"]
    missing: dict[str, int | None] = {"firstcome.payments_entry": None}
    assert effects.unequal({"mysql-1": missing, "mysql-2": missing})


A, B = "aaaaaaaa-0000-4000-8000-000000000001", "bbbbbbbb-0000-4000-8000-000000000002"


def outside(received: str = "", state: str = "OFFLINE") -> View:
    return View(state=state, received=GtidSet.parse(received))


def inside(role: str = "SECONDARY", state: str = "ONLINE", **others: str) -> View:
    states = {1: "ONLINE", 2: "ONLINE", 3: "ONLINE"} | {int(name[1:]): what for name, what in others.items()}
    return View(state=state, role=role, states=states)


OLD_PRIMARY = inside("PRIMARY", s2="UNREACHABLE", s3="UNREACHABLE")


@in_one_test(
    ("views", "action", "members"),
    [
        # New members are equal, and the first one founds the group.
        ({1: outside(), 2: outside(), 3: outside()}, "found", (1,)),
        # Otherwise the member with the transactions of all others.
        ({1: outside(f"{A}:1-9"), 2: outside(f"{A}:1-12", "ERROR"), 3: outside(f"{A}:1-11")}, "found", (2,)),
        # An emptied one lets the others found it, and is cloned.
        ({1: outside(), 2: outside(f"{A}:1-10"), 3: outside(f"{A}:1-9")}, "found", (2,)),
        # A member that is silent may have more.
        ({1: outside(f"{A}:1-9"), 2: outside(f"{A}:1-9"), 3: None}, "wait", (3,)),
        # Members outside join the group that has a majority.
        ({1: inside("PRIMARY", s3="UNREACHABLE"), 2: inside(s3="UNREACHABLE"), 3: outside()}, "join", (3,)),
        # A thawed primary believes in its old group: none is founded beside the new one.
        ({1: OLD_PRIMARY, 2: outside(), 3: outside()}, "wait", (1,)),
        # A member that recovers is waited for.
        ({1: View(state="RECOVERING", states={1: "RECOVERING"}), 2: outside(), 3: outside()}, "wait", (1,)),
    ],
)
def test_the_group_is_founded_by_one_that_has_all_transactions(
    views: dict[int, View | None], action: str, members: tuple[int, ...]
):
    step = next_step(views)
    assert (step.action, step.members) == (action, members)


def test_none_founds_the_group_when_each_has_what_another_lacks():
    step = next_step({1: outside(f"{A}:1-9,{B}:1"), 2: outside(f"{A}:1-10"), 3: outside(f"{A}:1-9")})
    assert step.action == "refuse"
    assert "member 1 lacks 1 transactions of member 2" in step.reason
    assert "member 2 lacks 1 transactions of member 1" in step.reason
    assert "stop the cluster" in step.reason


def test_the_shops_account_has_no_right_that_works_on_a_member_that_is_read_only(tmp_path: Path):
    script = mysql.one_statement_a_line(
        templates.render("member.sql", Cluster(home=tmp_path, first_port=21000))
    )
    granted = [line for line in script.splitlines() if "TO 'firstcome'" in line]
    assert granted
    assert not any("*.*" in line.replace("performance_schema.*", "") for line in granted)


def test_no_server_of_a_cluster_listens_beyond_loopback():
    assert [path.name for path in templates.FOLDER.iterdir() if "0.0.0.0" in path.read_text()] == []
