"""What the lab judges, on figures that are known, and once all of it: every strategy, seconds each."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import report, stage
from lab.compare import __main__ as command, checks, page, scenarios
from lab.compare.scenarios import DEFAULT_INVENTORY, SCENARIOS, UNSAFE, Case
from lab.stack import database
from lab.stage import Stage
from scripts.stack import instance as instances, own_stack, ports


def test_the_campaigns_of_the_control_alone_may_break_laws():
    said = [("L1", ["7"]), ("L2", ["7", "8"]), ("L4", ["7"]), ("L9", [])]
    laws = [{"law": law, "holds": False, "offenders": offenders} for law, offenders in said]
    holding = {"law": "L3", "holds": True, "offenders": []}
    assert command.broken_laws([*laws, holding], excepted={"7"}) == [
        "L2 is broken: 8",
        "L4 is broken: 7",  # a product, which happens to have the campaign's number
        "L9 is broken: ",
    ]


OF_COUPONS = ("quantity", "issued", "coupons", "accounts", "positions", "last")
OF_CODES = ("codes_added", "codes", "pool_issued", "borne")
EXACT = dict.fromkeys((*OF_COUPONS, *OF_CODES), 5) | {"first": 1, "confirming": 0, "unconfirmed": 0}


@pytest.mark.parametrize(
    ("planted", "law"),
    [
        ({}, ""),
        ({"quantity": 4}, "L1"),
        ({"issued": 4}, "L1"),
        ({"accounts": 4}, "L2"),
        ({"last": 6}, "L2"),
        ({"codes": 4}, "L3"),
        ({"borne": 4}, "L3"),
    ],
)
def test_a_coupon_too_many_lost_doubled_or_without_its_code_is_found(planted: dict[str, int], law: str):
    wrong = {law for law, _, number in checks.wrong_rows(EXACT | planted, is_control=False) if number}
    assert wrong == ({law} if law else set())


def test_rows_that_are_not_those_of_the_answers_are_found():
    told = {"coupons": 5, "unsure": 0, "asked": 9}
    assert list(checks.differences(EXACT, told, sells_out=True)) == []
    assert list(checks.differences(EXACT, told | {"coupons": 4, "unsure": 1}, sells_out=True)) == []
    assert len(list(checks.differences(EXACT, told | {"coupons": 6}, sells_out=True))) == 1
    assert len(list(checks.differences(EXACT | {"quantity": 6}, told, sells_out=True))) == 1


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    """The other strategies of stock need a stack each, and `crash` its time."""
    everything = scenarios.cases(scenarios.read_offer(), strategies="", scenarios="", is_quick=True)
    return [one for one in everything if one.inventory == DEFAULT_INVENTORY and one.scenario.name != "crash"]


@pytest.fixture(scope="module")
def seeded(tmp_path_factory: pytest.TempPathFactory, cases: list[Case]) -> Iterator[Stage]:
    port = str(ports.free(instances.PORTS))
    instance = instances.choose(home=tmp_path_factory.mktemp("lab"), port=port, database="mariadb")
    with own_stack.running(instance, **cases[0].settings):
        users = max(case.load.accounts for case in cases)
        yield stage.seeded(instance, users=users, products=command.PRODUCTS, stock=command.STOCK)


@pytest.mark.boots("a whole shop, and k6")
@pytest.mark.parametrize(
    "scenarios",
    [{"race", "pool"}, {"orders"}, {"steps_orders"}],
    ids=lambda names: " and ".join(sorted(names)),
)
def test_every_strategy_keeps_the_laws_but_the_one_without_locks(
    seeded: Stage, cases: list[Case], scenarios: set[str], tmp_path: Path
):
    chosen = [case for case in cases if case.scenario.name in scenarios]
    assert command.run_in_stack(seeded, chosen, tmp_path) == []

    rows = report.read(tmp_path / "results.json")["rows"]
    assert sorted((one["scenario"], one["strategy"], one["variant"]) for one in rows) == sorted(
        (case.scenario.name, case.strategy, case.variant) for case in chosen
    )
    page.write(tmp_path, rows)
    for one in rows:
        assert one["broken"] == (["L1"] if one["strategy"] == UNSAFE else []), one
        if one["scenario"] in {"race", "pool"} and one["strategy"] != UNSAFE:
            assert one["coupons"] == SCENARIOS[one["scenario"]].quick["quantity"], one
        if one["scenario"] == "steps_orders":
            assert one["placed"] > 0
            assert one["paid"] == (one["placed"] if one["variant"] == "paid" else 0)
        assert f"## {one['scenario']}" in (tmp_path / "report.md").read_text()


@pytest.mark.boots("a whole shop, and k6")
def test_what_the_audit_finds_broken_is_a_finding_of_the_rows(
    seeded: Stage, cases: list[Case], tmp_path: Path
):
    """A case that issues coupons doesn't see by itself that stock doesn't add up any more."""
    [case] = [one for one in cases if one.name == "race group_commit"]
    [(product,)] = seeded.rows("SELECT MIN(id) FROM inventory_product")
    add = "UPDATE inventory_product SET on_hand = on_hand + %s WHERE id = %s"

    database.rows(seeded.instance, add, 1, product)
    try:
        findings = command.run_in_stack(seeded, [case], tmp_path)
    finally:
        database.rows(seeded.instance, add, -1, product)

    [one] = report.read(tmp_path / "results.json")["rows"]
    assert (one["broken"], one["coupons"]) == ([], case.load.quantity)
    assert one["findings"] == findings == [f"audit after {case.name}: L5 is broken: {product}"]
