"""What the keepers of a cluster do: found the group, wait, restart a node; and what its settings open."""

from pathlib import Path

from scripts.cluster import templates
from scripts.cluster.group_replication.gtids import GtidSet
from scripts.cluster.group_replication.membership import View, next_step
from scripts.cluster.layout import Cluster
from scripts.cluster.rabbitmq_keeper import Views, apart
from scripts.cluster.servers import mysql
from shop.tests.case_tables import in_one_test

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


ALL = frozenset({1, 2, 3})
TOGETHER = {1: ALL, 2: ALL, 3: ALL}
TWO_APART = {1: frozenset({1, 3}), 2: frozenset({2}), 3: frozenset({1, 3})}


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


def test_the_shops_account_has_no_right_that_works_on_a_member_that_is_read_only(tmp_path: Path):
    script = mysql.one_statement_a_line(
        templates.render("member.sql", Cluster(home=tmp_path, first_port=21000))
    )
    granted = [line for line in script.splitlines() if "TO 'firstcome'" in line]
    assert granted
    assert not any("*.*" in line.replace("performance_schema.*", "") for line in granted)


def test_no_server_of_a_cluster_listens_beyond_loopback():
    assert [path.name for path in templates.FOLDER.iterdir() if "0.0.0.0" in path.read_text()] == []
