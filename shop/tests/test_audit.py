"""The audit of all laws: it finds what is broken or unproven; what metrics, doctor and admin say of it."""

import math
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.urls import reverse

from accounts.tests.clients import signed_in
from coupons.tests.factories import CampaignFactory
from foundation import clock
from foundation.db.mysql.patience import long_read_timeout
from foundation.models import AuditState, LawStatus
from foundation.operations.audits import laws, scheduled_audit
from foundation.operations.audits.checks import LawReport, merge_reports, report
from foundation.operations.doctor import checks
from foundation.tests.commands import run, run_json
from foundation.tests.factories import set_columns, staff_member
from foundation.tests.instants import from_now
from foundation.tests.outages import nowhere
from foundation.tests.samples import exposed
from foundation.tests.second_connection import ask
from inventory.tests.factories import ProductFactory

pytestmark = pytest.mark.django_db


def test_reports_of_one_law_are_merged_and_sorted_in_the_laws_order():
    first = report("L5", 2, [])
    reports = merge_reports([report("L10", 1, []), first, replace(first, holds=False, offenders=["7"])])

    assert reports == [LawReport("L5", False, 4, ["7"]), LawReport("L10", True, 1, [])]


def test_an_audit_waits_longer_for_statements_than_a_request(transactional_db):
    options = connection.settings_dict["OPTIONS"]
    usual = options["read_timeout"]
    connection.close()
    options["read_timeout"] = 1
    try:
        with long_read_timeout(connection):
            ask(connection, "SELECT SLEEP(1.5)")
        with pytest.raises(OperationalError):
            ask(connection, "SELECT SLEEP(1.5)")
    finally:
        connection.close()
        options["read_timeout"] = usual


@pytest.mark.usefixtures("own_gateway")
def test_every_law_holds_in_an_empty_shop():
    empty = {"holds": True, "checked": 0, "offenders": []}
    assert run_json("audit") == (0, {"laws": [{"law": f"L{n}"} | empty for n in range(1, 17)]})


@pytest.mark.usefixtures("own_gateway")
def test_broken_laws_are_reported_with_their_offenders():
    campaign, product = CampaignFactory(), ProductFactory()
    set_columns(campaign, issued=5)
    set_columns(product, on_hand=product.on_hand + 1)

    code, output = run_json("audit")

    assert code == 1
    broken = {law["law"]: law["offenders"] for law in output["laws"] if not law["holds"]}
    assert broken == {"L1": [str(campaign.pk)], "L5": [str(product.pk)]}
    code, words = run("audit")
    assert code == 1
    assert f"L1 is broken by:\n  {campaign.pk}\n" in words


def test_an_audit_that_fails_and_a_gateway_that_does_not_answer_leave_laws_unproven(monkeypatch, settings):
    settings.GATEWAY_URL = nowhere()

    def failing():
        raise RuntimeError("no such table")

    (_, coupon_laws), (_, stock_laws), *others = laws.AUDITS
    monkeypatch.setattr(laws, "AUDITS", [(failing, coupon_laws), (list, stock_laws), *others])

    code, output = run_json("audit")

    assert code == 1
    reports = {report["law"]: report for report in output["laws"]}
    assert reports.keys() == laws.LAWS.keys()
    unproven = {law for law, report in reports.items() if not report["holds"]}
    assert unproven == {"L1", "L2", "L3", "L4", "L5", "L6", "L8", "L9"}
    assert reports["L1"]["offenders"] == ["not checked: RuntimeError: no such table"]
    assert reports["L4"]["offenders"] == ["not checked: its app reported nothing"]
    assert len(reports["L9"]["offenders"]) == 1


@pytest.fixture
def broken():
    now = clock.now()
    return LawStatus.objects.create(
        law="L1",
        holds=False,
        offenders=["7", "<b>8</b>"],
        since=now - timedelta(minutes=1),
        checked_at=now - timedelta(minutes=5),
        full_at=now - timedelta(hours=2),
    )


def test_metrics_have_each_laws_answer_and_its_ages(broken):
    """An age is infinite after the clock was set back, so that its alert fires.

    It was negative, for as long as the clock had been ahead: no audit had to run.
    """
    now, later = clock.now(), from_now(hours=5)
    LawStatus.objects.create(law="L4", holds=True, since=now, checked_at=now)
    LawStatus.objects.create(law="L5", holds=True, since=now, checked_at=later, full_at=later)
    LawStatus.objects.create(law="L9", holds=True, since=now, full_at=now)

    found = exposed()

    assert found['firstcome_law_checked_age_seconds{law="L5"}'] == math.inf
    assert found['firstcome_law_full_age_seconds{law="L5"}'] == math.inf

    assert found['firstcome_law_holds{law="L1"}'] == 0
    assert found['firstcome_law_holds{law="L4"}'] == 1
    assert found['firstcome_law_offenders{law="L1"}'] == 2
    assert 300 <= found['firstcome_law_checked_age_seconds{law="L1"}'] < 360
    assert 7_200 <= found['firstcome_law_full_age_seconds{law="L1"}'] < 7_260
    assert 'firstcome_law_full_age_seconds{law="L4"}' not in found
    assert 'firstcome_law_holds{law="L9"}' not in found, "it was checked in part only"


def test_the_doctor_calls_a_broken_law_a_danger(broken):
    [laws, schedule] = checks.audits()

    assert (laws.level, laws.found) == ("danger", "broken: L1")
    assert (schedule.level, schedule.found) == ("warning", "audit: none has ended yet")


def test_the_doctor_warns_of_a_law_that_is_not_checked_and_of_late_audits(settings):
    now = clock.now()
    LawStatus.objects.create(law="L9", holds=True, since=now, checked_at=now, not_checked="no gateway")
    state = AuditState(pk=scheduled_audit.ROW, audited_at=now, full_at=now)
    state.save()

    assert [(one.level, one.found) for one in checks.audits()] == [
        ("warning", "not checked: L9 (no gateway)"),
        ("ok", "every 300 s"),
    ]
    for name, late in (("audited_at", timedelta(minutes=16)), ("full_at", timedelta(hours=37))):
        # Ahead, it began before the clock was set back: how long ago, is not known.
        for at in (now - late, now + late):
            AuditState.objects.update(**{"audited_at": now, "full_at": now} | {name: at})
            assert list(checks.audits())[1].level == "warning"
    settings.AUDIT_SECONDS = 0
    assert list(checks.audits())[1].found == "off"


def test_operators_with_the_permission_see_the_offenders(broken):
    url = reverse("admin:shop_lawstatus_change", args=["L1"])
    assert signed_in(staff_member()).get(url).status_code == 403

    client = signed_in(staff_member("shop.view_lawstatus"))

    page = client.get(url).text
    assert "issued of a campaign = its coupons" in page
    assert "&lt;b&gt;8&lt;/b&gt;" in page and "<b>8</b>" not in page
    assert client.post(url, {"holds": "on"}).status_code == 403
