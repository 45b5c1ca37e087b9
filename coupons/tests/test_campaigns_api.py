"""Campaigns and their pools over HTTP, and pausing campaigns."""

from datetime import datetime, timedelta

import pytest

from accounts.tests.clients import client_of, faults, new_customer, problem_of
from coupons import campaigns
from coupons.codes import pool
from coupons.models import Campaign, PoolCode
from coupons.tests.factories import CampaignFactory, coupon_of
from coupons.tests.test_campaigns import TERMS
from foundation.errors import Rejected
from foundation.models import JournalLine
from foundation.tests.case_tables import in_one_test
from foundation.tests.factories import AccountFactory, SuperuserFactory, staff_member
from foundation.tests.instants import from_now
from foundation.tests.racing import race

pytestmark = pytest.mark.django_db
NEW = {"name": "Drop", "quantity": 10, "discount": {"type": "amount", "value": 1_000}}


def ids(response) -> list[int]:
    return [row["id"] for row in response.json()["results"]]


def test_staff_create_a_campaign(staff):
    response = staff.post("/campaigns", NEW)

    campaign = Campaign.objects.get()
    body = response.json()
    opens_at = body.pop("opens_at")
    assert body.pop("created_at") == body.pop("updated_at")
    assert (response.status_code, response["Location"]) == (201, f"/api/v1/campaigns/{campaign.pk}")
    assert datetime.fromisoformat(opens_at) == campaign.opens_at
    assert opens_at.endswith("Z")
    discount = {"type": "amount", "value": 1_000, "min_order_amount": 0, "max_discount_amount": None}
    codes = {"code_source": "generated", "shared_code": None, "partner": None, "coupon_valid_for_days": 30}
    usual = {"strategy": "group_commit", "closes_at": None, "discount": discount, "status": "open"}
    for_whom = {"products": [], "first_order_only": False, "eligible": "all"}
    own = {"id": campaign.pk, "issued": 0, "remaining": 10, "currency": "KRW"}
    assert body == NEW | codes | usual | for_whom | own


def test_every_term_of_a_campaign_can_be_given(staff):
    opens_at = (from_now(days=1)).replace(microsecond=0)
    times = {"opens_at": opens_at.isoformat(), "closes_at": (opens_at + timedelta(days=1)).isoformat()}
    discount = {"type": "percent", "value": 15, "min_order_amount": 5_000, "max_discount_amount": 900}
    same = {"name": "쿠폰", "strategy": "pessimistic", "quantity": 5, "code_source": "pool"}
    same |= {"partner": None, "discount": discount, "coupon_valid_for_days": 7}

    body = staff.post("/campaigns", same | times).json()

    assert body["status"] == "scheduled"
    assert datetime.fromisoformat(body["closes_at"]) == opens_at + timedelta(days=1)
    assert body == body | same


@in_one_test(
    ("change", "expected"),
    [
        ({"name": None}, ("name", "required")),
        ({"name": " "}, ("name", "string_pattern_mismatch")),
        ({"quantity": 0}, ("quantity", "greater_than_equal")),
        ({"strategy": "first_come"}, ("strategy", "literal_error")),
        ({"strategy": "code_pool"}, ("code_source", "pool_required")),
        ({"strategy": "unsafe"}, ("strategy", "not_available")),
        ({"partner": "convenience_store"}, ("partner", "not_configured")),
        ({"opens_at": "2026-01-01T00:00:00"}, ("opens_at", "value_error")),
        ({"opens_at": 1_700_000_000}, ("opens_at", "value_error")),
        ({"opens_at": "0001-01-01T00:00:00+10:00"}, ("opens_at", "value_error")),
        ({"closes_at": "9999-12-31T23:59:59-10:00"}, ("closes_at", "value_error")),
        ({"closes_at": "2000-01-01T00:00:00Z"}, ("closes_at", "not_after_opening")),
        ({"discount": {"type": "amount", "value": 0}}, ("discount.value", "greater_than_equal")),
        ({"discount": {"type": "percent", "value": 101}}, ("discount.value", "over_100_percent")),
        ({"coupon_valid_for_days": 0}, ("coupon_valid_for_days", "greater_than_equal")),
        ({"issued": 5}, ("issued", "unknown_field")),
    ],
)
def test_a_wrong_campaign_is_refused_by_its_field(staff, change, expected, settings):
    settings.LAB = False

    assert faults(staff.post("/campaigns", NEW | change)) == [expected]
    assert not Campaign.objects.exists()


def test_all_callers_see_campaigns_except_closed_ones(anon, user, staff):
    open_one = CampaignFactory()
    scheduled = CampaignFactory(scheduled=True)
    full = CampaignFactory(quantity=1)
    coupon_of(full)
    closed = CampaignFactory(closed=True)

    for client in (anon, user):
        assert ids(client.get("/campaigns")) == [full.pk, scheduled.pk, open_one.pk]
        assert problem_of(client.get(f"/campaigns/{closed.pk}")) == (404, "not_found")
        assert problem_of(client.get("/campaigns/0")) == (404, "not_found")
    assert ids(staff.get("/campaigns")) == [closed.pk, full.pk, scheduled.pk, open_one.pk]
    assert staff.read(f"/campaigns/{closed.pk}")["status"] == "closed"
    assert anon.read(f"/campaigns/{scheduled.pk}")["status"] == "scheduled"
    shown = anon.read(f"/campaigns/{full.pk}")
    assert (shown["status"], shown["issued"], shown["remaining"]) == ("sold_out", 1, 0)


@in_one_test(
    ("method", "path", "body"),
    [
        ("post", "/campaigns", NEW),
        ("patch", "/campaigns/1", {}),
        ("post", "/campaigns/1/codes", {"count": 1}),
        ("get", "/campaigns/1/codes", None),
        ("patch", "/campaigns/1/codes/A", {"code": "B"}),
        ("post", "/coupons/A/void", {"reason": "x"}),
    ],
)
def test_staff_calls_are_refused_to_others_whatever_the_object(anon, user, method, path, body):
    powerless = client_of(staff_member())
    arguments = [] if body is None else [body]

    assert problem_of(getattr(anon, method)(path, *arguments)) == (401, "not_authenticated")
    assert problem_of(getattr(user, method)(path, *arguments)) == (403, "permission_denied")
    assert problem_of(getattr(powerless, method)(path, *arguments)) == (403, "permission_denied")


def test_staff_need_the_permission_for_what_they_change():
    adder = staff_member("coupons.add_campaign")
    campaign = CampaignFactory()

    assert client_of(adder).post("/campaigns", NEW).status_code == 201
    assert problem_of(client_of(adder).patch(f"/campaigns/{campaign.pk}", {})) == (403, "permission_denied")


def test_staff_change_what_they_give(staff):
    campaign = CampaignFactory(name="Before", max_discount_amount=500)

    given = {"name": "After", "quantity": 7, "discount": {"value": 2_000}, "closes_at": None}
    response = staff.patch(f"/campaigns/{campaign.pk}", given)

    assert response.status_code == 200
    body, changed = response.json(), {"value": 2_000, "max_discount_amount": 500}
    assert (body["name"], body["remaining"]) == ("After", 7)
    assert body["discount"] == {"type": "amount", "min_order_amount": 0} | changed
    assert staff.patch(f"/campaigns/{campaign.pk}").status_code == 200
    wrong = staff.patch(f"/campaigns/{campaign.pk}", {"strategy": "code_pool", "issued": 0})
    assert ("issued", "unknown_field") in faults(wrong)
    assert problem_of(staff.patch("/campaigns/0", {"quantity": 1})) == (404, "not_found")
    assert staff.read(f"/campaigns/{campaign.pk}") == response.json()


def test_staff_add_codes_and_see_the_pool(staff):
    campaign = CampaignFactory(code_source="pool")
    path = f"/campaigns/{campaign.pk}/codes"

    first = staff.post(path, {"codes": ["A", "B"]})
    second = staff.post(path, {"codes": ["B", "C"]})
    third = staff.post(path, {"count": 2})
    issued = coupon_of(campaign)
    voided = coupon_of(campaign)
    staff.post(f"/coupons/{voided.code}/void", {"reason": "A mistake."})

    assert (first.status_code, first.json()) == (201, {"added": 2, "skipped": [], "total": 2})
    assert second.json() == {"added": 1, "skipped": ["B"], "total": 3}
    assert third.json() == {"added": 2, "skipped": [], "total": 5}
    rows = staff.rows(path)[::-1]
    expected = [(issued.code, "issued", 1), (voided.code, "void", 2), ("C", "available", None)]
    assert [(row["code"], row["status"], row["position"]) for row in rows[:3]] == expected
    assert set(rows[0]) == {"code", "status", "position", "added_at"}
    assert [len(row["code"]) for row in rows[3:]] == [14, 14]
    assert [row["code"] for row in staff.rows(f"{path}?status=void")] == ["B"]
    assert len(staff.rows(f"{path}?status=available")) == 3
    assert faults(staff.get(f"{path}?status=lost")) == [("status", "literal_error")]


@in_one_test(
    ("body", "field"),
    [
        ({}, ""),
        ({"codes": ["A"], "count": 1}, ""),
        ({"codes": ["A", ""]}, "codes.1"),
        *(({"codes": [wrong]}, "codes.0") for wrong in ("a b", "A\n", "..")),
        *(({"count": wrong}, "count") for wrong in (0, 100_001)),
    ],
)
def test_wrong_codes_are_refused(staff, body, field):
    campaign = CampaignFactory(code_source="pool")

    assert [name for name, _ in faults(staff.post(f"/campaigns/{campaign.pk}/codes", body))] == [field]
    assert not PoolCode.objects.exists()


def test_staff_rename_available_codes(staff):
    campaign = CampaignFactory(code_source="pool")
    path = f"/campaigns/{campaign.pk}/codes"
    pool.add(campaign_id=campaign.pk, codes=["FIRST", "OLD", "OTHER"])
    coupon_of(campaign)

    renamed = staff.patch(f"{path}/OLD", {"code": "NEW"})

    assert renamed.status_code == 200
    assert (renamed.json()["code"], renamed.json()["status"]) == ("NEW", "available")
    assert problem_of(staff.patch(f"{path}/OLD", {"code": "NEWER"})) == (404, "not_found")
    assert problem_of(staff.patch(f"{path}/NEW", {"code": "OTHER"})) == (409, "code_exists")
    assert problem_of(staff.patch(f"{path}/FIRST", {"code": "LAST"})) == (409, "code_issued")
    assert faults(staff.patch(f"{path}/NEW", {"code": "a b"})) == [("code", "string_pattern_mismatch")]
    assert faults(staff.patch(f"{path}/NEW", {})) == [("code", "required")]


def test_the_journal_has_the_actor_of_a_creation_and_of_a_change():
    maker, changer = SuperuserFactory(), SuperuserFactory()
    made = client_of(maker).post("/campaigns", NEW).json()
    client_of(changer).patch(f"/campaigns/{made['id']}", {"quantity": 1_000, "name": "Drop"})
    client_of(changer).patch(f"/campaigns/{made['id']}", {"name": "Drop"})
    client_of(changer).patch(f"/campaigns/{made['id']}", {"quantity": 0})

    [created, changed] = JournalLine.objects.order_by("id")
    assert (created.what, created.subject) == ("campaign.created", f"campaign {made['id']}")
    assert (created.actor, created.actor_id, created.before) == ("staff", maker.pk, None)
    assert created.after["quantity"] == 10 and created.after["discount_value"] == 1_000
    assert (changed.what, changed.subject) == ("campaign.changed", f"campaign {made['id']}")
    assert (changed.actor_id, changed.before) == (changer.pk, {"quantity": 10})
    assert changed.after == {"quantity": 1_000}


SHARED = NEW | {"name": "Autumn", "code_source": "shared", "shared_code": "AUTUMN"}


def test_only_staff_see_the_shared_code(staff):
    created = staff.post("/campaigns", SHARED | {"first_order_only": True, "eligible": "listed"})

    assert (created.status_code, created.json()["shared_code"]) == (201, "AUTUMN")
    address = f"/campaigns/{created.json()['id']}"
    for client, code in ((staff, "AUTUMN"), (new_customer(), None)):
        [in_list] = [one for one in client.rows("/campaigns") if one["name"] == "Autumn"]
        for body in (client.get(address).json(), in_list):
            assert (body["shared_code"], body["code_source"]) == (code, "shared")
            assert (body["first_order_only"], body["eligible"], body["products"]) == (True, "listed", [])


def test_a_shared_code_is_unique_among_all_codes_and_its_campaign_has_no_partner_and_no_queue(staff):
    pooled = CampaignFactory(code_source="pool", codes=["POOLED"])
    own = coupon_of(CampaignFactory()).code
    assert staff.post("/campaigns", SHARED).status_code == 201

    for taken in ("AUTUMN", "POOLED", own):
        refused = staff.post("/campaigns", SHARED | {"shared_code": taken})
        assert problem_of(refused) == (409, "code_exists"), taken
    assert staff.post("/campaigns", SHARED | {"shared_code": "autumn"}).status_code == 201, "case counts"
    assert pool.add(campaign_id=pooled.pk, codes=["AUTUMN", "FREE"]).skipped == ["AUTUMN"]

    def fields(**terms):
        return faults(staff.post("/campaigns", SHARED | {"shared_code": "NEXT"} | terms))

    assert fields(shared_code=None) == [("shared_code", "required")]
    assert fields(code_source="generated") == [("shared_code", "not_shared")]
    assert fields(partner="convenience_store")[0] == ("partner", "not_for_shared_code")
    for strategy in ("queue", "redis_gate", "spin_lock", "fair_lock"):
        assert fields(strategy=strategy) == [("strategy", "not_for_shared_code")]
    assert fields(shared_code="no spaces")[0][0] == "shared_code"


def test_staff_change_a_shared_code_while_it_is_used_and_drop_it_with_the_code_source(staff):
    address = f"/campaigns/{staff.post('/campaigns', SHARED).json()['id']}"
    other = staff.post("/campaigns", SHARED | {"shared_code": "WINTER"}).json()["id"]

    assert staff.patch(address, {"shared_code": "WINTER"}).json()["code"] == "code_exists"
    assert staff.patch(address, {"strategy": "queue"}).status_code == 400
    plain = staff.patch(address, {"code_source": "generated"}).json()
    assert (plain["code_source"], plain["shared_code"]) == ("generated", None)
    assert staff.patch(address, {"code_source": "shared"}).status_code == 400
    staff.post("/coupons", {"campaign": other})
    assert staff.patch(f"/campaigns/{other}", {"shared_code": "AUTUMN"}).json()["shared_code"] == "AUTUMN"
    fixed = staff.patch(f"/campaigns/{other}", {"first_order_only": True})
    assert problem_of(fixed) == (409, "campaign_has_coupons")
    assert staff.patch(f"/campaigns/{other}", {"eligible": "listed"}).status_code == 200


WHY = {"reason": "The price is wrong."}


@pytest.fixture
def pauser():
    return client_of(staff_member("coupons.change_campaign"))


@pytest.fixture
def campaign():
    return CampaignFactory(name="Spring")


def test_a_paused_campaign_is_409_until_it_is_resumed(pauser, campaign):
    owner, late, body = AccountFactory(), AccountFactory(), {"campaign": campaign.pk}
    code = client_of(owner).post("/coupons", body).json()["code"]

    answer = pauser.post(f"/campaigns/{campaign.pk}/pause", WHY)

    assert (answer.status_code, answer.json()["status"]) == (200, "paused")
    assert answer.json() == client_of().read(f"/campaigns/{campaign.pk}")
    assert [row["status"] for row in client_of().rows("/campaigns")] == ["paused"]
    refused = client_of(late).post("/coupons", body)
    assert problem_of(refused) == (409, "campaign_paused")
    assert "Spring is paused" in refused.json()["detail"]
    assert "Retry-After" not in refused
    issuer = client_of(staff_member("coupons.add_coupon"))
    assert problem_of(issuer.post("/coupons", body | {"user": late.pk})) == (409, "campaign_paused")
    again = client_of(owner).post("/coupons", body)
    assert (again.status_code, again.json()["code"]) == (200, code)

    answer = pauser.post(f"/campaigns/{campaign.pk}/resume", WHY)

    assert (answer.status_code, answer.json()["status"]) == (200, "open")
    assert client_of(late).post("/coupons", body).status_code == 201


def test_a_waiting_ticket_is_202_and_the_same_while_it_is_paused(pauser):
    campaign = CampaignFactory(strategy="queue")
    owner, body = new_customer(), {"campaign": campaign.pk}
    ticket = owner.post("/coupons", body).json()["id"]
    pauser.post(f"/campaigns/{campaign.pk}/pause", WHY)

    again = owner.post("/coupons", body)

    assert (again.status_code, again.json()["id"], again.json()["status"]) == (202, ticket, "waiting")
    shown = owner.get(f"/queue-tickets/{ticket}")
    assert (shown.json()["status"], "Retry-After" in shown) == ("waiting", True)
    assert problem_of(new_customer().post("/coupons", body)) == (409, "campaign_paused")


@in_one_test(
    ("reason", "fault"),
    [
        *((blank, "string_pattern_mismatch") for blank in ("", "  ")),
        ("x" * 501, "string_too_long"),
        ("a\x00b", "control_character"),
    ],
)
def test_without_a_proper_reason_it_is_400_and_nothing_changes(pauser, campaign, reason, fault):
    for path in (f"/campaigns/{campaign.pk}/{change}" for change in ("pause", "resume")):
        assert faults(pauser.post(path, {"reason": reason})) == [("reason", fault)]
        assert faults(pauser.post(path, {})) == [("reason", "required")]
        assert faults(pauser.post(path, WHY | {"until": "tomorrow"})) == [("until", "unknown_field")]
    campaign.refresh_from_db()
    assert campaign.paused_at is None


def test_of_20_campaigns_created_at_once_with_one_shared_code_one_has_it(transactional_db):
    terms = {**TERMS, "code_source": "shared", "shared_code": "AUTUMN"}
    outcomes = race([lambda: campaigns.create(**terms)] * 20)

    created = [outcome for outcome in outcomes if isinstance(outcome, Campaign)]
    refused = {outcome.code for outcome in outcomes if isinstance(outcome, Rejected)}
    assert (len(created), refused) == (1, {"code_exists"})
