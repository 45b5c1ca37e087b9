"""The audit of all laws: its shape, and that it finds what is broken or can't be checked."""

from dataclasses import replace

import pytest
from django.conf import LazySettings
from django.db import OperationalError, connection

from coupons.models import Campaign
from coupons.tests.factories import CampaignFactory
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from scripts.stack import ports
from shop.db.mysql.patience import long_read_timeout
from shop.management import laws
from shop.operations.audits.checks import LawReport, merge_reports, report
from shop.tests.commands import run, run_json


def test_reports_of_one_law_are_merged_and_sorted_in_the_laws_order() -> None:
    first = report("L5", 2, [])
    reports = merge_reports([report("L10", 1, []), first, replace(first, holds=False, offenders=["7"])])

    assert reports == [LawReport("L5", False, 4, ["7"]), LawReport("L10", True, 1, [])]


def _slow_statement() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT SLEEP(1.5)")


@pytest.mark.django_db(transaction=True)
def test_an_audit_waits_longer_for_statements_than_a_request() -> None:
    options = connection.settings_dict["OPTIONS"]
    usual = options["read_timeout"]
    connection.close()
    options["read_timeout"] = 1
    try:
        with long_read_timeout(connection):
            _slow_statement()
        with pytest.raises(OperationalError):
            _slow_statement()
    finally:
        connection.close()
        options["read_timeout"] = usual


@pytest.mark.django_db
@pytest.mark.usefixtures("own_gateway")
def test_every_law_holds_in_an_empty_shop() -> None:
    code, output = run_json("audit")

    assert code == 0
    assert output == {
        "laws": [
            {"law": law, "holds": True, "checked": 0, "offenders": []}
            for law in (f"L{n}" for n in range(1, 16))
        ]
    }


@pytest.mark.django_db
@pytest.mark.usefixtures("own_gateway")
def test_broken_laws_are_reported_with_their_offenders() -> None:
    campaign, product = CampaignFactory(), ProductFactory()
    Campaign.objects.filter(pk=campaign.pk).update(issued=5)
    Product.objects.filter(pk=product.pk).update(on_hand=product.on_hand + 1)

    code, output = run_json("audit")

    assert code == 1
    broken = {law["law"]: law["offenders"] for law in output["laws"] if not law["holds"]}
    assert broken == {"L1": [str(campaign.pk)], "L5": [str(product.pk)]}
    code, words = run("audit")
    assert code == 1
    assert f"L1 is broken by:\n  {campaign.pk}\n" in words


@pytest.mark.django_db
def test_a_gateway_that_does_not_answer_leaves_l9_unproven(settings: LazySettings) -> None:
    settings.GATEWAY_URL = f"http://{ports.HOST}:{ports.free()}"

    code, output = run_json("audit")

    assert code == 1
    (broken,) = [law for law in output["laws"] if not law["holds"]]
    assert broken["law"] == "L9"
    assert len(broken["offenders"]) == 1


@pytest.mark.django_db
@pytest.mark.usefixtures("own_gateway")
def test_an_audit_that_fails_leaves_its_laws_unproven(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing() -> list[LawReport]:
        raise RuntimeError("no such table")

    def silent() -> list[LawReport]:
        return []

    (_, coupon_laws), (_, stock_laws), *others = laws.AUDITS
    monkeypatch.setattr(laws, "AUDITS", [(failing, coupon_laws), (silent, stock_laws), *others])

    reports = {report.law: report for report in laws.audit()}

    assert reports.keys() == laws.LAWS.keys()
    unproven = {law for law, report in reports.items() if not report.holds}
    assert unproven == {"L1", "L2", "L3", "L4", "L5", "L6", "L8"}
    assert reports["L1"].offenders == ["not checked: RuntimeError: no such table"]
    assert reports["L4"].offenders == ["not checked: its app reported nothing"]
