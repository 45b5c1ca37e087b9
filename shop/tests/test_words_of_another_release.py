"""Rows whose words another release wrote: pages and calls show them, and this release doesn't act on them."""

from collections.abc import Iterator

import pytest
from django.apps import apps
from django.db import DatabaseError, models, transaction
from django.test import Client

from accounts.operating import approvals
from accounts.tests.clients import client_of, new_customer, problem_of, signed_in
from backoffice.tests.rows_of_every_model import fill_all_models
from coupons.models import Campaign
from coupons.tests.factories import CampaignFactory
from foundation import journal
from foundation.approval_models import Approval
from foundation.journal import Actor, ActorContext
from foundation.tests import admin_addresses
from foundation.tests.factories import SuperuserFactory
from orders.models import Saga
from orders.saga import operator_actions, rows as saga_rows
from orders.tests import stepping

pytestmark = pytest.mark.django_db
LATER = "of_a_later_release"
KINDS = {"kind", "type", "strategy", "partner", "gateway", "what", "step", "event", "law", "source", "cause"}


def write_words() -> Iterator[str]:
    """Write a word that this release doesn't know into these columns of all rows, where a law allows it."""
    for model in apps.get_models():
        for field in model._meta.local_fields:
            if isinstance(field, models.CharField) and field.name in KINDS:
                word = LATER[: field.max_length]
                try:
                    with transaction.atomic():
                        model._base_manager.update(**{field.name: word})
                except DatabaseError:
                    continue
                yield f"{model.__name__}.{field.name}"


def status_of(pages: Client, path: str) -> int:
    """The status of a page that is read to its end: few exports may be open at once."""
    response = pages.get(path)
    b"".join(response)  # type: ignore[arg-type]
    return response.status_code


def test_no_page_of_operators_and_no_list_of_the_api_fails_for_a_word_of_another_release():
    fill_all_models()
    written = set(write_words())
    assert {"Saga.kind", "SagaLog.step", "Campaign.strategy", "Approval.kind"} <= written
    staff = SuperuserFactory()
    pages, api = signed_in(staff), client_of(staff)
    pages.raise_request_exception = False
    failed = [one.written for one in admin_addresses.addresses() if status_of(pages, one.path) >= 500]
    lists = ["campaigns", "coupons", "orders", "payments", "sales", "products", "events", "webhook-endpoints"]
    failed += [path for path in lists if api.get(f"/{path}").status_code >= 500]
    assert failed == []


def shown(address: str) -> str:
    return str(signed_in(SuperuserFactory()).get(address, follow=True).text)


def as_staff(work):
    staff = SuperuserFactory()
    with journal.acting(ActorContext(actor=Actor.STAFF, id=staff.pk, name=staff.username)):
        return work()


def test_a_saga_of_a_type_that_this_release_lacks_is_shown_as_such_and_left_alone(transactional_db):
    fill_all_models()
    Saga.objects.update(kind="gift_card", state="stuck", deadline_at="2026-01-01T00:00:00Z")
    [saga] = Saga.objects.all()
    assert stepping.due(limit=9) == [] and not saga_rows.is_any_due()
    for address in ("/admin/", "/admin/orders/saga/", f"/admin/orders/saga/{saga.pk}/change/"):
        assert "gift_card (of another release)" in shown(address)
    assert f"/admin/orders/saga/{saga.pk}/retry" not in shown(f"/admin/orders/saga/{saga.pk}/change/")
    acts = (operator_actions.retry, operator_actions.force_compensate, operator_actions.force_complete)
    for act in acts:
        with pytest.raises(operator_actions.Rejected) as refused:
            act(saga_id=saga.pk, reason="as told", by=journal.current_actor())
        assert refused.value.code == "saga_of_another_release"
    after = Saga.objects.get()
    assert (after.state, after.attempts, after.next_attempt_at) == ("stuck", 0, saga.next_attempt_at)


def test_an_act_that_this_release_lacks_is_shown_as_such_and_refused_but_never_approved(transactional_db):
    fill_all_models()
    Approval.objects.update(kind="prices.halve", arguments={"product": 7}, status="waiting")
    [approval] = Approval.objects.all()
    for address in ("/admin/", "/admin/shop/approval/", f"/admin/shop/approval/{approval.pk}/change/"):
        assert "prices.halve (of another release)" in shown(address)
    with pytest.raises(approvals.Rejected) as refused:
        as_staff(lambda: approvals.approve(approval_id=approval.pk, reason="I have looked."))
    assert refused.value.code == "approval_of_another_release"
    assert as_staff(lambda: approvals.refuse(approval_id=approval.pk, reason="Not here.")).status == "refused"


def test_a_campaign_with_a_strategy_that_this_release_lacks_issues_nothing_and_says_so():
    campaign = CampaignFactory(quantity=5)
    Campaign.objects.update(strategy="lottery")
    answer = new_customer().post("/coupons", {"campaign": campaign.pk})
    assert problem_of(answer) == (409, "strategy_not_available")
    assert Campaign.objects.get().issued == 0
