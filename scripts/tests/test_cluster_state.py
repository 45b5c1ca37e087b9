"""What the servers of a cluster answer, and what its keepers do: found the group, wait, restart a node."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scripts.cluster import findings
from scripts.cluster.findings import Finding
from scripts.cluster.group_replication.gtids import GtidSet
from scripts.cluster.group_replication.membership import View, next_step
from scripts.cluster.layout import Cluster
from scripts.cluster.rabbitmq_keeper import APART_SECONDS, RESTART_SECONDS, Keeper, Views, apart
from shop.tests.case_tables import in_one_test

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
STATISTICS = """\
# pxname,svname,qcur,scur,stot,status,
shop,FRONTEND,,3,90,OPEN,
ready,web-1,0,2,40,UP,
ready,web-2,0,0,7,DOWN,
ready,web-3,0,1,43,UP 1/2,
ready,BACKEND,0,3,90,UP,
alive,web-1,0,0,0,UP,
"""
NODES = [
    {"name": "rabbitmq-1@localhost", "running": True},
    {"name": "rabbitmq-2@localhost", "running": False},
    {"name": "rabbitmq-3@localhost", "running": True, "mem_alarm": True},
]
MEMBERS = ["rabbitmq-1@localhost", "rabbitmq-2@localhost", "rabbitmq-3@localhost"]


def test_each_web_node_is_what_haproxy_says_of_it():
    assert findings.haproxy_servers(STATISTICS, "ready") == [
        Finding("web-1", "up, 2 requests now, 40 in all"),
        Finding("web-2", "down, 0 requests now, 7 in all", is_well=False),
        Finding("web-3", "up 1/2, 1 requests now, 43 in all"),
    ]


def test_a_node_of_the_broker_is_missing_or_has_an_alarm():
    assert findings.rabbitmq_nodes(NODES) == [
        Finding("rabbitmq-1", "running"),
        Finding("rabbitmq-2", "not running", is_well=False),
        Finding("rabbitmq-3", "running, mem_alarm", is_well=False),
    ]


def test_the_queue_has_its_leader_and_says_which_copies_are_away():
    queue = {
        "name": "celery",
        "type": "quorum",
        "leader": MEMBERS[2],
        "members": MEMBERS,
        "messages": 4,
        "consumers": 2,
    }
    (whole,) = findings.rabbitmq_queues([queue | {"online": MEMBERS}])
    assert whole == Finding("queue", "quorum, leader rabbitmq-3, 3 of 3 copies, 4 messages, 2 consumers")
    (part,) = findings.rabbitmq_queues([queue | {"online": MEMBERS[1:]}])
    assert not part.is_well
    assert part.text.endswith("away: rabbitmq-1")


def test_a_classic_queue_is_not_well_because_it_dies_with_its_node():
    (found,) = findings.rabbitmq_queues([{"name": "celery", "type": "classic", "messages": 0}])
    assert not found.is_well


def test_the_beat_that_acts_is_named_by_its_folder():
    holder = "host:/somewhere/cluster/data/beat-2/schedule"
    acting = findings.acting_beat(holder, NOW + timedelta(seconds=4), NOW)
    assert acting == Finding("acting", "beat-2, its lease runs 4.0 s more")
    lapsed = findings.acting_beat(holder, NOW - timedelta(seconds=3), NOW)
    assert lapsed == Finding("acting", "none: the lease of beat-2 lapsed 3.0 s ago", is_well=False)


A, B = "aaaaaaaa-0000-4000-8000-000000000001", "bbbbbbbb-0000-4000-8000-000000000002"


def outside(received: str = "", state: str = "OFFLINE") -> View:
    return View(state=state, received=GtidSet.parse(received))


def inside(role: str = "SECONDARY", state: str = "ONLINE", **others: str) -> View:
    states = {1: "ONLINE", 2: "ONLINE", 3: "ONLINE"} | {int(name[1:]): what for name, what in others.items()}
    return View(state=state, role=role, states=states)


@in_one_test(
    ("text", "other", "lacking"),
    [
        ("", "", 0),
        (f"{A}:1-5", f"{A}:1-5", 0),
        (f"{A}:1-5", f"{A}:1-4", 1),
        (f"{A}:1-5:7", f"{A}:1-7", 0),
        (f"{A}:1-5:7-9", f"{A}:1-3:8", 4),
        (f"{A}:1-5,\n{B}:1", f"{A}:1-5", 1),
        (f"{A}:1-3:4-6", f"{A}:1-6", 0),
        (f"{A}:1-3,{A}:2-9", f"{A}:1-9", 0),
        (f"{A}:1-3:import:1-2", f"{A}:1-3", 2),
        (f"{A}:1-3:import:1-2", f"{A}:1-3:import:1-5", 0),
        (f"{A.upper()}:1-2", f"{A}:1-2", 0),
    ],
)
def test_a_set_of_transactions_knows_what_another_lacks(text: str, other: str, lacking: int):
    found, known = GtidSet.parse(text), GtidSet.parse(other)
    assert found - known == lacking
    assert (found <= known) is (lacking == 0)


@in_one_test("text", ["nonsense", f"{A}:", f"{A}:1-", f"{A}:1-2:!"])
def test_what_is_no_set_of_transactions_is_refused(text: str):
    with pytest.raises(ValueError, match="no set of transactions"):
        GtidSet.parse(text)


def test_new_members_are_equal_and_the_first_founds_the_group():
    step = next_step({1: outside(), 2: outside(), 3: outside()})
    assert (step.action, step.members) == ("found", (1,))


def test_the_member_with_the_transactions_of_all_others_founds_the_group():
    step = next_step({1: outside(f"{A}:1-9"), 2: outside(f"{A}:1-12", "ERROR"), 3: outside(f"{A}:1-11")})
    assert (step.action, step.members) == ("found", (2,))


def test_no_group_is_founded_while_a_member_is_silent_because_it_may_have_more():
    step = next_step({1: outside(f"{A}:1-9"), 2: outside(f"{A}:1-9"), 3: None})
    assert (step.action, step.members) == ("wait", (3,))
    assert "member 3 is not answering" in step.reason


def test_none_founds_the_group_when_each_has_what_another_lacks():
    step = next_step({1: outside(f"{A}:1-9,{B}:1"), 2: outside(f"{A}:1-10"), 3: outside(f"{A}:1-9")})
    assert step.action == "refuse"
    assert "member 1 lacks 1 transactions of member 2" in step.reason
    assert "member 2 lacks 1 transactions of member 1" in step.reason
    assert "stop the cluster" in step.reason


def test_an_emptied_member_lets_the_others_found_the_group_and_is_cloned():
    step = next_step({1: outside(), 2: outside(f"{A}:1-10"), 3: outside(f"{A}:1-9")})
    assert (step.action, step.members) == ("found", (2,))


def test_members_outside_join_the_group_that_has_a_majority():
    step = next_step({1: inside("PRIMARY", s3="UNREACHABLE"), 2: inside(s3="UNREACHABLE"), 3: outside()})
    assert (step.action, step.members) == ("join", (3,))


def test_a_thawed_primary_that_believes_in_its_old_group_founds_none_beside_the_new_one():
    old = inside("PRIMARY", s2="UNREACHABLE", s3="UNREACHABLE")
    step = next_step({1: old, 2: outside(), 3: outside()})
    assert (step.action, step.members) == ("wait", (1,))


def test_a_member_that_recovers_is_waited_for():
    step = next_step({1: View(state="RECOVERING", states={1: "RECOVERING"}), 2: outside(), 3: outside()})
    assert (step.action, step.members) == ("wait", (1,))


def test_a_whole_group_needs_nothing():
    assert next_step({1: inside("PRIMARY"), 2: inside(), 3: inside()}).action == "nothing"


ALL = frozenset({1, 2, 3})
TOGETHER = {1: ALL, 2: ALL, 3: ALL}
TWO_APART = {1: frozenset({1, 3}), 2: frozenset({2}), 3: frozenset({1, 3})}


class Counted(Keeper):
    """A keeper that notes which nodes it would restart."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self.restarted: list[int] = []

    def restart(self, number: int) -> None:
        self.restarted.append(number)


@pytest.fixture
def keeper(tmp_path: Path) -> Counted:
    return Counted(Cluster(home=tmp_path, first_port=21000))


@in_one_test(
    ("views", "expected"),
    [
        (TOGETHER, None),
        (TWO_APART, 2),
        # One sees the other, which does not see it: they are not together.
        ({1: ALL, 2: frozenset({2, 3}), 3: frozenset({2, 3})}, 1),
        # A node that does not answer is dead, frozen or cut off: nothing can be done to it yet.
        ({1: frozenset({1, 3}), 3: frozenset({1, 3})}, None),
        ({1: frozenset({1}), 2: frozenset({2}), 3: frozenset({3})}, 2),
        # The node runs, and its broker does not.
        ({1: frozenset({1, 2}), 2: frozenset({1, 2}), 3: frozenset()}, 3),
        ({}, None),
    ],
)
def test_the_node_outside_of_the_largest_set_is_apart(views: Views, expected: int | None):
    assert apart(views) == expected


def test_a_node_sees_what_runs_and_is_not_partitioned_from_it():
    nodes = [
        {"name": "rabbitmq-1@localhost", "running": True, "partitions": ["rabbitmq-2@localhost"]},
        {"name": "rabbitmq-2@localhost", "running": True, "partitions": []},
        {"name": "rabbitmq-3@localhost", "running": False, "partitions": None},
    ]
    assert findings.seen_by(1, nodes) == {1}
    assert findings.seen_by(2, nodes) == {1, 2}
    assert findings.seen_by(3, nodes) == {1, 2}


def test_a_node_is_restarted_once_it_has_been_apart_for_a_while(keeper: Counted):
    for now in (0.0, APART_SECONDS - 0.1):
        keeper.look(TWO_APART, now)
    assert keeper.restarted == []
    keeper.look(TWO_APART, APART_SECONDS)
    assert keeper.restarted == [2]
    keeper.look(TWO_APART, APART_SECONDS + RESTART_SECONDS - 0.1)
    assert keeper.restarted == [2], "it is still coming back"


def test_a_node_that_finds_the_others_by_itself_is_left_alone(keeper: Counted):
    keeper.look(TWO_APART, 0.0)
    keeper.look(TOGETHER, 1.0)
    keeper.look(TWO_APART, APART_SECONDS)
    assert keeper.restarted == []


def test_a_node_that_is_still_apart_is_restarted_again(keeper: Counted):
    for now in (0.0, APART_SECONDS, APART_SECONDS + RESTART_SECONDS, 2 * APART_SECONDS + RESTART_SECONDS):
        keeper.look(TWO_APART, now)
    assert keeper.restarted == [2, 2]
