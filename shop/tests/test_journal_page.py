"""Operators search the journal by actor, by what happened, by subject and by time."""

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from django.utils import timezone

from shop.models import JournalLine
from shop.tests.clients import signed_in
from shop.tests.factories import AccountFactory, SuperuserFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def operator() -> User:
    return SuperuserFactory(username="olga")


@pytest.fixture(autouse=True)
def _lines(operator: User) -> None:
    ada = AccountFactory(username="ada")
    now = timezone.now()
    for number, (actor, actor_id, name, what, subject, days) in enumerate(
        [
            ("staff", operator.pk, "", "product.changed", "product 7", 1),
            ("staff", operator.pk, "olga", "campaign.changed", "campaign 3", 10),
            ("account", ada.pk, "ada", "account.signed_in", f"account {ada.pk}", 1),
            ("staff", None, "root", "product.changed", "product 8", 10),
        ]
    ):
        JournalLine.objects.create(
            at=now - timedelta(days=days),
            actor=actor,
            actor_id=actor_id,
            actor_name=name,
            what=what,
            subject=subject,
            detail=f"line {number}",
        )


def page_of(operator: User, **filters: object) -> Any:
    page = reverse("admin:shop_journalline_changelist")
    answer = signed_in(operator).get(f"{page}?{urlencode(filters)}")
    assert answer.status_code == 200
    return answer


def found(operator: User, **filters: object) -> list[str]:
    return sorted(line.detail for line in page_of(operator, **filters).context["cl"].result_list)


def test_the_journal_is_searched_by_actor(operator: User) -> None:
    assert found(operator, by="olga") == ["line 0", "line 1"]
    assert found(operator, by=operator.pk) == ["line 0", "line 1"]
    assert found(operator, by="ADA") == ["line 2"]
    assert found(operator, by="root") == ["line 3"]
    assert found(operator, by="9" * 30) == []


def test_the_journal_is_searched_by_what_happened(operator: User) -> None:
    assert found(operator, happened="product.changed") == ["line 0", "line 3"]
    assert found(operator, happened="account.") == ["line 2"]
    assert found(operator, happened="%") == []


def test_the_journal_is_searched_by_date(operator: User) -> None:
    day = (timezone.now() - timedelta(days=5)).date()
    assert found(operator, since=day) == ["line 0", "line 2"]
    assert found(operator, before=f"{day} 12:30") == ["line 1", "line 3"]
    assert found(operator, since=f"{day}T00:00:00Z", by="olga") == ["line 0"]


def test_each_search_has_an_index() -> None:
    JournalLine.objects.bulk_create(
        JournalLine(at=timezone.now(), actor="system", actor_id=number, what=f"a.{number}", subject="x")
        for number in range(1_000)
    )
    lines = JournalLine.objects.order_by("-id")
    assert "shop_journalline_of_actor" in lines.filter(actor_id=7)[:100].explain()
    begun = JournalLine.objects.filter(what__istartswith="a.77").order_by("what", "id")
    assert "shop_journalline_of_what" in begun[:100].explain()
    recent = lines.filter(at__lt=timezone.now() - timedelta(days=5))
    assert "shop_journalline_by_instant" in recent[:100].explain()
