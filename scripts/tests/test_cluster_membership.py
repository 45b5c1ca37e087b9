"""Which member of MySQL founds the group again, and when none may."""

import pytest

from scripts.cluster.group_replication.gtids import GtidSet
from scripts.cluster.group_replication.membership import View, next_step

A, B = "aaaaaaaa-0000-4000-8000-000000000001", "bbbbbbbb-0000-4000-8000-000000000002"


def outside(received: str = "", state: str = "OFFLINE") -> View:
    return View(state=state, received=GtidSet.parse(received))


def inside(role: str = "SECONDARY", state: str = "ONLINE", **others: str) -> View:
    states = {1: "ONLINE", 2: "ONLINE", 3: "ONLINE"} | {int(name[1:]): what for name, what in others.items()}
    return View(state=state, role=role, states=states)


@pytest.mark.parametrize(
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


@pytest.mark.parametrize("text", ["nonsense", f"{A}:", f"{A}:1-", f"{A}:1-2:!"])
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
