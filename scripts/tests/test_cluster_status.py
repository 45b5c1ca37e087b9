"""The lines of `make cluster-status`: what servers answer, and what they mean."""

from datetime import UTC, datetime, timedelta

from scripts.cluster import findings, status
from scripts.cluster.findings import Finding

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


def test_a_queue_that_no_worker_has_made_is_missing():
    assert findings.rabbitmq_queues([]) == [Finding("queue", "no worker has made it yet", is_well=False)]


def test_the_beat_that_acts_is_named_by_its_folder():
    holder = "host:/somewhere/cluster/data/beat-2/schedule"
    acting = findings.acting_beat(holder, NOW + timedelta(seconds=4), NOW)
    assert acting == Finding("acting", "beat-2, its lease runs 4.0 s more")
    lapsed = findings.acting_beat(holder, NOW - timedelta(seconds=3), NOW)
    assert lapsed == Finding("acting", "none: the lease of beat-2 lapsed 3.0 s ago", is_well=False)


def test_what_is_missing_is_marked():
    text = status.table(
        {"MySQL": [Finding("mysql-1", "ONLINE PRIMARY"), Finding("mysql-2", "silent", is_well=False)]}
    )
    assert text == "MySQL\n  mysql-1  ONLINE PRIMARY\n! mysql-2  silent"
