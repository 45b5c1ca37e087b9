"""How each card of the simulator ends, over HTTP: a web server, a worker, the gateway and its webhooks.

Every order has a coupon and points besides its card, so that what is held has something to be released.
"""

import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
import urllib3

from accounts.tests.clients import client_of, problem_of
from coupons.models import Coupon
from coupons.tests.factories import CampaignFactory
from events.feed import sequencing
from foundation.operations import dispatch
from foundation.tests import live
from foundation.tests.case_tables import in_one_test
from foundation.tests.factories import AccountFactory
from foundation.tests.racing import race, wait_until
from foundation.tests.waiting import in_background
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders import tasks
from orders.models import Order, Saga, SagaLog
from orders.payment import charging
from orders.tests import buying
from orders.tests.buying import order_of
from orders.tests.conftest import start_worker
from orders.tests.observed_stack import LiveShop
from payments.models import Payment, WebhookEvent
from payments.tests.own_gateway import empty_book
from scripts.simulators import charges
from scripts.stack import children, ports
from scripts.tests.circles import boots
from scripts.tests.simulator import Simulator, serving

pytestmark = pytest.mark.django_db(transaction=True)
GIVE_UP_SECONDS = 7
SWEEP_SECONDS = 0.1
POINTS, DISCOUNT, PRICE = 100, 200, 1_000
CARD = PRICE - DISCOUNT - POINTS
CHARGED = [("succeeded", CARD)]


@dataclass(frozen=True, kw_only=True)
class Ending:
    """The outcome of a card: the answer of a call that waits, the payment, its failure, the charges."""

    answer: int = 201
    order: str = "paid"
    payment: str = "succeeded"
    failure: str = ""
    booked: list[tuple[str, int]] = field(default_factory=lambda: CHARGED)
    # The answer of a top-up that doesn't wait: the charge itself if the gateway replies in time.
    top_up: int = 201
    is_in_doubt: bool = False


def failing(code: str, *, status: str, top_up: int, is_in_doubt=False) -> Ending:
    return Ending(
        answer=402,
        order="payment_failed",
        payment="failed",
        failure=code,
        booked=[(status, CARD if status == "declined" else 0)],
        top_up=top_up,
        is_in_doubt=is_in_doubt,
    )


ENDINGS = {
    "tok_ok": Ending(),
    "tok_declined": failing("card_declined", status="declined", top_up=402),
    "tok_insufficient_funds": failing("insufficient_funds", status="declined", top_up=402),
    "tok_error": failing("gave_up", status="cancelled", top_up=202, is_in_doubt=True),
    "tok_flaky": Ending(top_up=202, is_in_doubt=True),
    "tok_slow": Ending(),
    "tok_timeout_charged": Ending(top_up=202, is_in_doubt=True),
    "tok_timeout_lost": failing("gave_up", status="cancelled", top_up=202, is_in_doubt=True),
    "tok_refund_fails": Ending(),
    "tok_webhook": Ending(top_up=202),
}
# In doubt until the shop gives up.
NEVER_TOLD = ("tok_error", "tok_timeout_lost")
every_card = pytest.mark.parametrize("token", ENDINGS)


@dataclass(frozen=True)
class Shop(LiveShop):
    """The running shop, its gateway and the folder of the gateway's book."""

    simulator: Simulator
    book: Path

    def booked(self, **query: str) -> list[tuple[str, int]]:
        """Status and kept amount of the charges in the gateway's book."""
        _, page = self.simulator.get("/charges", **query)
        return [(one["status"], one["amount"] - one["refunded_amount"]) for one in page["results"]]


@pytest.fixture(scope="module")
@boots("a worker and a gateway", in_first_circle=True)
def started(django_db_setup, data_platform_process, tmp_path_factory):
    """A web server, a worker, and a gateway that calls the shop."""
    folder, port = tmp_path_factory.mktemp("shop"), ports.free()
    own = {
        "GATEWAY_URL": f"http://{ports.HOST}:{port}",
        "PAYMENT_GIVE_UP_SECONDS": str(GIVE_UP_SECONDS),
        # No request's wait may delay the answer of another.
        "WEB_THREADS": "16",
    }
    with ExitStack() as stack:
        address = stack.enter_context(live.web(folder, **own))
        options = ["--latency-ms", "0", "--webhook-url", f"{address}/api/v1/webhooks/simulator"]
        simulator = stack.enter_context(serving("gateway", folder, *options, port=port))
        stack.callback(
            children.stop, start_worker(folder / "worker.log", simulator, data_platform_process[0])
        )
        yield Shop(address, simulator, folder)


@pytest.fixture
def without_beat(started, own_gateway, settings):
    """The running shop with an empty book."""
    empty_book(started.book)
    settings.GATEWAY_URL = f"http://{ports.HOST}:{started.simulator.port}"
    yield started
    # The worker goes on while the tables are emptied, one after the other.
    wait_until(lambda: not sequencing.unsequenced().exists(), seconds=10)


@pytest.fixture
def shop(without_beat):
    """The same, with a thread that enqueues what is due for the worker as beat does, repeatedly."""
    is_over = threading.Event()

    def sweep():
        while not is_over.wait(SWEEP_SECONDS):
            dispatch.enqueue(tasks.advance)
            tasks.handle_webhooks_due()

    sweeping = in_background(sweep)
    yield without_beat
    is_over.set()
    sweeping.result()


class Purchase:
    """An order of one product by card, coupon and points, by an account with just those that it needs.

    It is sent with one key.
    """

    def __init__(self, shop, token):
        self.shop, self.token, self.buyer = shop, token, buying.account(points=POINTS)
        self.product: Product = ProductFactory(on_hand=1, price=PRICE)
        self.coupon = buying.coupon_code(self.buyer, discount_value=DISCOUNT)

    def send(self, *, is_paid=True, **headers: str) -> urllib3.BaseHTTPResponse:
        token = self.token if is_paid else ""
        body = buying.order_of(self.product, token, coupon=self.coupon, points_amount=POINTS)
        return self.shop.post(self.buyer, "/orders", body, **headers)

    @property
    def order(self):
        return self.shop.get(self.buyer, f"/orders/{Order.objects.get(account=self.buyer).id}")

    @property
    def payment(self):
        return self.shop.get(self.buyer, f"/payments/{Payment.objects.get(account=self.buyer).id}")

    @property
    def coupon_status(self) -> str:
        return self.shop.get(self.buyer, f"/coupons/{self.coupon}")["status"]

    @property
    def points(self) -> int:
        return self.shop.get(self.buyer, "/wallet")["balance_amount"]

    @property
    def stock(self) -> tuple[int, int]:
        return Product.objects.values_list("on_hand", "reserved").get(id=self.product.id)

    @property
    def booked(self) -> list[tuple[str, int]]:
        return self.shop.booked(key=Payment.objects.get(account=self.buyer).charge_key)


def settled():
    """Wait until every saga has ended and every event is handled."""
    wait_until(lambda: not Saga.objects.filter(ended_at=None).exists(), seconds=60)
    wait_until(lambda: not WebhookEvent.objects.filter(handled_at=None).exists(), seconds=30)


def assert_ended(purchase, ending):
    """Assert the order, payment, charges and holdings that the card demands."""
    order, payment = purchase.order, purchase.payment
    is_paid = ending.order == "paid"
    assert (order["status"], payment["status"]) == (ending.order, ending.payment)
    assert (order["items_amount"], order["discount_amount"]) == (PRICE, DISCOUNT)
    assert (order["points_amount"], order["card_amount"]) == (POINTS, CARD)
    assert order["total_amount"] == PRICE - DISCOUNT
    for one in (order, payment):
        assert (one["failure"] or {}).get("code", "") == ending.failure
    assert purchase.booked == ending.booked
    assert purchase.coupon_status == ("redeemed" if is_paid else "issued")
    assert purchase.points == (0 if is_paid else POINTS)
    assert purchase.stock == ((0, 0) if is_paid else (1, 0))
    tried = SagaLog.objects.filter(saga__subject_id=payment["id"], step="charge_card", event="failed")
    assert tried.filter(direction="do").exists() == ending.is_in_doubt


@pytest.mark.boots("a web server", in_first_circle=True)
@every_card
def test_an_order_ends_as_its_card_token_demands(shop, token):
    """Paid at once with and without waiting, and paid later."""
    ending = ENDINGS[token]
    waiting, leaving, later = [Purchase(shop, token) for _ in range(3)]
    placed = later.send(is_paid=False)
    assert (placed.status, placed.json()["status"]) == (201, "awaiting_payment")
    card = {"order": placed.json()["id"], "token": token}
    pay = partial(shop.post, later.buyer, "/payments", card, key="pay")
    seeing = partial(seen_in_doubt, later) if token in NEVER_TOLD else lambda: None
    waits = {"Prefer": "wait=30"}
    waited, left, paid, seen = race(
        [partial(waiting.send, **waits), leaving.send, partial(pay, **waits), seeing]
    )

    assert (waited.status, paid.status) == (ending.answer, ending.answer)
    assert seen == (("paying", "held", 0, (1, 1)) if token in NEVER_TOLD else None)
    assert (left.status, left.json()["status"]) == (202, "paying")
    assert left.headers["Location"] == f"/api/v1/orders/{left.json()['id']}"
    settled()
    for purchase in (waiting, leaving, later):
        assert_ended(purchase, ending)
    for again in (waiting.send(), leaving.send(), pay()):
        assert (again.status, again.headers["Idempotency-Replayed"]) == (ending.answer, "true")
    assert_answered(waited, waiting.order, "order")
    assert_answered(paid, later.payment, "payment")


def seen_in_doubt(purchase) -> tuple[str, str, int, tuple[int, int]]:
    """What is held while the outcome of the charge is unknown."""
    wait_until(lambda: Payment.objects.filter(account=purchase.buyer, status="in_doubt").exists())
    return purchase.order["status"], purchase.coupon_status, purchase.points, purchase.stock


def assert_answered(response: urllib3.BaseHTTPResponse, shown, name: str):
    """Assert the settled answer: the current body, or the refusal that names it."""
    body = response.json()
    if response.status == 201:
        assert body == shown
    else:
        assert response.headers["Content-Type"] == "application/problem+json"
        assert (body["code"], body[name]) == ("payment_declined", shown["id"])


@every_card
def test_a_top_up_ends_as_its_card_token_demands(shop, token):
    ending, waiting, leaving = ENDINGS[token], buying.account(), buying.account()
    body = {"amount": CARD, "token": token}
    top_up = partial(shop.post, path="/wallet/top-ups", body=body)
    waited, left = race([partial(top_up, waiting, Prefer="wait=30"), partial(top_up, leaving)])

    assert (waited.status, left.status) == (ending.answer, ending.top_up)
    settled()
    for buyer in (waiting, leaving):
        payment = Payment.objects.get(account=buyer)
        shown = shop.get(buyer, f"/payments/{payment.id}")
        assert (shown["status"], shown["order"]) == (ending.payment, None)
        assert (shown["failure"] or {}).get("code", "") == ending.failure
        assert shop.booked(key=payment.charge_key) == ending.booked
        balance = CARD if ending.payment == "succeeded" else 0
        assert shop.get(buyer, "/wallet")["balance_amount"] == balance
        again = top_up(buyer)
        assert (again.status, again.headers["Idempotency-Replayed"]) == (ending.answer, "true")


def test_a_webhook_settles_a_card_that_is_pending(shop):
    """While the gateway is working nothing is in doubt, and everything is held."""
    purchase = Purchase(shop, "tok_webhook")
    assert purchase.send().status == 202
    wait_until(lambda: purchase.booked == [("pending", CARD)])
    assert (purchase.order["status"], purchase.payment["status"]) == ("paying", "pending")
    assert (purchase.coupon_status, purchase.points, purchase.stock) == ("held", 0, (1, 1))
    settled()
    assert_ended(purchase, ENDINGS["tok_webhook"])
    [event] = WebhookEvent.objects.all()
    assert (event.type, event.outcome) == ("charge.succeeded", "the payment is succeeded")


def is_handled() -> bool:
    """Whether the event is handled: one that came before its payment was settled is due again."""
    tasks.handle_webhooks_due()
    return WebhookEvent.objects.filter(handled_at__isnull=False).exists()


def test_a_call_that_waits_for_a_pending_charge_gets_201_once_the_webhook_has_arrived(without_beat):
    """Without beat and the webhook the order would be `paying` for ever."""
    product, buyer = buying.product_and_buyer(on_hand=1, price=500)
    body = buying.order_of(product, "tok_webhook")
    seen = set()
    started_at = time.monotonic()
    answer = in_background(partial(without_beat.post, buyer, "/orders", body, Prefer="wait=30"))
    while not answer.done():
        seen |= set(Payment.objects.values_list("status", flat=True))
        time.sleep(0.02)
    assert 2 <= time.monotonic() - started_at < 15
    assert (answer.result().status, answer.result().json()["status"]) == (201, "paid")
    assert seen <= {"pending", "succeeded"} and "pending" in seen
    wait_until(is_handled)
    assert WebhookEvent.objects.get().charge_key == Payment.objects.get().charge_key
    assert SagaLog.objects.filter(step=charging.NAME, attempt__gt=0).exists()


def test_every_card_of_the_simulator_is_covered():
    """But the card whose owner decides: `test_cards_api.py`."""
    assert set(ENDINGS) | {"tok_3ds"} == set(charges.CARDS)


@in_one_test(
    ("path", "body", "expected"),
    [
        ("/api/v1/orders", {"items": []}, (401, "token_invalid")),
        ("/api/v1/orders", {"items": [], "payment": {"token": "tok_ok"}}, (401, "token_invalid")),
        ("/api/v1/coupons", {"campaign": 0}, (401, "token_invalid")),
        ("/api/v1/wallet/top-ups", {"amount": 500, "token": "tok_ok"}, (404, "not_found")),
    ],
)
def test_a_call_of_an_account_that_is_not_there_is_refused_and_changes_nothing(path, body, expected):
    product, campaign = ProductFactory(on_hand=10), CampaignFactory()
    lost = AccountFactory()
    client = client_of(lost)
    lost.delete()
    named = order_of(product, campaign=campaign.pk)

    response = client.post(path, {name: named.get(name, body[name]) for name in body}, key="of-the-lost")

    assert problem_of(response) == expected, response.content
    assert not (Order.objects.exists() or Coupon.objects.exists() or Payment.objects.exists())
