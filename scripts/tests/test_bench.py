"""The benchmark's parts on figures that are known: goals, ratios, the table, the page, the report."""

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.bench import __main__ as bench
from scripts.bench import sizes, stage, watching
from scripts.bench.load import Figures, Measured, Run, null_around, single, summed_up
from scripts.bench.report import documents, page
from scripts.bench.report.page import Report
from scripts.bench.rows import ROWS, Goal
from scripts.bench.workloads import beside, connections
from scripts.bench.workloads.connections import Answer, Answers
from scripts.stack import SetupError, places
from scripts.stack import instance as instances
from scripts.stack.instance import Instance

CIRCUMSTANCES = {
    "commit": "abc1234",
    "circumstances": {
        "cores": 2,
        "memory_gib": 4,
        "processor": "a fast one",
        "system": "Linux",
        "load_before": 0.1,
        "versions": {"MariaDB": "10.11", "Django": "5.2"},
    },
    "seconds": 120,
    "buyers": [
        {"load": load, "vus": vus, "per_second": 1000, "p95_ms": 20}
        for vus in (10, 100)
        for load in ("null", "coupon", "orders")
    ],
    "tables": [
        {"coupons": coupons, "per_second": 500, "p95_ms": 20, "of_null": 0.5} for coupons in (0, 1_000_000)
    ],
}


def run(row: str, per_second: float, *, p95_ms: float = 20, max_ms: float = 60, errors: int = 0) -> Run:
    figures = Figures(
        seconds=1,
        requests=round(per_second) + errors,
        errors=errors,
        statuses={},
        p50_ms=10,
        p95_ms=p95_ms,
        max_ms=max_ms,
        k6_cores=0.4,
    )
    return Run(row=row, figures=figures)


def a_round(coupon: float, pessimistic: float = 900, null: float = 10_000) -> list[Run]:
    return [run("null", null), run("coupon", coupon), run("pessimistic", pessimistic), run("null", null)]


def grown(of_empty: float) -> Measured:
    return Measured(row="growth", figures={"per_second": 100, "of_empty": of_empty})


def reported(*measured: Measured, size: sizes.Size = sizes.FULL) -> Report:
    return page.report(size, measured, CIRCUMSTANCES)


def goal(row: str, figure: str, *measured: Measured) -> dict:
    [found] = [one for one in reported(*measured)["rows"] if one["row"] == row]
    return next(one for one in found["goals"] if one["figure"] == figure)


def test_the_shop_takes_the_settings_of_the_benchmark() -> None:
    environment = os.environ | stage.SETTINGS | {"DJANGO_SETTINGS_MODULE": "shop.settings"}
    command = [sys.executable, "-c", "import django; django.setup()"]
    ended = subprocess.run(
        command, cwd=places.PROJECT, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr


# --- goals ---


def test_every_goal_of_the_work_is_there():
    goals = {(row, one.figure): one.least or one.below for row in ROWS for one in ROWS[row].goals}
    assert goals == {
        ("coupon", "per_second"): 5_000,
        ("coupon", "p95_ms"): 50,
        ("alone", "per_second"): 12_000,
        ("limits", "coupon_microseconds"): 15,
        ("limits", "order_microseconds"): 15,
        ("connections", "p95_ms"): 3_000,
        ("crowd", "p95_ms"): 200,
        ("orders", "per_second"): 3_000,
        ("orders", "p95_ms"): 100,
        ("hot_orders", "per_second"): 3_000,
        ("hot_orders", "p95_ms"): 100,
        ("shared_orders", "of_issued"): 0.8,
        ("hot_crowd", "p95_ms"): 700,
        ("hot_crowd", "max_ms"): 3_000,
        ("paid", "per_second"): 300,
        ("paid", "p95_ms"): 500,
        ("accepted_card", "oldest_waiting_seconds"): 5,
        ("accepted", "oldest_waiting_seconds"): 5,
        ("growth", "of_empty"): 0.9,
        ("waiting", "waiting_kib"): 32,
        ("waiting", "waiting_cores"): 0.1,
        ("waiting", "of_null_alone"): 1.5,
        ("sale_entries", "per_second"): 834,
        ("sale_poll", "of_null_processor"): 1.1,
        ("sale_poll", "statements"): 0.05,
        ("sale_poll_wait", "p95_ms"): 2_000,
        ("sale_poll_wait", "max_ms"): 2_000,
        ("sale_estimate", "estimate_error"): 0.2,
        ("sale_order", "of_plain_order"): 1.1,
        ("board", "viewers_cores"): 0.01,
        ("staff_pages", "max_ms"): 200,
        ("null_key", "of_null_processor"): 1.1,
        ("null_key", "statements"): 0.05,
        ("audit", "seconds"): 60,
        ("memory", "peak_mib"): 250,
        ("memory", "connections_share"): 1,
    }


@pytest.mark.parametrize(
    ("one", "number", "is_met"),
    [
        (Goal(figure="of_empty", least=0.9), 0.9, True),
        (Goal(figure="of_empty", least=0.9), 0.899, False),
        (Goal(figure="p95_ms", below=50), 49.9, True),
        (Goal(figure="p95_ms", below=50), 50, False),
    ],
)
def test_a_bound_itself_is_enough_and_not_below(one: Goal, number: float, is_met: bool):
    assert one.is_met(number) is is_met


def test_a_ratio_below_its_goal_fails_the_command(capsys: pytest.CaptureFixture[str]):
    assert bench.conclude(reported(grown(0.89))) == 1
    said = capsys.readouterr()
    assert "FAILED coupon, table filled: 0.89 × empty, and the goal is ≥ 0.90" in said.err
    assert bench.conclude(reported(grown(0.9))) == 0


def test_a_ratio_to_null_is_shown_and_fails_nothing(capsys: pytest.CaptureFixture[str]):
    assert bench.conclude(reported(*summed_up(a_round(100)))) == 0
    assert "0.01 × null; 0.11 × pessimistic" in capsys.readouterr().out


def test_an_absolute_goal_that_is_missed_is_shown_and_fails_nothing(capsys: pytest.CaptureFixture[str]):
    report = reported(*summed_up(a_round(600, pessimistic=90, null=1_000)))
    assert bench.conclude(report) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "600/s ≥ 5,000 not here" in lines
    assert "p95 20 ms < 50 yes" in lines


def test_a_finding_fails_the_command_however_fast_it_was(capsys: pytest.CaptureFixture[str]):
    broken = Measured(row="audit", figures={"seconds": 3}, findings=["audit: L1 is broken: [7]"])
    assert bench.conclude(reported(*summed_up(a_round(9_000)), broken)) == 1
    assert "FAILED audit: L1 is broken: [7]" in capsys.readouterr().err


def test_a_quick_run_says_that_its_ratios_are_noisy_and_checks_them(capsys: pytest.CaptureFixture[str]):
    assert bench.conclude(reported(grown(0.5), size=sizes.QUICK)) == 1
    assert "its ratios are noisy" in capsys.readouterr().out
    bench.conclude(reported(*summed_up(a_round(9_000))))
    assert "noisy" not in capsys.readouterr().out


# --- figures ---


def test_a_run_is_compared_with_null_just_before_and_after_it():
    runs = [run("null", 100), run("coupon", 50), run("orders", 10), run("null", 300), run("null", 900)]
    assert null_around(runs, 1) == null_around(runs, 2) == 200


def test_a_row_is_the_median_of_its_rounds_with_their_bounds_and_the_longest_of_all():
    runs = a_round(6_000) + a_round(3_000) + a_round(9_000)
    runs[1] = run("coupon", 6_000, max_ms=4_000)
    [coupon] = [one for one in summed_up(runs) if one.row == "coupon"]
    assert coupon.figures["of_null"] == 0.6
    assert coupon.spread["of_null"] == (0.3, 0.9)
    assert coupon.figures["max_ms"] == 4_000
    assert coupon.figures["of_pessimistic"] == pytest.approx(6_000 / 900)


def test_orders_with_a_shared_code_are_compared_with_those_with_issued_coupons_of_their_round():
    rounds = []
    for issued, shared in ((1_000, 800), (2_000, 2_000)):
        null = run("null", 10_000)
        rounds += [null, run("coupon_orders", issued), run("shared_orders", shared), null]
    [shared] = [one for one in summed_up(rounds) if one.row == "shared_orders"]
    assert shared.spread["of_issued"] == (0.8, 1)


def test_each_round_is_compared_with_its_own_pessimistic():
    rounds = a_round(4_000, pessimistic=400) + a_round(4_000, pessimistic=1_000)
    [coupon] = [one for one in summed_up(rounds) if one.row == "coupon"]
    assert coupon.spread["of_pessimistic"] == (4, 10)


def test_only_what_was_answered_as_asked_counts():
    [_, coupon, *_] = [*summed_up([run("null", 1_000), run("coupon", 500, errors=100), *a_round(1)])]
    assert coupon.spread["per_second"] == (1, 500)


def coupons_that_took(**microseconds: float) -> list[Run]:
    coupon = run("coupon", 270)
    took = replace(coupon, figures=replace(coupon.figures, microseconds=microseconds))
    return [run("null", 500), took, run("null", 500)]


def test_growth_compares_shares_of_null():
    empty = beside.step(0, [run("null", 1_000), run("coupon", 600), run("null", 1_000)])
    full = beside.step(5, [run("null", 500), run("coupon", 270), run("null", 500)])
    assert (empty["of_null"], full["of_null"]) == (0.6, 0.54)
    assert goal("growth", "of_empty", beside.compared(empty, full))["is_met"]
    slower = beside.step(5, [run("null", 500), run("coupon", 269), run("null", 500)])
    assert not goal("growth", "of_empty", beside.compared(empty, slower))["is_met"]


def test_growth_shows_what_a_coupon_takes_of_the_processors_of_the_shop():
    empty = beside.step(0, coupons_that_took(web=300, mariadb=150, redis=0, worker=1, k6=1))
    full = beside.step(5, coupons_that_took(web=300, mariadb=180, redis=20, worker=900, k6=900))
    assert beside.compared(empty, full).says.endswith("500 µs of processor a coupon for 450")


def test_a_load_that_nothing_answers_has_figures_and_misses_its_goals():
    measured = summed_up(a_round(0, pessimistic=0, null=0))
    assert not goal("coupon", "per_second", *measured)["is_met"]
    [coupon] = [one for one in measured if one.row == "coupon"]
    assert (coupon.figures["of_null"], coupon.figures["of_pessimistic"]) == (0, 0)


def test_what_a_request_took_is_shown_by_process_as_the_median_of_the_rounds():
    took = [{"web": 200.0, "k6": 90.0}, {"web": 900.0, "k6": 95.0}, {"web": 210.0, "k6": 80.0}]
    runs = [
        replace(run("null", 1), figures=replace(run("null", 1).figures, microseconds=one)) for one in took
    ]
    [null] = summed_up(runs)
    assert null.says == "µs of processor a request: 210 in web, 90 in k6 (its start included)"
    assert watching.of_each({"web": 1.0}, {"web": 1.5}, requests=1_000) == {"web": 500}
    assert watching.of_each({"web": 1.0}, {"web": 1.5}, requests=0) == {}


def test_processor_time_is_found_by_the_names_of_processes(tmp_path: Path):
    """Redis overwrites the mark in its environment, so it is known by the id that was written down."""
    (tmp_path / "run").mkdir()
    code = (
        "import sys, time; from pathlib import Path; from scripts.stack import process_identity\n"
        "process_identity.write(Path(sys.argv[1]), 'redis')\n"
        "while time.process_time() < 0.5: pass\n"
        "print('done', flush=True); sys.stdin.read()"
    )
    busy = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "run")],
        cwd=places.PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert busy.stdout.readline() == b"done\n"
        spent = watching.spent(Instance(home=tmp_path, port=1, database="mariadb"))
    finally:
        busy.communicate(timeout=20)
    assert 0.4 < spent.pop("redis") < 5
    assert set(spent.values()) == {0}


# --- open connections ---


def answers(*statuses: int, refused: int = 0, has_retry_after: bool = True) -> Answers:
    each = [Answer(status=status, has_retry_after=has_retry_after, seconds=0.5) for status in statuses]
    return Answers(refused=refused, answers=each, seconds=1)


@pytest.mark.parametrize(
    ("came", "issued", "says"),
    [
        (answers(201, 201, 409), 2, ""),
        (answers(201, 201, 503), 2, ""),
        (answers(201, 409, 503), 1, "of 2 coupons 1 are issued"),
        (answers(201, 201, 201), 3, "of 2 coupons 3 are issued"),
        (answers(201, 409), 2, "1 were answered 201"),
        (answers(201, 201, refused=1), 2, "1 connections were refused"),
        (answers(201, 201, 0), 2, "1 requests were left without an answer"),
        (answers(201, 201, 500), 2, "other than 201, 409, 503: 1 x 500"),
        (answers(201, 201, 503, has_retry_after=False), 2, "503 without Retry-After"),
    ],
)
def test_what_must_not_become_of_open_connections(came: Answers, issued: int, says: str):
    found = list(connections.findings(came, quantity=2, issued=issued))
    assert (len(found), says in "".join(found)) == (1 if says else 0, True)


def test_answers_on_open_connections_are_the_figures_of_a_load():
    figures = connections.figures(answers(201, 409, 409, 503, 0), expected=(201, 409))
    assert (figures.requests, figures.errors, figures.statuses) == (5, 2, {"503": 1, "0": 1})
    assert (figures.per_second, figures.p95_ms) == (3, 500)


def test_a_share_of_the_answers_came_within_a_time():
    each = [Answer(status=201, has_retry_after=False, seconds=number / 100) for number in range(1, 101)]
    came = Answers(refused=0, answers=each, seconds=1)
    assert (came.percentile_ms(0.5), came.percentile_ms(0.95), came.percentile_ms(1)) == (510, 960, 1000)
    assert answers().percentile_ms(0.95) == 0


# --- the report ---


def test_the_report_of_each_size_is_kept_beside_the_other(tmp_path: Path):
    file = tmp_path / "bench.json"
    full, quick = (reported(*summed_up(a_round(6_000)), size=size) for size in (sizes.FULL, sizes.QUICK))
    page.keep(full, file=file)
    page.keep(quick, file=file)
    page.keep(full | {"commit": "def5678"}, file=file)
    found = page.read(file)
    assert {name: report["commit"] for name, report in found.items()} == {
        "full": "def5678",
        "quick": "abc1234",
    }
    assert found["full"]["circumstances"]["versions"]["MariaDB"] == "10.11"


def test_a_file_that_is_no_report_is_named(tmp_path: Path):
    (tmp_path / "bench.json").write_text('{"full": 7}')
    with pytest.raises(SetupError, match=r"bench\.json can't be read"):
        page.read(tmp_path / "bench.json")
    assert page.read(tmp_path / "none.json") == {}


def test_rows_are_shown_in_their_order_with_what_each_has():
    measured = [
        Measured(row="audit", figures={"seconds": 12, "command_mib": 80}, says="12 of 12 laws hold"),
        *summed_up(a_round(6_000)),
        single(run("crowd", 1_900, p95_ms=210)),
    ]
    lines = list(page.lines(reported(*measured)["rows"]))
    assert [line[0] for line in lines if line[0]] == [
        "null endpoint",
        "coupon, group_commit",
        "coupon, pessimistic",
        "crowd",
        "audit",
    ]
    assert ("", "p95 210 ms", "< 200", "not here") in lines
    assert ("audit", "at most 80 MiB", "", "") in lines
    assert ("", "12 of 12 laws hold", "", "") in lines


def test_a_terminal_has_room_for_the_table():
    measured = Measured(row="paid", figures=dict.fromkeys(("per_second", "p95_ms"), 1), says="word " * 60)
    lines = page.printed(reported(measured, *summed_up(a_round(6_000) * 2))["rows"]).splitlines()
    assert max(map(len, lines)) < 120
    assert sum(line.count("word") for line in lines) == 60


def test_the_page_shows_the_last_full_run_and_what_each_row_calls():
    full = page.read().get("full")
    shown = [documents.inside(page.PAGE, marks) for marks in (page.CALLS, page.FIGURES)]
    assert shown == [page.calls(), page.summary(full)]
    assert documents.inside(page.WHOLE_PAGE, page.FIGURES) == page.figures(full)


def test_the_page_is_written_between_its_marks(tmp_path: Path):
    there = tmp_path / "page.md"
    there.write_text(
        "outdated\n".join(
            [
                "before\n" + page.CALLS[0],
                page.CALLS[1] + "between\n" + page.FIGURES[0],
                page.FIGURES[1] + "after\n",
            ]
        )
    )
    whole = tmp_path / "whole.md"
    whole.write_text("outdated\n".join(["before\n" + page.FIGURES[0], page.FIGURES[1] + "after\n"]))
    report = reported(*summed_up(a_round(6_000)), grown(0.8))
    page.write(report, page=there, whole=whole)
    text, all_figures = there.read_text(), whole.read_text()
    assert "outdated" not in text + all_figures
    for kept in ("before\n", "between\n", "after\n", "6,000/s; p95 20 ms | met |", " | missed: ≥ 0.90 |"):
        assert kept in text
    for kept in ("before\n", "after\n", "| p95 20 ms | < 50 | yes |"):
        assert kept in all_figures
    shown = [documents.inside(there, marks) for marks in (page.CALLS, page.FIGURES)]
    assert shown == [page.calls(), page.summary(report)]
    assert documents.inside(whole, page.FIGURES) == page.figures(report)


def test_the_plots_are_drawn_the_same_each_time(tmp_path: Path):
    report = reported(*summed_up(a_round(6_000)))
    page.draw(report, folder=tmp_path / "one")
    page.draw(report, folder=tmp_path / "two")
    for name in ("buyers.svg", "table.svg"):
        drawn = (tmp_path / "one" / name).read_text()
        assert drawn == (tmp_path / "two" / name).read_text()
        assert "</svg>" in drawn


def test_rows_that_go_together_are_measured_if_one_of_them_is_asked_for(tmp_path: Path):
    instance = instances.choose(home=tmp_path, port="21000", database="mariadb")
    one = bench.Bench(instance, sizes.QUICK, ["board"])
    for rows in (["board", "staff_pages"], ["growth"]):
        one.part("…", rows, lambda rows=rows: [Measured(row=rows[0], figures={})])
    assert [measured.row for measured in one.measured] == ["board"]


@pytest.mark.parametrize("arguments", [["--rounds", "0"], ["--rounds", "five"], ["--rows", "coupons"]])
def test_arguments_that_make_no_sense_are_refused(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(sys, "argv", ["bench", *arguments])
    with pytest.raises(SystemExit) as exit:
        bench.main()
    assert exit.value.code == 2
    assert re.search("ROUNDS is a number|ROWS=coupons is not measured", capsys.readouterr().err)
