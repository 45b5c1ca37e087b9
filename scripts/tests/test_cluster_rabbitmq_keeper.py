"""Which node of RabbitMQ is restarted, and when: one that is apart from the others for long enough."""

from pathlib import Path

import pytest

from scripts.cluster import findings
from scripts.cluster.layout import Cluster
from scripts.cluster.rabbitmq_keeper import APART_SECONDS, RESTART_SECONDS, Keeper, Views, apart

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


@pytest.mark.parametrize(
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
