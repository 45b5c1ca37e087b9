"""The laws' status as operators see it: by metrics, the doctor and the admin."""

import math
from datetime import datetime, timedelta

import pytest
from django.conf import LazySettings
from django.urls import reverse

from shop import clock
from shop.management import scheduled_audit
from shop.models import AuditState, LawStatus
from shop.operations.doctor import checks
from shop.tests.clients import signed_in
from shop.tests.factories import AccountFactory
from shop.tests.samples import exposed

pytestmark = pytest.mark.django_db


@pytest.fixture
def now() -> datetime:
    return clock.now()


@pytest.fixture
def broken(now: datetime) -> LawStatus:
    return LawStatus.objects.create(
        law="L1",
        holds=False,
        offenders=["7", "<b>8</b>"],
        since=now - timedelta(minutes=1),
        checked_at=now - timedelta(minutes=5),
        full_at=now - timedelta(hours=2),
    )


def test_metrics_have_each_laws_answer_and_its_ages(broken: LawStatus, now: datetime) -> None:
    LawStatus.objects.create(law="L4", holds=True, since=now, checked_at=now)

    found = exposed()

    assert found['firstcome_law_holds{law="L1"}'] == 0
    assert found['firstcome_law_holds{law="L4"}'] == 1
    assert found['firstcome_law_offenders{law="L1"}'] == 2
    assert 300 <= found['firstcome_law_checked_age_seconds{law="L1"}'] < 360
    assert 7_200 <= found['firstcome_law_full_age_seconds{law="L1"}'] < 7_260
    assert 'firstcome_law_full_age_seconds{law="L4"}' not in found


def test_an_age_is_infinite_after_the_clock_was_set_back_so_that_its_alert_fires(now: datetime) -> None:
    """It was negative, for as long as the clock had been ahead: no audit had to run."""
    later = now + timedelta(hours=5)
    LawStatus.objects.create(law="L4", holds=True, since=now, checked_at=later, full_at=later)

    found = exposed()

    assert found['firstcome_law_checked_age_seconds{law="L4"}'] == math.inf
    assert found['firstcome_law_full_age_seconds{law="L4"}'] == math.inf


def test_a_law_that_was_checked_in_part_only_has_no_answer_yet(now: datetime) -> None:
    LawStatus.objects.create(law="L9", holds=True, since=now, full_at=now)

    assert 'firstcome_law_holds{law="L9"}' not in exposed()


def test_the_doctor_calls_a_broken_law_a_danger(broken: LawStatus) -> None:
    [laws, schedule] = checks.audits()

    assert (laws.level, laws.found) == ("danger", "broken: L1")
    assert (schedule.level, schedule.found) == ("warning", "audit: none has ended yet")


def test_the_doctor_warns_of_a_law_that_is_not_checked_and_of_late_audits(
    now: datetime, settings: LazySettings
) -> None:
    LawStatus.objects.create(law="L9", holds=True, since=now, checked_at=now, not_checked="no gateway")
    state = AuditState(pk=scheduled_audit.ROW, audited_at=now, full_at=now)
    state.save()

    assert [(one.level, one.found) for one in checks.audits()] == [
        ("warning", "not checked: L9 (no gateway)"),
        ("ok", "every 300 s"),
    ]
    for name, late in (("audited_at", timedelta(minutes=16)), ("full_at", timedelta(hours=37))):
        AuditState.objects.update(**{"audited_at": now, "full_at": now} | {name: now - late})
        assert list(checks.audits())[1].level == "warning"
        # It began before the clock was set back: how long ago, is not known.
        AuditState.objects.update(**{"audited_at": now, "full_at": now} | {name: now + late})
        assert list(checks.audits())[1].level == "warning"
    settings.AUDIT_SECONDS = 0
    assert list(checks.audits())[1].found == "off"


def test_operators_with_the_permission_see_the_offenders(broken: LawStatus) -> None:
    url = reverse("admin:shop_lawstatus_change", args=["L1"])
    assert signed_in(AccountFactory.create(is_staff=True)).get(url).status_code == 403

    client = signed_in(AccountFactory.create(is_staff=True, permissions=["shop.view_lawstatus"]))

    page = client.get(url).content.decode()
    assert "issued of a campaign = its coupons" in page
    assert "&lt;b&gt;8&lt;/b&gt;" in page and "<b>8</b>" not in page
    assert client.post(url, {"holds": "on"}).status_code == 403
