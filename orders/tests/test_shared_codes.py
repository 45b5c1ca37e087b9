"""Orders that name a campaign's shared code: each account's own coupon, issued and held with its order."""

from collections import Counter
from collections.abc import Sequence
from functools import partial

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from coupons import coupon_requests, issuing, rows
from coupons.allocation import allocating
from coupons.codes import eligible_accounts
from coupons.models import Campaign, Coupon
from coupons.tests.factories import CampaignFactory, accounts, change, coupon_of, pause
from coupons.tests.laws import positions
from coupons.tests.outcomes import issue
from foundation import journal
from foundation.db import transactions
from foundation.errors import Rejected
from foundation.models import JournalLine
from foundation.tests.factories import AccountFactory, set_columns
from foundation.tests.instants import ago
from foundation.tests.racing import race, race_each
from inventory.tests.factories import ProductFactory
from orders.models import Order
from orders.placement import checkout, decisions
from orders.placement.decisions import OrderRequest, PlacementResult
from orders.tests import buying

pytestmark = pytest.mark.django_db(transaction=True)
CODE = "AUTUMN"


def shared_campaign(**terms) -> Campaign:
    return CampaignFactory(**{"code_source": "shared", "shared_code": CODE} | terms)


def request_of(buyer, product, code: str = CODE) -> OrderRequest:
    return buying.order_request(buyer, product, coupon=code)


def decide(requests: Sequence[OrderRequest], **locks: bool) -> list[PlacementResult]:
    """What becomes of the requests in one batch."""
    return transactions.run(partial(decisions.decide, requests, **locks), transactions.KEYED)


def reason(buyer, product, code: str = CODE) -> str:
    return buying.coupon_refusal(buyer, product, code)


@buying.by_two_strategies
def test_an_order_issues_the_accounts_own_coupon_and_holds_it(strategy):
    campaign, buyer = shared_campaign(), buying.account()
    product = ProductFactory(on_hand=5, price=5_000)

    with journal.acting(journal.ActorContext("account", buyer.id)):
        placed = buying.place(buyer, product, coupon=CODE)

    coupon = Coupon.objects.get()
    assert (coupon.account_id, coupon.status, coupon.order_id) == (buyer.id, "held", placed.order.id)
    assert (coupon.position, coupon.code == CODE) == (1, False)
    order = Order.objects.get()
    assert (order.coupon_code, order.discount_amount) == (coupon.code, 1_000)
    campaign.refresh_from_db()
    assert (campaign.issued, campaign.version) == (1, 1)
    lines = JournalLine.objects.filter(what__startswith="coupon.").order_by("id")
    noted = [("coupon.issued", buyer.id), ("coupon.held", buyer.id)]
    assert [(line.what, line.actor_id) for line in lines] == noted
    issued = {"status": "issued", "account": buyer.id, "position": 1}
    assert issued.items() <= (lines[0].after or {}).items()


@buying.by_two_strategies
def test_after_an_order_that_ended_unpaid_the_coupon_is_the_accounts_still(strategy):
    campaign = shared_campaign(quantity=1)
    product, buyer, other = ProductFactory(on_hand=5), buying.account(), buying.account()
    first = buying.place(buyer, product, coupon=CODE)
    assert reason(buyer, product) == "held"
    buying.cancel(first)

    assert reason(other, product) == "sold_out"
    pause(campaign)
    second = buying.place(buyer, product, coupon=CODE)

    assert second.order.coupon_code == first.order.coupon_code
    assert Coupon.objects.get().order_id == second.order.id


def test_a_coupon_of_post_coupons_is_the_one_that_the_shared_code_stands_for():
    campaign = shared_campaign()
    product, buyer = buying.product_and_buyer(on_hand=5)
    issued = issue(campaign, buyer.id)

    placed = buying.place(buyer, product, coupon=CODE)
    assert placed.order.coupon_code == issued.coupon.code
    assert issue(campaign, buyer.id).coupon.status == "held"
    assert Coupon.objects.count() == 1


def test_the_reasons_why_a_shared_code_is_refused(unlawful):
    product, buyer = buying.product_and_buyer(on_hand=50, price=5_000)
    terms = {
        ("LATER", "not_found"): {"scheduled": True},
        ("LATER-PAUSED", "not_found"): {"scheduled": True, "paused_at": timezone.now()},
        ("OVER", "campaign_closed"): {"closed": True},
        ("GONE", "sold_out"): {"quantity": 1, "issued": 1},
        ("PAUSED", "campaign_paused"): {"paused_at": timezone.now()},
        ("LISTED", "not_eligible"): {"eligible": "listed"},
        ("LARGE", "below_minimum"): {"min_order_amount": 5_001},
    }
    for (code, why), more in terms.items():
        shared_campaign(shared_code=code, **more)
        assert reason(buyer, product, code) == why
    void = shared_campaign(shared_code="VOID")
    issuing.void(code=coupon_of(void, buyer).code, reason="A mistake.")
    expired = shared_campaign(shared_code="EXPIRED")
    coupon_of(expired, buyer, expires_at=ago(seconds=1))
    redeemed = shared_campaign(shared_code="REDEEMED")
    buying.buy(buyer, product, coupon="REDEEMED")

    for code in ("VOID", "EXPIRED", "REDEEMED"):
        assert reason(buyer, product, code) == code.lower()
    assert reason(buyer, product, "redeemed") == "not_found"
    assert reason(buying.account().id, product, Coupon.objects.get(campaign=redeemed).code) == "not_found"
    assert Coupon.objects.count() == 3, "a refused order issues nothing"


def test_a_refusal_that_has_no_text_for_orders_refuses_with_its_own(monkeypatch):
    """A rule that is added refuses one order, and is no error of its batch."""
    shared_campaign()
    product, buyer = buying.product_and_buyer(on_hand=5, price=5_000)
    too_young = Rejected("The account is too young.", code="too_young")
    monkeypatch.setattr(allocating.Applicants, "refusal", lambda self, account_id: too_young)
    refused = buying.refusal_of(checkout.place, request_of(buyer, product), kind=Rejected)
    assert "too young" in str(refused) and refused.extra["reason"] == "too_young"


@pytest.mark.parametrize("code", [f"{CODE} ", f" {CODE}", CODE.lower()])
def test_a_code_that_is_nearly_a_shared_one_is_not_found_and_fails_no_neighbour(code):
    """MySQL compares without regard to spaces at the end."""
    shared_campaign()
    product = ProductFactory(on_hand=9, price=5_000)
    requests = [request_of(buying.account().id, product, one) for one in (code, "")]
    assert buying.reasons(decide(requests)) == {"not_found": 1, "PlacedOrder": 1}


def test_a_refused_order_leaves_no_coupon_behind():
    campaign = shared_campaign(quantity=1)
    product, buyers = ProductFactory(on_hand=1), accounts(3)
    sold_out = request_of(buyers[0], ProductFactory(on_hand=0))
    outcomes = decide([sold_out, *(request_of(id, product) for id in buyers)])
    assert buying.reasons(outcomes) == {"insufficient_stock": 3, "PlacedOrder": 1}
    assert positions(campaign) == [1]


def test_an_order_by_the_own_code_and_one_by_the_shared_code_in_a_batch_hold_it_once():
    product, buyer = buying.product_and_buyer(on_hand=5)
    own = coupon_of(shared_campaign(), buyer).code
    requests = [request_of(buyer, product, code) for code in (own, CODE, own)]
    for is_locked in (False, True):
        outcomes = decide(requests[::-1], lock_stock=is_locked, lock_coupons=is_locked)
    assert buying.reasons(outcomes) == {"held": 2, "Replay": 1}


@pytest.mark.usefixtures("numbers_at_hand")
def test_a_batch_of_any_size_takes_four_more_statements_than_without_a_coupon():
    shared_campaign(quantity=50)
    product = ProductFactory(on_hand=200)

    def statements(size, code):
        requests = [request_of(buying.account().id, product, code) for _ in range(size)]
        with CaptureQueriesContext(connection) as captured:
            decide(requests)
        return len(captured)

    assert statements(5, CODE) == statements(20, CODE)
    # Coupons by their codes, campaigns by theirs, the campaign's lock, its counters, and the new coupons.
    assert statements(5, CODE) == statements(5, "") + 5


def test_a_code_that_was_changed_while_the_order_waited_for_the_lock_is_not_found(monkeypatch):
    campaign, product, buyer = shared_campaign(), ProductFactory(on_hand=5), buying.account()
    lock = allocating.lock_campaign

    def lock_late(*arguments):
        race([lambda: change(campaign, shared_code="WINTER")])
        return lock(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(allocating, "lock_campaign", lock_late)
        assert reason(buyer, product) == "not_found"
    assert reason(buyer, product) == "not_found"
    buying.place(buyer, product, coupon="WINTER")


def test_a_campaign_that_opens_between_the_read_and_the_decision_refuses_as_it_was_read(monkeypatch):
    """Its row is not locked then, so nothing may be issued."""
    campaign, buyer = shared_campaign(scheduled=True), buying.account()
    product = ProductFactory(on_hand=5)
    read = rows.existing_coupons

    def read_late(*arguments, **named):
        set_columns(campaign, opens_at=ago(seconds=1))
        return read(*arguments, **named)

    monkeypatch.setattr(rows, "existing_coupons", read_late)
    assert reason(buyer, product) == "not_found"


def reasons_of_orders_and_requests(campaign) -> tuple[Counter[str], Counter[str]]:
    """What came of 40 orders with the code and of 40 requests for its coupon, all by 40 accounts at once."""
    product, buyers = ProductFactory(on_hand=100), accounts(40)
    orders = [partial(checkout.place, request_of(buyer, product)) for buyer in buyers]
    requests = [partial(issuing.issue, campaign_id=campaign.pk, user_id=buyer) for buyer in buyers]
    outcomes = race([*orders, *requests])
    return buying.reasons(outcomes[:40]), buying.reasons(outcomes[40:])


@pytest.mark.parametrize(
    ("strategy", "of_campaign"),
    [
        ("group_commit", "group_commit"),
        ("group_commit", "optimistic"),
        ("pessimistic", "pessimistic"),
        ("optimistic", "optimistic"),
        ("optimistic", "group_commit"),
        ("redis_gate", "conditional_update"),
    ],
    indirect=["strategy"],
)
def test_exactly_20_of_40_orders_and_40_requests_for_the_coupon_get_it(strategy, of_campaign, settings):
    settings.OPTIMISTIC_RETRIES = 100
    campaign = shared_campaign(quantity=20, strategy=of_campaign)

    placed, issued = reasons_of_orders_and_requests(campaign)

    assert set(placed) <= {"PlacedOrder", "sold_out"}, placed
    assert set(issued) <= {"Issued", "sold_out"}
    assert positions(campaign) == list(range(1, 21))
    held = Coupon.objects.filter(status="held").count()
    assert held == placed["PlacedOrder"] == Order.objects.count()


def test_all_of_40_orders_and_40_requests_get_the_coupon_of_a_code_for_everybody():
    campaign = shared_campaign(quantity=None)

    placed, issued = reasons_of_orders_and_requests(campaign)

    assert placed == {"PlacedOrder": 40}
    assert issued == {"Issued": 40}
    assert positions(campaign) == list(range(1, 41))
    assert Coupon.objects.filter(status="held").count() == 40


def test_twenty_orders_of_one_account_use_its_one_coupon_once(strategy, settings):
    settings.OPTIMISTIC_RETRIES = 100
    shared_campaign()
    product, buyer = buying.product_and_buyer(on_hand=100)
    outcomes = race([partial(checkout.place, request_of(buyer, product)) for _ in range(20)])
    assert buying.reasons(outcomes) == {"PlacedOrder": 1, "held": 19}


def test_two_shared_codes_and_own_codes_in_opposite_orders_meet_no_deadlock(settings):
    settings.INVENTORY_STRATEGY = "pessimistic"
    shared_campaign(quantity=1_000)
    shared_campaign(shared_code="WINTER", quantity=1_000)
    own = CampaignFactory(quantity=1_000)
    product = ProductFactory(on_hand=1_000)
    batches = []
    for index in range(20):
        buyers = AccountFactory.create_batch(3)
        named = [CODE, "WINTER", coupon_of(own, buyers[2]).code]
        requests = [request_of(buyer, product, code) for buyer, code in zip(buyers, named, strict=True)]
        batches.append(requests[:: -1 if index % 2 else 1])

    outcomes = race_each(decide, batches)
    assert [buying.reasons(one) for one in outcomes] == [{"PlacedOrder": 3}] * 20


def test_issuing_without_the_campaigns_lock_issues_more_than_there_are(monkeypatch, unlawful):
    """The naive twin: read the count, insert the coupons, write the count."""
    campaign = shared_campaign(quantity=20)
    products = ProductFactory.create_batch(40, on_hand=1)
    requests = [request_of(buying.account().id, product) for product in products]

    def write(coupons):
        for one in coupons.shared.values():
            for coupon, order_id in coupons.held:
                coupon.order_id, coupon.position = order_id, None
            set_columns(one.campaign, issued=one.campaign.issued + len(one.new))
            rows.insert_coupons(one.new)

    monkeypatch.setattr(coupon_requests, "write", write)
    monkeypatch.setattr(allocating, "lock_campaign", allocating.read_campaign)
    race_each(lambda request: decide([request], lock_coupons=False), requests)

    broken = {one.law: one.offenders for one in buying.broken_laws()}
    assert broken["L1"] == [str(campaign.pk)]


def test_listing_and_unlisting_beside_orders_is_exact():
    """After a removal was answered the account gets nothing; before, its coupon has a place in the order."""
    campaign = shared_campaign(quantity=1_000, eligible="listed")
    product, buyers = ProductFactory(on_hand=1_000), accounts(30)
    eligible_accounts.add(campaign_id=campaign.pk, account_ids=buyers)

    def unlist_then_order(buyer):
        eligible_accounts.remove(campaign_id=campaign.pk, account_ids=[buyer])
        return reason(buyer, product)

    late = [partial(unlist_then_order, buyer) for buyer in buyers[:15]]
    orders = [partial(checkout.place, request_of(buyer, product)) for buyer in buyers[15:]]
    outcomes = race([*late, *orders])

    assert outcomes[:15] == ["not_eligible"] * 15
    assert buying.reasons(outcomes[15:]) == {"PlacedOrder": 15}
    assert Coupon.objects.values("account").distinct().count() == Coupon.objects.count() == 15
