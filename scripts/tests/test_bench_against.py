"""The loads beside those of another commit: which commit that is, the arithmetic, the goals and the table."""

import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scripts.bench import __main__ as bench
from scripts.bench import against, commits, sizes, watching
from scripts.bench.load import Figures, Run
from scripts.bench.report import comparison, documents, page
from scripts.bench.report.comparison import Round
from scripts.bench.rows import COMPARED, ROWS, choose
from scripts.bench.workloads import paying
from scripts.bench.workloads.paying import LOADS, Orders
from scripts.stack import SetupError, database, places
from scripts.stack.instance import Instance

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


@pytest.mark.parametrize("name", ["first", "main~1", "HEAD^", "full hash", "short hash"])
def test_a_commit_is_found_by_hash_branch_and_tag(repository: Path, name: str):
    sha = git(repository, "rev-parse", "first")
    name = {"full hash": sha, "short hash": sha[:8]}.get(name, name)
    assert commits.find(name, project=repository) == commits.Commit(sha=sha, name=name)


@pytest.mark.parametrize("name", ["nothing", "--all", "first:requirements.txt", "main..first", " "])
def test_what_is_no_commit_is_reported_in_a_line(repository: Path, name: str):
    with pytest.raises(SetupError, match="is no commit of") as error:
        commits.find(name, project=repository)
    assert "\n" not in str(error.value)


def test_the_command_reports_an_unknown_commit_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert against.run("no-such-commit", sizes.AGAINST_QUICK, tmp_path) == 1
    said = capsys.readouterr()
    assert said.err.startswith("bench: failed: AGAINST=no-such-commit is no commit of ")
    assert (said.err.count("\n"), said.out) == (1, "")


def test_a_checkout_shares_the_environment_and_is_removed_at_the_end(repository: Path, tmp_path: Path):
    head = commits.find("HEAD", project=repository)
    with commits.checked_out(head, tmp_path / "other", project=repository) as folder:
        assert (folder / "requirements.txt").read_text() == "one==2\n"
        assert (folder / ".venv").resolve() == repository / ".venv"
    assert not folder.exists()
    assert git(repository, "worktree", "list").count("\n") == 0
    assert (repository / ".venv").is_dir()


def test_other_requirements_are_installed_and_a_failure_is_reported_in_a_line(
    repository: Path, tmp_path: Path
):
    first = commits.find("first", project=repository)
    with (
        pytest.raises(SetupError, match=r"can't install the packages of first: no network here$"),
        commits.checked_out(first, tmp_path / "other", project=repository),
    ):
        pytest.fail("it has no environment")
    assert not (tmp_path / "other").exists()


def test_a_checkout_that_fails_is_reported_in_a_line(repository: Path, tmp_path: Path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    head = commits.find("HEAD", project=repository)
    with (
        pytest.raises(SetupError, match=r"^can't check out HEAD: .*already exists$"),
        commits.checked_out(head, tmp_path / "other", project=repository),
    ):
        pytest.fail("there is something already")
    assert (tmp_path / "other" / "file").exists()


def test_a_stack_that_does_not_start_is_reported_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """A commit whose `make run` fails: the line shows the reason that the other commit gives."""
    (tmp_path / "Makefile").write_text("run:\n\t@echo 'firstcome: no such thing'; exit 1\n")
    monkeypatch.setattr(commits, "find", lambda name: SOME_COMMIT)
    report = lambda self: self.running("it", "other", tmp_path).__enter__()  # noqa: E731
    monkeypatch.setattr(against.Comparison, "report", report)
    assert against.run("HEAD", sizes.AGAINST_QUICK, tmp_path) == 1
    said = capsys.readouterr().err
    assert said == "bench: failed: it doesn't start: firstcome: no such thing\n"


def test_changes_that_are_not_committed_are_known(repository: Path):
    assert not commits.is_changed(project=repository)
    (repository / "requirements.txt").write_text("one==3\n")
    assert commits.is_changed(project=repository)


def test_both_stacks_have_state_and_code_of_their_own(tmp_path: Path):
    one = against.Comparison(SOME_COMMIT, sizes.AGAINST_QUICK, tmp_path)
    this, other = one.instance("this", places.PROJECT), one.instance("other", tmp_path / "checkout")
    assert (this.home, other.home) == (tmp_path / "this", tmp_path / "other")
    assert (this.project, other.project) == (places.PROJECT, tmp_path / "checkout")


def test_the_words_of_make_choose_the_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    asked = []
    monkeypatch.setenv("FIRSTCOME_VAR", str(tmp_path))
    monkeypatch.setattr(bench.children, "handle_stop_signals", lambda: None)
    monkeypatch.setattr(against, "run", lambda name, size, home, rows: asked.append((name, size, rows)) or 0)
    for words in (["--against=abc", "--quick", ""], ["--against=-x", "--quick", "1", "--rows", "null"]):
        monkeypatch.setattr("sys.argv", ["bench", *words])
        assert bench.main() == 0
    assert asked == [("abc", sizes.AGAINST_FULL, COMPARED), ("-x", sizes.AGAINST_QUICK, ["null"])]


def test_rows_are_chosen_by_name_and_measured_in_their_order():
    assert choose("orders, coupon,", of=COMPARED) == ["coupon", "orders"]
    assert choose("", of=COMPARED) == COMPARED
    with pytest.raises(SetupError, match=r"^ROWS=audit,nothing is not measured: choose from null,coupon,"):
        choose("coupon,audit,nothing", of=COMPARED)


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


def test_every_thread_of_a_process_is_kept_to_its_processor():
    code = (
        "import sys, threading\n"
        "for _ in range(5): threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
        "print('ready', flush=True); sys.stdin.read()"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert child.stdout.readline() == "ready\n"
        processor = max(os.sched_getaffinity(0))
        watching.pin(child.pid, processor)
        threads = [int(path.name) for path in Path(f"/proc/{child.pid}/task").iterdir()]
        assert len(threads) == 6
        assert all(os.sched_getaffinity(thread) == {processor} for thread in threads)
    finally:
        child.communicate(timeout=20)
    watching.pin(child.pid, processor)  # it has ended


# --- settled a second ---


@pytest.mark.parametrize(
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


@pytest.mark.parametrize(
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


@pytest.mark.parametrize(
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


def test_every_goal_beside_another_commit_is_there():
    goals = {
        (row, goal.figure, goal.of_other): goal.least or goal.below
        for row in COMPARED
        for goal in ROWS[row].against
        if goal.figure != "peak_mib"
    }
    assert goals == {
        ("null", "per_second", True): 0.95,
        ("coupon", "per_second", True): 1.3,
        ("coupon", "p95_ms", True): 0.75,
        ("buyers_1000", "per_second", True): 0.95,
        ("pessimistic", "per_second", True): 0.95,
        ("sold_out", "per_second", True): 1.3,
        ("same_again", "per_second", True): 1.3,
        ("connections", "p95_ms", True): 0.75,
        ("crowd", "p95_ms", True): 0.5,
        ("orders", "per_second", True): 1.35,
        ("hot_orders", "per_second", True): 1.35,
        ("hot_crowd", "per_second", True): 1.2,
        ("coupon_list", "per_second", True): 0.9,
        ("product_list", "per_second", True): 0.9,
        ("grants", "per_second", True): 0.9,
        ("order_list", "per_second", True): 0.9,
        ("paid_card", "per_second", True): 0.95,
        ("paid", "per_second", True): 0.95,
        ("accepted_card", "settled_per_second", True): 0.95,
        ("accepted_card", "oldest_waiting_seconds", False): 5,
        ("accepted", "settled_per_second", True): 0.95,
        ("accepted", "oldest_waiting_seconds", False): 5,
        ("waiting", "waiting_kib", False): 32,
        ("waiting", "waiting_cores", False): 0.1,
        ("waiting", "of_null_alone", False): 1.5,
    }
    limited = [row for row in COMPARED if any(one.figure == "peak_mib" for one in ROWS[row].against)]
    assert limited == [row for row in COMPARED if row != "waiting"]


@pytest.mark.parametrize(
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


# --- the table ---


def rounds_of_all() -> list[Round]:
    factors = (1, 1.25)
    return [
        Round(
            this=a_run(
                row, 1_100 * factor, 50, settled_per_second=1_000, oldest_waiting_seconds=1.5, overloaded=7
            ),
            other=a_run(row, 550, 100, settled_per_second=400, oldest_waiting_seconds=16),
        )
        for factor in factors
        for row in ("null", *LOADS)
    ]


def report() -> page.Report:
    machine = {
        "cores": 2,
        "memory_gib": 4,
        "processor": "a fast one",
        "system": "Linux",
        "load_before": 0.1,
        "versions": {"MariaDB": "10.11", "Django": "5.2"},
    }
    size = {"name": "full", "rounds": 2, "seconds": 3, "paid_seconds": 10, "accepted_seconds": 8}
    return {
        "measured_at": "2026-11-21T12:00:00Z",
        "commit": "abc1234",
        "is_changed": True,
        "against": {"commit": "def5678", "name": "v1"},
        "circumstances": machine,
        "seconds": 600,
        "size": size,
        "rows": comparison.rows(rounds_of_all()),
    }


def test_the_table_has_both_commits_the_ratio_with_its_spread_and_the_goal():
    lines = list(comparison.lines(comparison.rows(rounds_of_all())))
    assert [line[0] for line in lines if line[0]] == [
        "null endpoint",
        "paid orders, card, waiting",
        "paid orders, mixed, waiting",
        "paid orders, card, not waiting",
        "paid orders, mixed, not waiting",
    ]
    both, ratio = "1,238 (1,100 to 1,375)", "2.25 (2.00 to 2.50)"
    assert lines[0] == ("null endpoint", "answers a second", both, "550", ratio, "≥ 0.95 ×", "yes")
    assert ("", "p95, ms", "50", "100", "0.50", "", "") in lines
    assert ("", "processor, µs each", "2,000", "2,000", "1.00", "", "") in lines
    assert ("", "a web process, MiB", "200", "200", "", "< 250", "yes") in lines
    assert ("", "accepted a second", both, "550", ratio, "", "") not in lines
    card = "paid orders, card, not waiting"
    assert (card, "accepted a second", both, "550", ratio, "", "") in lines
    assert ("", "settled a second", "1,000", "400", "2.50", "≥ 0.95 ×", "yes") in lines
    assert ("", "oldest waiting, s", "1.5", "16.0", "", "< 5", "yes") in lines
    assert ("", "answered 503", "7", "0", "", "", "") in lines
    assert ("", "worker, µs each", "1,200", "1,200", "1.00", "", "") in lines


def test_a_terminal_has_room_for_the_table_of_both_commits():
    lines = comparison.printed(comparison.rows(rounds_of_all())).splitlines()
    assert max(map(len, lines)) < 120


def test_a_round_is_reported_in_a_line():
    text = comparison.progress(rounds_of_all()[3])
    assert text.startswith("paid orders, card, not waiting: accepted a second 1,100 and 550 (2.00 ×); ")
    assert "oldest waiting, s 1.5 and 16.0; answered 503 7 and 0; processor" in text


def test_a_line_for_each_load_has_both_ratios_and_the_goals_that_are_missed():
    slow = [Round(this=a_run("paid_card", 90, 50), other=a_run("paid_card", 100, 100))]
    waiting = comparison.compare("accepted", [one for one in rounds_of_all() if one.this.row == "accepted"])
    lines = list(comparison.ratio_lines([comparison.compare("paid_card", slow), waiting]))
    assert lines == [
        ("paid orders, card, waiting", "0.90", "0.50", "NO: paid a second"),
        ("paid orders, mixed, not waiting", "2.50", "0.50", "yes"),
    ]


def test_the_pages_show_the_last_full_comparison():
    full = page.read(page.AGAINST_FILE).get("full")
    assert documents.inside(page.AGAINST_PAGE, page.AGAINST) == page.against_figures(full)
    assert documents.inside(page.PAGE, page.AGAINST) == page.against_ratios(full)


def test_the_comparison_is_written_between_its_marks(tmp_path: Path):
    ratios, whole = tmp_path / "page.md", tmp_path / "whole.md"
    for there in (ratios, whole):
        there.write_text(f"before\n{page.AGAINST[0]}outdated\n{page.AGAINST[1]}after\n")
    page.write_against(report(), page=ratios, whole=whole)
    for text in (ratios.read_text(), whole.read_text()):
        assert "outdated" not in text
        assert text.startswith("before\n") and text.endswith("after\n")
        assert "this is commit abc1234 with uncommitted changes, other is def5678" in text
    assert "| 2.25 (2.00 to 2.50) | ≥ 0.95 × | yes |" in whole.read_text()
    assert "| null endpoint | 2.25 (2.00 to 2.50) | 0.50 | yes |" in ratios.read_text()


def test_the_report_of_a_comparison_is_kept_by_its_size(tmp_path: Path):
    file = tmp_path / "bench-against.json"
    page.keep(report(), file=file)
    assert page.read(file)["full"]["against"] == {"commit": "def5678", "name": "v1"}
