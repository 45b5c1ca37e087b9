"""Coupons over HTTP: issuing, queues, listing one's own, and what staff may do."""

from datetime import datetime, timedelta
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.tests.clients import client_of, new_customer, problem_of
from coupons.models import Campaign, Coupon, QueueTicket
from coupons.queue import worker
from coupons.tests.factories import CampaignFactory, accounts, coupon_of, order_ids
from coupons.tests.test_api_decisions import ask
from coupons.tests.test_campaigns_api import faults
from foundation.tests.case_tables import in_one_test
from foundation.tests.factories import AccountFactory, staff_member

pytestmark = pytest.mark.django_db


@pytest.fixture
def campaign():
    return CampaignFactory(coupon_valid_for_days=7)


def codes(response) -> set[str]:
    assert response.status_code == 200, response.content
    return {row["code"] for row in response.json()["results"]}


def test_a_user_gets_a_coupon_and_then_the_same_one(user, campaign):
    first = user.post("/coupons", {"campaign": campaign.pk})
    second = user.post("/coupons", {"campaign": campaign.pk, "user": None})

    body = first.json()
    coupon = Coupon.objects.get()
    assert (first.status_code, second.status_code) == (201, 200)
    assert first["Location"] == f"/api/v1/coupons/{coupon.code}"
    assert second.json() == body == user.read(first["Location"])
    issued_at, expires_at = (datetime.fromisoformat(body.pop(name)) for name in ("issued_at", "expires_at"))
    assert expires_at - issued_at == timedelta(days=7)
    discount = {"type": "amount", "value": 1_000, "min_order_amount": 0, "max_discount_amount": None}
    whose = {"account": coupon.account_id, "currency": "KRW"}
    issued = {"code": coupon.code, "campaign": campaign.pk, "position": 1, "status": "issued"}
    assert body == issued | whose | {"discount": discount, "order": None}


def test_getting_a_coupon_costs_the_batch_and_nothing_else(campaign):
    clients = [new_customer() for _ in range(2)]
    clients[0].post("/coupons", {"campaign": campaign.pk})

    with CaptureQueriesContext(connection) as captured:
        assert clients[1].post("/coupons", {"campaign": campaign.pk}).status_code == 201

    statements = [query["sql"] for query in captured if "SAVEPOINT" not in query["sql"]]
    assert len(statements) == 5
    assert "events_feedevent" in statements[-1]


def test_refusals_over_http(user, account, campaign, settings):
    full = CampaignFactory(quantity=1)
    coupon_of(full)
    mine = coupon_of(campaign, account, status="void")
    lab = CampaignFactory(strategy="unsafe")
    settings.LAB = False

    assert problem_of(ask(user, full)) == (409, "sold_out")
    assert problem_of(ask(user, CampaignFactory(closed=True))) == (409, "campaign_closed")
    assert problem_of(ask(user, mine.campaign)) == (409, "coupon_void")
    assert problem_of(ask(user, lab)) == (409, "strategy_not_available")
    assert problem_of(ask(user, Campaign(pk=2**63 - 1))) == (404, "campaign_not_found")
    refused = ask(user, CampaignFactory(scheduled=True))
    assert problem_of(refused) == (409, "campaign_not_open")
    assert 86_000 < int(refused["Retry-After"]) <= 86_400
    assert problem_of(ask(client_of(), full)) == (401, "not_authenticated")


@in_one_test(
    ("body", "fault"),
    [
        ({}, ("campaign", "required")),
        ({"campaign": "1"}, ("campaign", "int_type")),
        ({"campaign": 0}, ("campaign", "greater_than_equal")),
        ({"campaign": 1, "code": "MINE"}, ("code", "unknown_field")),
    ],
)
def test_a_wrong_body_is_refused_by_its_field(user, body, fault):
    assert faults(user.post("/coupons", body)) == [fault]


def test_staff_issue_to_others_and_to_themselves(staff, account, campaign):
    asked = {"campaign": campaign.pk, "user": account.pk}

    first, second = staff.post("/coupons", asked), staff.post("/coupons", asked)
    own = staff.post("/coupons", {"campaign": campaign.pk})

    assert (first.status_code, second.status_code, own.status_code) == (201, 200, 201)
    assert first.json() == second.json()
    assert Coupon.objects.get(code=first.json()["code"]).account == account
    assert own.json()["position"] == 2


def test_a_user_who_names_a_user_is_refused(user, account, campaign):
    other = AccountFactory()

    for user_id in (other.pk, account.pk, "me"):
        assert problem_of(ask(user, campaign, user=user_id)) == (403, "permission_denied")
    assert not Coupon.objects.exists()


def test_users_see_their_own_coupons_only(user, account, campaign):
    mine, theirs = coupon_of(campaign, account), coupon_of(campaign)

    assert codes(user.get("/coupons")) == {mine.code}
    assert problem_of(user.get(f"/coupons?user={theirs.account_id}")) == (403, "permission_denied")
    assert user.get(f"/coupons/{mine.code}").status_code == 200
    assert problem_of(user.get(f"/coupons/{theirs.code}")) == (404, "not_found")
    assert problem_of(user.get("/coupons/NONE")) == (404, "not_found")
    assert problem_of(user.get(f"/coupons/{mine.code.lower()}")) == (404, "not_found")
    assert problem_of(client_of().get("/coupons")) == (401, "not_authenticated")
    assert problem_of(client_of().get(f"/coupons/{mine.code}")) == (401, "not_authenticated")


def test_staff_see_the_coupons_of_all_accounts(account, campaign):
    viewer = client_of(staff_member("coupons.view_coupon"))
    powerless = client_of(staff_member())
    mine, theirs = coupon_of(campaign, account), coupon_of(campaign)

    assert codes(viewer.get("/coupons")) == {mine.code, theirs.code}
    assert codes(viewer.get(f"/coupons?user={account.pk}")) == {mine.code}
    assert viewer.read(f"/coupons/{theirs.code}")["code"] == theirs.code
    assert codes(powerless.get("/coupons")) == set()
    assert problem_of(powerless.get(f"/coupons/{theirs.code}")) == (404, "not_found")


def test_coupons_are_found_by_status_and_campaign(user, account):
    held_by, redeemed_by = order_ids(2)
    now = timezone.now()

    def mine(**columns):
        return coupon_of(CampaignFactory(), account, **columns)

    coupons = {
        "issued": mine(),
        "held": mine(status="held", order_id=held_by),
        "redeemed": mine(status="redeemed", order_id=redeemed_by, expires_at=now),
        "expired": mine(expires_at=now),
        "void": mine(status="void", expires_at=now),
    }

    for status, coupon in coupons.items():
        found = user.rows(f"/coupons?status={status}")
        assert [(row["code"], row["status"]) for row in found] == [(coupon.code, status)]
        assert codes(user.get(f"/coupons?campaign={coupon.campaign_id}")) == {coupon.code}
        assert user.read(f"/coupons/{coupon.code}")["status"] == status
    assert user.read(f"/coupons/{coupons['held'].code}")["order"] == str(held_by)
    assert codes(user.get(f"/coupons?status=void&campaign={coupons['held'].campaign_id}")) == set()
    for query in ("status=lost", "campaign=x", "campaign=0", f"campaign={2**63}"):
        assert problem_of(user.get(f"/coupons?{query}")) == (400, "invalid")


def test_staff_void_a_coupon(staff, user, account, campaign):
    coupon = coupon_of(campaign, account)
    path = f"/coupons/{coupon.code}/void"

    response = staff.post(path, {"reason": "A mistake."})

    assert response.status_code == 200
    assert (response.json()["code"], response.json()["status"]) == (coupon.code, "void")
    assert Coupon.objects.get().void_reason == "A mistake."
    assert problem_of(staff.post(path, {"reason": "Again."})) == (409, "coupon_not_voidable")
    assert problem_of(staff.post("/coupons/NONE/void", {"reason": "x"})) == (404, "not_found")
    assert problem_of(staff.post(path, {})) == (400, "invalid")
    assert problem_of(staff.post(path, {"reason": " "})) == (400, "invalid")
    assert problem_of(user.post(path, {"reason": "x"})) == (403, "permission_denied")
    assert problem_of(user.post("/coupons", {"campaign": campaign.pk})) == (409, "coupon_void")


@pytest.fixture
def queued():
    return CampaignFactory(strategy="queue", quantity=2)


def test_a_ticket_waits_and_then_has_a_coupon(user, queued):
    drawn = ask(user, queued)

    ticket = drawn.json()
    assert drawn.status_code == 202
    row = QueueTicket.objects.get()
    drawn_by = {"id": str(row.pk), "campaign": queued.pk, "account": row.account_id}
    assert ticket == drawn_by | {"status": "waiting", "ahead": 0, "coupon": None}
    assert (drawn["Location"], drawn["Retry-After"]) == (f"/api/v1/queue-tickets/{ticket['id']}", "1")
    waiting = user.get(drawn["Location"])
    assert (waiting.status_code, waiting.json(), waiting["Retry-After"]) == (200, ticket, "1")

    worker.serve_once()
    issued = user.get(drawn["Location"])
    again = ask(user, queued)

    assert "Retry-After" not in issued
    coupon = user.read(f"/coupons/{Coupon.objects.get().code}")
    assert coupon["position"] == 1
    assert issued.json() == ticket | {"status": "issued", "coupon": coupon}
    assert (again.status_code, again.json()) == (200, coupon)


def test_the_position_in_the_queue_advances(user, queued, staff):
    for account_id in accounts(2):
        ask(staff, queued, user=account_id)
    drawn = ask(user, queued)
    last = ask(new_customer(), queued)

    assert (drawn.json()["ahead"], last.json()["ahead"]) == (2, 3)
    worker.serve_once()
    settled = user.read(drawn["Location"])
    assert (settled["status"], settled["ahead"], settled["coupon"]) == ("sold_out", 0, None)
    assert problem_of(ask(user, queued)) == (409, "sold_out")


def test_staff_draw_a_ticket_for_another_account_and_see_it(account, queued, staff):
    drawn = ask(staff, queued, user=account.pk)

    assert drawn.status_code == 202
    assert QueueTicket.objects.get().account_id == account.pk
    assert staff.read(drawn["Location"]) == drawn.json()
    assert client_of(account).read(drawn["Location"]) == drawn.json()


def test_the_ticket_of_another_account_and_a_missing_one_are_not_found(user, queued):
    others = ask(new_customer(), queued)["Location"]

    for path in (others, f"/queue-tickets/{uuid4()}", "/queue-tickets/one"):
        assert problem_of(user.get(path)) == (404, "not_found")
    assert client_of().get(others).status_code == 401
