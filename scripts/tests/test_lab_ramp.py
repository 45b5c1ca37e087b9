"""The steps of a ramp and the name of its wall, by figures and series that are known."""

import re
from collections.abc import Iterator
from typing import Any

from scripts.lab import figures, panels, ramp, wall
from scripts.tests.test_lab import METRICS
from shop.observability import catalogue
from shop.tests.case_tables import in_one_test

METRIC = re.compile(r"\b(?:firstcome|django)_\w+")
JUDGED = {"served": {"count": 99}, "failed": {"count": 1}}
QUIET = {
    "processor": {"web": 0.5, "mariadb": 0.3, "redis": 0.1, "k6": 0.2},
    "processes": {"web": 2, "worker": 1, "redis": 1},
    "connections": {"open": 100, "running a statement": 5},
    "locks": {"waiting": 0.4, "deadlocks a second": 0},
    "threads": {"web: calls": 20, "worker: sagas": 3},
    "pools": {"web: calls": 96, "worker: sagas": 16},
    "queued": {"web: calls": 0, "worker: sagas": 0},
    "batches": {"orders": 12},
    "batching": {"orders": 0.7},
    "gc": {"web": 3, "worker": 1},
    "redis_state": {"memory, MiB": 30, "ping, ms": 0.2},
    "bounds": {"connections": 288, "memory of Redis, MiB": 0, "cores": 4},
}


def test_a_step_of_a_ramp_is_judged_after_its_warm_up():
    step = figures.judged(METRICS | JUDGED, 10, seconds=5, warm_up=2)
    assert (step["vus"], step["per_second"], step["failed"]) == (10, 49.5, 0.01)
    assert (step["p50_ms"], step["p95_ms"], step["p99_ms"], step["max_ms"]) == (10, 400, 99, 120)
    assert (step["from"], step["to"]) == (1_002, 1_004)
    within = figures.judged(METRICS | JUDGED, 10, seconds=3.5, warm_up=2)
    assert (within["per_second"], within["to"]) == (66, 1_003.5)
    none = figures.judged({}, 10, seconds=5, warm_up=2)
    assert (none["per_second"], none["failed"], none["p95_ms"]) == (0, 0, 0)


@in_one_test(
    ("change", "said"),
    [
        ({}, ""),
        ({"p95_ms": 501}, "p95 is over 500 ms"),
        ({"failed": 0.02}, "2.0% of the buyers don't get their order"),
        ({"per_second": 0, "p95_ms": 0}, "no buyer gets an order"),
    ],
)
def test_a_step_is_too_much_if_it_is_slow_or_fails(change, said):
    step = {"p95_ms": 500, "failed": 0.01, "per_second": 7}
    assert ramp.too_much(step | change, 500) == said


def series(means: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Ten seconds of nothing, ten seconds of these values, and again nothing."""
    return {
        "start": 5_000.0,
        "every": 2,
        "panels": {
            panel: {line: [None, *[0.0] * 4, *[value] * 6, *[0.0] * 4] for line, value in lines.items()}
            for panel, lines in means.items()
        },
    }


def name(means: dict[str, dict[str, float]]) -> dict[str, Any]:
    return wall.name_wall(panels.means(series(means), start=5_010.0, end=5_020.0))


def with_changes(changes: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    return {panel: lines | changes.get(panel, {}) for panel, lines in QUIET.items()}


def test_means_are_of_the_step_alone():
    read = series({"processor": {"web": 0.5}, "locks": {"waiting": 7}})
    assert panels.means(read, start=5_010, end=5_020) == {"processor": {"web": 0.5}, "locks": {"waiting": 7}}
    assert panels.means(read, start=5_002, end=5_008.5) == {"processor": {"web": 0}, "locks": {"waiting": 0}}
    assert panels.means(read, start=4_000, end=5_000) == {"processor": {}, "locks": {}}


def test_nothing_at_a_bound_is_not_named():
    assert name(QUIET) == {
        "name": "not named",
        "says": "1.10 of 4 cores are busy: web 0.50, mariadb 0.30, k6 0.20, redis 0.10",
        "also": [],
    }


@in_one_test(
    ("changes", "said"),
    [
        (
            {"processor": {"web": 1.7, "mariadb": 1.7}},
            (
                "the processor",
                "3.70 of 4 cores are busy: web 1.70, mariadb 1.70, k6 0.20, redis 0.10",
            ),
        ),
        (
            {"processor": {"other programs": 2.7}},
            ("other programs of the machine", "3.80 of 4 cores are busy: other programs 2.70, web 0.50"),
        ),
        (
            {"processor": {"web": 1.9}},
            (
                "one core of a process",
                "each process of web, 2 in all, computes 95% of the time on its core",
            ),
        ),
        (
            {"processor": {"redis": 0.97}},
            ("one core of a process", "each process of redis, 1 in all, computes 97%"),
        ),
        ({"connections": {"open": 287}}, ("connections of the database", "287 of 288 are open")),
        (
            {"connections": {"running a statement": 40}, "locks": {"waiting": 31.5}},
            ("lock waits", "of 40.0 sessions with a statement 31.5 wait for a row"),
        ),
        (
            {"batching": {"orders": 1.94}},
            ("batches", "orders executes a batch 97% of the time, of 12 requests"),
        ),
        (
            {"threads": {"worker: sagas": 16}, "queued": {"worker: sagas": 9}},
            ("threads", "16 of 16 are busy in worker: sagas, and 9 tasks wait for one"),
        ),
        (
            {"redis_state": {"memory, MiB": 98}, "bounds": {"memory of Redis, MiB": 100}},
            ("memory of Redis", "98 of 100 MiB are used"),
        ),
        ({"gc": {"web": 30}}, ("garbage collection", "web stands still for 15 % of the time")),
    ],
)
def test_the_wall_is_named_by_what_is_at_its_bound(changes, said):
    found = name(with_changes(changes))
    assert found["name"] == said[0] and found["says"].startswith(said[1]) and found["also"] == []


def test_all_threads_busy_is_no_wall_while_no_task_waits():
    assert name(with_changes({"threads": {"web: calls": 96}}))["name"] == wall.NOT_NAMED


def test_the_processor_comes_before_what_else_is_at_its_bound():
    found = name(with_changes({"processor": {"web": 3.5}, "connections": {"open": 288}}))
    assert found["name"] == "the processor"
    assert found["also"] == [
        "one core of a process (each process of web, 2 in all, computes 175% of the time on its core)",
        "connections of the database (288 of 288 are open)",
    ]


def test_a_shop_without_a_metric_is_judged_by_the_others():
    assert name({"bounds": {"cores": 4}, "locks": {"waiting": 3}})["name"] == "lock waits"
    assert name({"bounds": {"cores": 4}})["says"] == "0.00 of 4 cores are busy: "


def test_the_panels_ask_for_metrics_that_the_shop_exposes():
    asked = {
        name for panel in panels.PANELS for query in panel.queries.values() for name in METRIC.findall(query)
    }
    exposed = {name for definition in catalogue.definitions().values() for name in names_of(definition)}
    assert asked and asked <= exposed


def names_of(definition: catalogue.Definition) -> Iterator[str]:
    yield definition.name
    if definition.kind == "histogram":
        yield from (f"{definition.name}_{part}" for part in ("sum", "count"))
