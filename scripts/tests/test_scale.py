"""The simulation of many nodes: it follows from its inputs, and from what was measured on one machine."""

from dataclasses import replace

import pytest

from scripts.bench.report import documents
from scripts.scale import calibration, page, probe, results
from scripts.scale.model import Layout, Work, simulate

WORK = Work(
    outside_batch=0.0,
    outside_request=0.0,
    outside_idle=0.0,
    python_batch=0.001,
    python_request=0.00002,
    database_batch=0.001,
    database_request=0.00005,
    idle=0.0005,
    commit=0.001,
    handover=0.0002,
    edge=0.0002,
    interval=0.0,
    most_in_batch=256,
)
MEASURED = results.read()
LAYOUT = Layout(nodes=1, lanes=1, latency=0.0, buyers=100, processors=32)


def test_one_buyer_waits_for_each_part_of_its_batch_in_turn() -> None:
    outcome = simulate(WORK, replace(LAYOUT, buyers=1))
    assert outcome.per_batch == 1
    assert outcome.per_second == pytest.approx(1 / (WORK.lane_seconds(1, latency=0) + WORK.edge), rel=0.01)


def test_a_row_never_gives_more_than_full_batches_one_after_the_other() -> None:
    for latency in (0.001, 0.02):
        most = WORK.most_in_batch / WORK.lane_seconds(WORK.most_in_batch, latency=latency)
        outcome = simulate(WORK, replace(LAYOUT, nodes=16, buyers=500, latency=latency))
        assert 0.8 * most < outcome.per_second <= most
        assert outcome.lock_share > 0.9


def test_independent_rows_add_up_until_the_database_is_busy() -> None:
    layout = replace(LAYOUT, nodes=8, latency=0.02, buyers=2_400)
    one, four = (simulate(WORK, replace(layout, lanes=lanes)).per_second for lanes in (1, 4))
    assert 3.5 * one < four <= 4.1 * one
    busy = simulate(WORK, replace(layout, lanes=16, processors=1))
    assert busy.database_share > 0.95


def test_on_one_machine_nodes_and_database_share_the_processors() -> None:
    apart = simulate(WORK, replace(LAYOUT, nodes=4, lanes=4, processors=2))
    together = simulate(WORK, replace(LAYOUT, nodes=4, lanes=4, processors=2, is_one_machine=True))
    assert together.per_second < 0.8 * apart.per_second


def test_the_same_seed_gives_the_same_outcome() -> None:
    layout = replace(LAYOUT, nodes=3, lanes=5)
    assert simulate(WORK, layout, seed=7) == simulate(WORK, layout, seed=7)


def test_costs_are_found_again_in_runs_with_batches_of_different_sizes() -> None:
    work = replace(WORK, outside_batch=0.0001, outside_request=0.00001, outside_idle=0.0003)
    runs = [_run(work, size) for size in (1, 10, 50, 200)]
    found = calibration.work_from(runs, commit=WORK.commit, handover=WORK.handover)
    for name, expected in vars(work).items():
        assert getattr(found, name) == pytest.approx(expected, abs=1e-9), name


def _run(work: Work, size: int) -> dict[str, float]:
    wall, python = work.lane_seconds(size, latency=0), work.python_batch + size * work.python_request
    outside = work.outside_batch + size * work.outside_request
    return {
        "per_batch": size,
        "batch_seconds": wall + outside + work.outside_idle,
        "batch_python_seconds": python + outside,
        "transaction_seconds": wall,
        "transaction_python_seconds": python,
        "python_seconds": python + outside + size * work.edge,
        "database_seconds": work.database_batch + size * work.database_request,
        "interval": work.interval,
    }


def test_a_hand_over_counts_only_where_the_next_process_already_waited() -> None:
    turns = [(0.0, 0.1, 1.0), (0.5, 1.25, 2.0), (2.5, 2.6, 3.0)]
    assert probe.handovers(turns) == [0.25]


@pytest.mark.parametrize("place", range(len(MEASURED.points)))
def test_the_simulation_is_near_each_measured_point(place: int) -> None:
    point = MEASURED.points[place]
    assert point.simulated(MEASURED) == pytest.approx(point.per_second, rel=results.TOLERANCE)


def test_an_error_that_rounds_to_zero_has_no_minus() -> None:
    assert [page.percent(error) for error in (-0.234, -0.004, 0.004, 0.1)] == ["-23%", "+0%", "+0%", "+10%"]


def test_the_page_has_the_last_measurement() -> None:
    assert documents.inside(page.PAGE, page.INPUTS) == page.inputs(MEASURED)
    assert documents.inside(page.PAGE, page.COSTS) == page.cost_tables(MEASURED)
