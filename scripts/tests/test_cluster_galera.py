"""Which member of Galera founds the cluster, which one writes, and when none may."""

import os
from pathlib import Path

import pytest

from scripts.cluster.galera import waiting
from scripts.cluster.galera.membership import WAITING, Position, View, Writer, component, next_step, writer
from scripts.cluster.layout import Cluster
from scripts.cluster.servers import mariadb
from scripts.stack import SetupError, process_identity

HISTORY, OTHER = "11111111-0000-11ee-8000-000000000001", "22222222-0000-11ee-8000-000000000002"
ALL = {1: "run-1", 2: "run-2", 3: "run-3"}
FIRST = Writer(1, "run-1")


def waits(number: int, history: str = HISTORY) -> View:
    return View(state=WAITING, position=Position(history, number))


def inside(*, at: int = 90, **changed: object) -> View:
    """A member of the primary component that does not write."""
    known: dict[str, object] = {
        "state": "Synced",
        "position": Position(HISTORY, at),
        "is_primary": True,
        "is_ready": True,
        "configuration": 7,
        "reached": ALL,
        "writer": FIRST,
    }
    return View(**known | changed)  # type: ignore[arg-type]


def test_new_members_are_equal_and_the_first_founds_the_cluster():
    step = next_step({number: View(state=WAITING, position=Position()) for number in (1, 2, 3)})
    assert (step.action, step.members) == ("found", (1,))


def test_the_member_with_all_transactions_founds_the_cluster():
    step = next_step({1: waits(9), 2: waits(12), 3: waits(-1, "")})
    assert (step.action, step.members) == ("found", (2,))


def test_no_cluster_is_founded_while_a_member_is_silent_because_it_may_have_more():
    step = next_step({1: waits(9), 2: waits(12), 3: None})
    assert (step.action, step.members) == ("wait", (3,))
    assert "member 3 is not answering" in step.reason


def test_none_founds_the_cluster_when_histories_differ():
    step = next_step({1: waits(9), 2: waits(12, OTHER), 3: waits(9)})
    assert step.action == "refuse"
    assert f"member 2 is at 12 of {OTHER}" in step.reason
    assert "stop the cluster" in step.reason


def test_a_member_that_runs_and_lost_the_two_others_goes_on_once_both_are_known_to_have_no_more():
    alone = inside(at=12, is_primary=False, is_ready=False)
    assert next_step({1: waits(9), 2: alone, 3: None}).action == "wait"
    step = next_step({1: waits(9), 2: alone, 3: waits(12)})
    assert (step.action, step.members) == ("revive", (2,))


def test_members_that_run_and_lost_one_another_meet_again_by_themselves():
    alone = inside(is_primary=False, is_ready=False)
    step = next_step({1: alone, 2: alone, 3: waits(90)})
    assert (step.action, step.members) == ("wait", (1, 2))


def test_a_killed_member_that_had_committed_more_founds_the_cluster_rather_than_one_that_runs():
    alone = inside(at=12, is_primary=False, is_ready=False)
    step = next_step({1: waits(13), 2: alone, 3: waits(12)})
    assert (step.action, step.members) == ("found", (1,))


def test_the_first_writer_is_appointed_and_then_opened():
    views = {number: inside(writer=Writer()) for number in ALL}
    assert next_step(views).action == "appoint"
    named: dict[int, View | None] = {number: inside() for number in ALL}
    step = next_step(named)
    assert (step.action, step.members) == ("open", (1,))
    assert writer(named) is None
    named[1] = inside(is_open=True)
    assert next_step(named).action == "nothing"
    assert writer(named) == 1


def test_another_writer_waits_while_a_silent_one_is_still_in_the_component():
    step = next_step({1: None, 2: inside(), 3: inside()})
    assert (step.action, step.members) == ("wait", (1,))
    left = inside(reached={2: "run-2", 3: "run-3"}, configuration=8)
    step = next_step({1: None, 2: left, 3: left})
    assert (step.action, step.members) == ("appoint", (2,))


def test_a_writer_that_was_restarted_is_not_waited_for_because_it_may_take_long_to_join():
    joined = inside(reached=ALL | {1: "run-4"}, configuration=9)
    step = next_step({1: None, 2: joined, 3: joined})
    assert (step.action, step.members) == ("appoint", (2,))


def test_a_writer_that_returns_does_not_take_the_writing_back():
    reached = ALL | {1: "run-4"}
    second = Writer(2, "run-2")
    views: dict[int, View | None] = {
        number: inside(reached=reached, writer=second, is_open=number == 2) for number in ALL
    }
    assert next_step(views).action == "nothing"
    assert writer(views) == 2


def test_a_thawed_writer_that_believes_in_its_old_component_is_no_writer_beside_the_new_one():
    new = inside(configuration=8, reached={2: "run-2", 3: "run-3"}, writer=Writer(2, "run-2"))
    views: dict[int, View | None] = {
        1: inside(is_open=True),
        2: View(**{**vars(new), "is_open": True}),
        3: new,
    }
    assert writer(views) == 2
    assert sorted(component(views)) == [2, 3]
    step = next_step(views)
    assert (step.action, step.members) == ("close", (1,))


def test_a_planned_move_closes_the_old_writer_before_it_opens_the_new_one():
    second = Writer(2, "run-2")
    views: dict[int, View | None] = {number: inside(writer=second, is_open=number == 1) for number in ALL}
    step = next_step(views)
    assert (step.action, step.members) == ("close", (1,))
    assert writer(views) is None
    views[1] = inside(writer=second)
    step = next_step(views)
    assert (step.action, step.members) == ("open", (2,))


def test_no_writer_is_opened_while_a_member_that_might_be_open_is_silent_in_the_component():
    second = Writer(2, "run-2", frozenset({"run-1", "run-0"}))
    step = next_step({1: None, 2: inside(writer=second), 3: inside(writer=second)})
    assert (step.action, step.members) == ("wait", (1,))


def test_a_writer_is_opened_while_another_member_joins_and_is_silent_for_long():
    second = Writer(2, "run-2", frozenset({"run-1"}))
    joins = inside(writer=second, reached=ALL | {1: "run-4"})
    step = next_step({1: None, 2: joins, 3: joins})
    assert (step.action, step.members) == ("open", (2,))


def test_of_two_copies_of_the_row_that_of_the_member_counts_that_applied_more():
    behind, ahead = inside(at=90), inside(at=91, writer=Writer(3, "run-3"))
    step = next_step({1: behind, 2: ahead, 3: ahead})
    assert (step.action, step.members) == ("open", (3,))


def test_a_writer_that_copies_itself_to_another_member_goes_on_writing():
    views: dict[int, View | None] = {number: inside() for number in ALL}
    views[1] = inside(is_open=True, state="Donor/Desynced")
    views[3] = inside(state="Joiner", is_ready=False)
    assert next_step(views).action == "nothing"
    assert writer(views) == 1


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    found = Cluster(home=tmp_path, first_port=21000, database="mariadb")
    found.instance.run.mkdir()
    return found


def test_a_member_waits_as_long_as_its_process_lives(cluster: Cluster):
    waiting.announce(cluster, 2, Position(HISTORY, 5))
    assert waiting.position_of(cluster, 2) is None
    process_identity.write(cluster.instance.run, "mariadb-2")
    assert waiting.position_of(cluster, 2) == Position(HISTORY, 5)
    waiting.withdraw(cluster, 2)
    assert waiting.position_of(cluster, 2) is None


def test_an_order_to_found_is_for_the_process_that_waited_and_for_no_later_one(cluster: Cluster):
    process_identity.write(cluster.instance.run, "mariadb-2")
    waiting.order_to_found(cluster, 2)
    assert waiting.is_to_found(cluster, 2)
    order = cluster.instance.run / "mariadb-2.found"
    order.write_text(f"{os.getpid() + 1}\n")
    assert not waiting.is_to_found(cluster, 2)


@pytest.mark.parametrize(
    ("state", "position"),
    [
        (f"version: 2.1\nuuid:    {HISTORY}\nseqno:   17\n", Position(HISTORY, 17)),
        (None, Position()),
    ],
)
def test_a_member_that_was_stopped_knows_its_position(
    cluster: Cluster, state: str | None, position: Position
):
    data = cluster.folder("mariadb-1") / "data"
    data.mkdir(parents=True)
    if state is not None:
        (data / "grastate.dat").write_text(state)
    assert mariadb.recovered_position(cluster, 1) == position


def test_a_killed_member_whose_position_can_not_be_read_is_not_taken_for_an_empty_one(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("scripts.cluster.packages.program", lambda name: "/bin/false")
    data = cluster.folder("mariadb-1") / "data"
    data.mkdir(parents=True)
    (data / "grastate.dat").write_text(f"uuid: {HISTORY}\nseqno: -1\n")
    with pytest.raises(SetupError, match="position of mariadb-1 can't be recovered"):
        mariadb.recovered_position(cluster, 1)
