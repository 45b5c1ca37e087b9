"""The loads beside those of another commit: which commit that is, the arithmetic, the goals and the table."""

import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scripts.bench import against, commits, sizes
from scripts.bench.load import Figures, Run
from scripts.bench.report import comparison
from scripts.bench.report.comparison import Round
from scripts.bench.rows import COMPARED, ROWS
from scripts.bench.workloads import paying
from scripts.bench.workloads.paying import LOADS, Orders
from scripts.stack import database
from scripts.stack.instance import Instance
from shop.tests.case_tables import in_one_test

SOME_COMMIT = commits.Commit(sha="0" * 40, name="HEAD")
BEGAN_AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
FIGURES = Figures(
    seconds=10,
    requests=1_000,
    errors=0,
    statuses={},
    p50_ms=50,
    p95_ms=100,
    max_ms=200,
    k6_cores=0.2,
    microseconds={"web": 800.0, "worker": 1_200.0},
)


def a_run(row: str, per_second: float = 100, p95_ms: float = 100, **others: float) -> Run:
    figures = replace(FIGURES, requests=round(per_second * FIGURES.seconds), p95_ms=p95_ms)
    defaults = {
        "settled_per_second": 100,
        "oldest_waiting_seconds": 1,
        "overloaded": 0,
        "processor": 2_000,
        "peak_mib": 200,
    }
    return Run(row=row, figures=figures, others=defaults | others)


def orders(*, placed: int = 1_000, paid: int = 1_000, redeemed: int = 0, seconds: float = 10) -> Orders:
    return Orders(
        placed=placed,
        paid=paid,
        redeemed=redeemed,
        first_placed_at=BEGAN_AT,
        last_paid_at=BEGAN_AT + timedelta(seconds=seconds),
    )


def figure(row: comparison.Compared, name: str) -> comparison.Compared:
    return next(one for one in row["figures"] if one["figure"] == name)


# --- the other commit ---


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A project of two commits; the second has other requirements."""
    project = tmp_path / "project"
    (project / "scripts").mkdir(parents=True)
    (project / "scripts" / "bootstrap.py").write_text("raise SystemExit('no network here')\n")
    (project / "requirements.txt").write_text("one==1\n")
    (project / ".gitignore").write_text(".venv/\n")
    git(project, "init", "--quiet", "--initial-branch", "main")
    commit(project, "first")
    git(project, "tag", "first")
    (project / "requirements.txt").write_text("one==2\n")
    commit(project, "second")
    (project / ".venv").mkdir()
    return project


def git(project: Path, *words: str) -> str:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
    ran = subprocess.run(["git", *identity, *words], cwd=project, capture_output=True, text=True, check=True)
    return ran.stdout.strip()


def commit(project: Path, message: str) -> None:
    git(project, "add", ".")
    git(project, "commit", "--quiet", "--message", message)


@pytest.mark.boots("git")
@in_one_test("name", ["first", "main~1", "HEAD^", "full hash", "short hash"])
def test_a_commit_is_found_by_hash_branch_and_tag(repository: Path, name: str):
    sha = git(repository, "rev-parse", "first")
    name = {"full hash": sha, "short hash": sha[:8]}.get(name, name)
    assert commits.find(name, project=repository) == commits.Commit(sha=sha, name=name)


@pytest.mark.boots("git")
def test_a_checkout_shares_the_environment_and_is_removed_at_the_end(repository: Path, tmp_path: Path):
    head = commits.find("HEAD", project=repository)
    with commits.checked_out(head, tmp_path / "other", project=repository) as folder:
        assert (folder / "requirements.txt").read_text() == "one==2\n"
        assert (folder / ".venv").resolve() == repository / ".venv"
    assert not folder.exists()
    assert git(repository, "worktree", "list").count("\n") == 0
    assert (repository / ".venv").is_dir()


def test_every_row_that_is_compared_has_a_load_and_its_figures_have_its_goals():
    assert set(against.LOADS) == set(COMPARED)
    for row in COMPARED:
        names = [one.name for one in comparison.figures_of(row)]
        assert {goal.figure for goal in ROWS[row].against} <= set(names)


def test_both_stacks_are_loaded_in_turn_and_the_order_changes_each_round(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    loaded = []

    def measure(here, row, stages):
        loaded.append((row, here))
        return a_run(row, 200 if here == "mine" else 100)

    monkeypatch.setattr(against, "measure_alone", measure)
    one = against.Comparison(SOME_COMMIT, sizes.AGAINST_QUICK, tmp_path, ["null", "coupon"])
    one.measure("mine", "theirs")
    first = [("null", "mine"), ("null", "theirs"), ("coupon", "mine"), ("coupon", "theirs")]
    second = [("null", "theirs"), ("null", "mine"), ("coupon", "theirs"), ("coupon", "mine")]
    assert loaded == first + second
    assert all(one.this.figures.per_second == 200 for one in one.rounds)


def test_a_load_that_begins_beside_a_backlog_is_a_finding(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    class Stage:
        instance = Instance(home=tmp_path, port=1, database="mariadb")

    monkeypatch.setattr(database, "wait_until_worked_off", lambda instance: None)
    monkeypatch.setattr(database, "left", lambda instance: (3, 8))
    monkeypatch.setitem(against.LOADS, "paid", lambda here: a_run("paid"))
    measured = against.measure_alone(Stage(), "paid", [Stage()])
    assert measured.findings == ["paid: began beside a backlog of 3 events and 8 sagas"]
    assert measured.others["processor"] == 2_000


# --- settled a second ---


@in_one_test(
    ("paid", "seconds", "settled", "afterwards"),
    [
        (1_000, 10, 100, 0),
        (1_000, 9.8, 100, 0),
        (1_000, 25, 40, 15),
        (500, 25, 20, 15),
    ],
)
def test_settled_orders_count_until_the_last_one_is_paid(
    paid: int, seconds: float, settled: float, afterwards: float
):
    counted = orders(paid=paid, seconds=seconds)
    assert paying.settled_per_second(FIGURES, counted) == settled
    assert paying.settle_seconds(FIGURES, counted) == afterwards


def test_a_load_without_a_paid_order_settles_none():
    none = Orders(placed=5, paid=0, redeemed=0, first_placed_at=BEGAN_AT, last_paid_at=None)
    assert paying.settled_per_second(FIGURES, none) == 0
    assert paying.settle_seconds(FIGURES, none) == 0


# --- what must not be ---


@in_one_test(
    ("row", "statuses", "overloaded", "says"),
    [
        ("paid", {}, 0, ""),
        ("paid", {"202": 3}, 0, ""),
        ("paid", {"503": 3}, 0, "3 x 503"),
        ("accepted", {}, 0, ""),
        ("accepted", {"503": 3}, 3, ""),
        ("accepted", {"503": 3}, 2, "3 x 503"),
        ("accepted", {"409": 1, "503": 3}, 3, "1 x 409"),
        ("accepted", {"201": 1}, 0, "1 x 201"),
    ],
)
def test_waiting_buyers_may_be_answered_202_and_others_overloaded(row, statuses, overloaded, says):
    figures = replace(
        FIGURES, errors=sum(statuses.values()), statuses={"500": 0, **statuses}, overloaded=overloaded
    )
    found = list(paying.check_answers(LOADS[row], figures))
    assert (len(found), says in "".join(found)) == (1 if says else 0, True)


@in_one_test(
    ("row", "counted", "is_right"),
    [
        ("paid_card", orders(), True),
        ("paid_card", orders(paid=999), False),
        ("paid_card", orders(placed=999, paid=999), False),
        ("paid_card", orders(placed=1_001, paid=1_001), False),
        ("paid", orders(redeemed=1_000), True),
        ("paid", orders(redeemed=999), False),
        ("accepted_card", orders(), True),
        ("accepted", orders(redeemed=0), False),
    ],
)
def test_every_order_is_paid_and_its_coupon_redeemed(row: str, counted: Orders, is_right: bool):
    assert list(paying.check_orders(LOADS[row], FIGURES, counted)) == [] or not is_right
    assert bool(list(paying.check_orders(LOADS[row], FIGURES, counted))) is not is_right


def test_only_accepted_orders_have_to_be_there():
    figures = replace(FIGURES, errors=300, statuses={"503": 300}, overloaded=300)
    accepted = LOADS["accepted_card"]
    assert list(paying.check_orders(accepted, figures, orders(placed=700, paid=700))) == []
    assert list(paying.check_orders(accepted, figures, orders(placed=699, paid=699))) != []


# --- ratios and goals ---


def test_each_round_is_compared_by_itself_and_the_median_counts():
    rounds = [
        Round(this=a_run("paid", 200, 50), other=a_run("paid", 100, 100)),
        Round(this=a_run("paid", 330, 60), other=a_run("paid", 110, 100)),
        Round(this=a_run("paid", 90, 70), other=a_run("paid", 60, 100)),
    ]
    row = comparison.compare("paid", rounds)
    rate, p95 = figure(row, "per_second"), figure(row, "p95_ms")
    assert rate["ratio"] == {"value": 2, "least": 1.5, "most": 3, "rounds": [2, 3, 1.5]}
    assert (rate["this"]["value"], rate["other"]["value"]) == (200, 100)
    assert p95["ratio"] == {"value": 0.6, "least": 0.5, "most": 0.7, "rounds": [0.5, 0.6, 0.7]}
    assert row["microseconds"]["this"] == {"web": 800, "worker": 1_200}


@in_one_test(
    ("row", "name", "this", "other", "is_met"),
    [
        ("coupon", "per_second", 130, 100, True),
        ("coupon", "per_second", 129, 100, False),
        ("coupon", "p95_ms", 74, 100, True),
        ("coupon", "p95_ms", 75, 100, False),
        ("orders", "peak_mib", 249, 100, True),
        ("orders", "peak_mib", 250, 900, False),
        ("accepted", "settled_per_second", 95, 100, True),
        ("accepted", "settled_per_second", 94, 100, False),
        ("accepted", "oldest_waiting_seconds", 4.9, 1, True),
        ("accepted", "oldest_waiting_seconds", 5, 60, False),
    ],
)
def test_the_goals(row: str, name: str, this: float, other: float, is_met: bool):
    pair = Round(this=a_run(row, **{name: this}), other=a_run(row, **{name: other}))
    assert figure(comparison.compare(row, [pair]), name)["goal"]["is_met"] is is_met


def test_the_oldest_age_of_any_round_counts_against_its_goal():
    ages = [1, 6, 2]
    rounds = [
        Round(this=a_run("accepted", oldest_waiting_seconds=age), other=a_run("accepted")) for age in ages
    ]
    oldest = figure(comparison.compare("accepted", rounds), "oldest_waiting_seconds")
    assert (oldest["this"]["value"], oldest["ratio"], oldest["goal"]["is_met"]) == (6, None, False)


def test_a_missed_goal_and_a_finding_of_either_commit_fail_the_command():
    good = Round(this=a_run("paid", 95, 50), other=a_run("paid", 100, 100))
    assert comparison.failures(comparison.rows([good])) == []
    slow = Round(this=a_run("paid", 90, 50), other=a_run("paid", 100, 100))
    [missed] = comparison.failures(comparison.rows([slow]))
    assert missed == "paid orders, mixed, waiting: paid a second 0.90 ×, and the goal is ≥ 0.95 ×"
    unpaid = replace(good, other=replace(good.other, findings=["paid: 2 are placed, 1 paid"]))
    assert comparison.failures(comparison.rows([unpaid])) == ["other commit, paid: 2 are placed, 1 paid"]


def test_another_commit_that_answers_nothing_has_a_ratio_of_0():
    row = comparison.compare("paid", [Round(this=a_run("paid", 100), other=a_run("paid", 0))])
    assert figure(row, "per_second")["ratio"]["value"] == 0
