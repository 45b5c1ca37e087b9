"""A payment is charged, looked up, undone, refunded and compared at the gateway that it began at, whichever
takes new payments; two simulators with two books.
"""

import sys
from functools import partial

import pytest
from django.conf import LazySettings

from foundation import starting
from foundation.errors import NotFound, SignatureInvalid
from foundation.tests.racing import race, race_each
from foundation.tests.samples import Increases
from foundation.tests.second_connection import holding_row
from foundation.tests.second_process import environment
from inventory.tests.factories import ProductFactory
from orders import doctor
from orders.models import Order, Refund
from orders.payment import gateway_events, unreachable
from orders.placement.decisions import PlacedOrder
from orders.tests import buying, hanging
from orders.tests.owners import payment_of
from payments import gateways, rows, webhooks
from payments.gateways.contract import Books
from payments.models import Payment
from payments.reconciliation import reconciling
from payments.reconciliation.reconciling import Fix
from payments.tests import events
from payments.tests.own_gateway import change_book, nobody_there
from scripts.stack import places, ports
from scripts.tests import programs
from scripts.tests.simulator import everything, serving

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("impatient", "own_gateway", "unlawful"),
]
A, B = Books("simulator", ""), Books("b", "")
PRICE = 500
SECRET = "only for tests of b"


@pytest.fixture(autouse=True)
def other(settings, tmp_path):
    """The gateway `b` with a book of its own. New payments are not at it until `PAYMENT_GATEWAY` says so."""
    with serving("gateway", tmp_path, "--latency-ms", "0") as simulator:
        settings.PAYMENT_GATEWAYS = settings.PAYMENT_GATEWAYS | {"b": "simulator"}
        settings.GATEWAY_URL_B = f"http://{ports.HOST}:{simulator.port}"
        settings.GATEWAY_ACCOUNT_B = settings.GATEWAY_CHARGE_URL_B = ""
        settings.WEBHOOK_SECRET_B = SECRET
        yield simulator


@pytest.fixture
def product():
    return ProductFactory(on_hand=100, price=PRICE)


def buy(product, token="tok_ok") -> PlacedOrder:
    placed = buying.place_for_newcomer(product, token=token)
    buying.advance(placed)
    return placed


def kept(placed: PlacedOrder) -> tuple[int, int]:
    """What each gateway keeps of the order."""
    found = [list(gateways.of(books).charges(order_id=placed.order.id)) for books in (A, B)]
    at_a, at_b = (sum(charge.kept_amount for charge in charges) for charges in found)
    return at_a, at_b


def assert_books_agree():
    assert reconciling.reconcile(fix=Fix.OURS).findings == []
    assert buying.broken_laws() == []


def test_a_payment_in_doubt_is_settled_where_it_was_charged_after_another_gateway_takes_new_ones(
    product, settings
):
    placed, counted = buy(product, "tok_timeout_charged"), Increases("firstcome_payments_total")
    assert buying.status_of(placed) == "paying"
    settings.PAYMENT_GATEWAY = "b"
    # The other gateway would charge this token and answer.
    Payment.objects.update(token="tok_ok")

    assert buying.advance(placed).status == "paid"

    assert kept(placed) == (PRICE, 0)
    assert payment_of(placed).gateway == "simulator"
    assert counted() == {'firstcome_payments_total{gateway="simulator",outcome="succeeded"}': 1}
    assert_books_agree()


def assert_refundable(*orders: PlacedOrder):
    """Each is refunded, and nothing is kept of it at either gateway."""
    for placed in orders:
        assert buying.refunded(placed.order).status == "succeeded"
    assert {kept(placed) for placed in orders} == {(0, 0)}


def test_an_order_that_was_paid_before_the_change_is_compared_and_refunded_where_it_was_paid(
    product, settings
):
    old = buy(product)
    settings.PAYMENT_GATEWAY = "b"
    new = buy(product)
    assert (kept(old), kept(new)) == ((PRICE, 0), (0, PRICE))
    assert_books_agree()
    assert_refundable(old, new)
    assert set(Order.objects.values_list("status", flat=True)) == {"refunded"}
    assert_books_agree()


def test_a_gateway_named_as_its_kind_has_settings_of_its_own_too(product, settings, monkeypatch):
    """As of a kind that a guide adds: it shares no address, account or page with the simulator."""
    monkeypatch.setitem(gateways.GATEWAYS, "acme", gateways.GATEWAYS["simulator"])
    settings.PAYMENT_GATEWAYS = {"simulator": "simulator", "acme": "acme", "b": "simulator"}
    for name in ("GATEWAY_URL", "GATEWAY_ACCOUNT", "GATEWAY_CHARGE_URL"):
        setattr(settings, f"{name}_ACME", getattr(settings, f"{name}_B"))
    old = buy(product)
    settings.PAYMENT_GATEWAY = "acme"
    new = buy(product)
    assert (kept(old), kept(new)) == ((PRICE, 0), (0, PRICE))
    assert_refundable(old, new)
    assert [payment_of(placed).gateway for placed in (old, new)] == ["simulator", "acme"]


def test_a_payment_at_stripe_stays_there_after_the_simulator_takes_new_ones(product, settings, request):
    stripe = request.getfixturevalue("own_stripe")
    old = buy(product, "pm_card_visa")
    settings.PAYMENT_GATEWAY = "simulator"
    new = buy(product)

    assert [payment_of(one).gateway for one in (old, new)] == ["stripe", "simulator"]
    assert buying.status_of(old) == buying.status_of(new) == "paid"
    assert_books_agree()
    assert buying.refunded(old.order).status == "succeeded"
    assert kept(old) == (0, 0) and kept(new) == (PRICE, 0)
    assert_books_agree()
    page = gateways.charge_page("stripe", payment_of(old).charge_reference)
    assert page.startswith("https://dashboard.stripe.com/test/payments/pi_")
    assert stripe.url not in page and gateways.charge_page("simulator", "ch_1") == ""


def test_a_payment_in_doubt_is_undone_where_it_may_be_charged_and_a_stray_charge_refunded_where_it_is(
    product, settings
):
    placed = buy(product, "tok_timeout_lost")
    settings.PAYMENT_GATEWAY = "b"
    hanging.make_overdue(buying.saga_of(placed))
    assert buying.advance(placed).status == "payment_failed"
    payment = payment_of(placed)
    found = [gateways.of(books).find(key=payment.charge_key).status for books in (A, B)]
    assert found == ["cancelled", "absent"]

    # A process of the release before, which knows no gateway but the new one, charges it there.
    asked = {"key": payment.charge_key, "token": "tok_ok", "amount": PRICE, "currency": payment.currency}
    assert gateways.of(B).charge(**asked, order_id=placed.order.id).status == "succeeded"
    run = reconciling.reconcile(fix=Fix.OURS)
    [found] = run.findings
    assert (found["kind"], found["gateway"], found["done"]) == ("unknown_charge", "b", "")
    assert reconciling.fix_finding(run_id=run.pk, key=found["key"], reason="ours") == "refunded"
    assert kept(placed) == (0, 0)
    assert_books_agree()


def test_a_charge_that_came_too_late_is_refunded_where_it_is(product, settings, gateway_process):
    placed = buy(product, "tok_declined")
    settings.PAYMENT_GATEWAY = "b"
    late = "UPDATE charges SET status = 'succeeded', token = 'tok_ok', failure = NULL"
    assert change_book(gateway_process[1], late) == 1

    [found] = reconciling.reconcile(fix=Fix.OURS).findings

    assert (found["kind"], found["gateway"], found["done"]) == ("charged_after_end", "simulator", "refunded")
    assert kept(placed) == (0, 0)
    assert_books_agree()


def test_the_gateway_is_changed_in_the_middle_of_a_burst(product, settings, other):
    """What began before is settled there, in doubt or not; refunds go to both, no book has the other's."""
    before = [buy(product, token) for token in ("tok_ok", "tok_timeout_charged")]

    def change():
        settings.PAYMENT_GATEWAY = "b"

    tokens = ["tok_ok", "tok_timeout_charged", "tok_flaky", "tok_declined"] * 5
    half = len(tokens) // 2
    burst = [partial(buy, product, token) for token in tokens]
    outcomes = race([*burst[:half], change, *burst[half:]])
    errors = [one for one in outcomes if isinstance(one, BaseException)]
    assert not errors
    after = [buy(product, token) for token in ("tok_ok", "tok_timeout_charged")]
    placed = [*before, *filter(None, outcomes), *after]

    buying.settle_everything()

    assert {payment_of(one).gateway for one in before} == {"simulator"}
    assert {payment_of(one).gateway for one in after} == {"b"}
    for one in placed:
        payment, is_paid = payment_of(one), buying.status_of(one) == "paid"
        at = {"simulator": (PRICE, 0), "b": (0, PRICE)}
        assert kept(one) == (at[payment.gateway] if is_paid else (0, 0)), payment.gateway
    keys = Payment.objects.filter(gateway="b").values_list("charge_key", flat=True)
    assert {charge["key"] for charge in everything(other, "/charges")} <= {*keys}
    assert_books_agree()

    paid = [one for one in placed if buying.status_of(one) == "paid"]
    assert {payment_of(one).gateway for one in paid} == {"simulator", "b"}
    for outcome in race_each(lambda one: buying.refund(one.order), paid):
        assert not isinstance(outcome, BaseException)
    buying.settle_everything()
    assert set(Refund.objects.values_list("status", flat=True)) == {"succeeded"}
    assert {kept(one) for one in placed} == {(0, 0)}
    assert_books_agree()


def test_a_gateway_that_is_away_stops_no_calls_of_another(product, settings):
    settings.PAYMENT_GATEWAY = "b"
    with nobody_there(settings):
        for number in range(12):
            assert gateways.of(A).find(key=f"key {number}").status == "unknown"
        assert "is not reachable" in gateways.of(A).find(key="one more").failure_detail
        assert kept_at_b(buy(product)) == PRICE
    assert_books_agree()


def kept_at_b(placed: PlacedOrder) -> int:
    return sum(one.kept_amount for one in gateways.of(B).charges(order_id=placed.order.id))


def test_a_book_that_can_not_be_read_leaves_the_others_compared(product, settings):
    settings.PAYMENT_GATEWAY = "b"
    placed = buy(product)
    refund_at_the_gateway = gateways.of(B).refund(
        key="by hand", charge_reference=payment_of(placed).charge_reference, amount=PRICE
    )
    assert refund_at_the_gateway.status == "succeeded"
    settings.PAYMENT_GATEWAY = "simulator"
    with nobody_there(settings):
        run = reconciling.reconcile(fix=Fix.NOTHING)

    assert "can't be read" in run.unread
    assert [(one["kind"], one["gateway"]) for one in run.findings] == [("wrong_refunds", "b")]


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"PAYMENT_GATEWAYS": {"b": "simulator"}}, "PAYMENT_GATEWAYS has no 'simulator'"),
        ({"GATEWAY_ACCOUNT": "acct_2"}, "the account of 'simulator' is now 'acct_2', not ''"),
    ],
)
def test_a_payment_whose_gateway_is_gone_waits_and_is_charged_nowhere_else(product, settings, changed, why):
    placed = buy(product, "tok_timeout_charged")
    settings.PAYMENT_GATEWAY = "b"
    for name, value in changed.items():
        setattr(settings, name, value)
    Payment.objects.update(token="tok_ok")

    assert buying.advance(placed).status == "paying"

    saga = buying.saga_of(placed)
    assert why in saga.last_error
    assert payment_of(placed).status == "in_doubt"
    assert kept_at_b(placed) == 0
    assert reconciling.reconcile(fix=Fix.OURS).findings == []


def test_a_webhook_is_of_the_gateway_that_it_names_and_signed_with_its_secret(product, settings):
    placed = buy(product, "tok_timeout_charged")
    body = events.body_of(key=payment_of(placed).charge_key)

    for secret, name in [(SECRET, "simulator"), (settings.WEBHOOK_SECRET_SIMULATOR, "b")]:
        with pytest.raises(SignatureInvalid):
            webhooks.receive(gateway=name, headers=events.signed(body, secret=secret), body=body)
    with pytest.raises(NotFound):
        webhooks.receive(gateway="c", headers=events.signed(body), body=body)

    event = webhooks.receive(gateway="b", headers=events.signed(body, secret=SECRET), body=body)
    assert event and gateway_events.handle(event.id)
    event.refresh_from_db()
    assert event.outcome == "ignored: the payment is at simulator"
    assert buying.status_of(placed) == "paying"

    settings.PAYMENT_GATEWAY = "b"
    ours = events.take(body)
    assert gateway_events.handle(ours.id)
    assert buying.status_of(placed) == "paid"


def test_payments_of_the_release_before_are_at_the_gateway_of_the_update_for_good(product, settings):
    """They name no gateway, until the first comparison by schedule names the one that is in use."""
    in_doubt, paid = buy(product, "tok_timeout_charged"), buy(product)
    Payment.objects.update(gateway="", gateway_account="")
    assert found_by_doctor() == [("warning", "not all named")]
    assert_books_agree()
    assert buying.advance(in_doubt).status == "paid"

    reconciling.reconcile_by_schedule()

    settings.PAYMENT_GATEWAY = "b"
    assert set(Payment.objects.values_list("gateway", flat=True)) == {"simulator"}
    for placed in (in_doubt, paid):
        assert buying.refunded(placed.order).status == "succeeded"
    assert_books_agree()


def test_a_payment_that_is_locked_is_named_later_and_holds_up_no_other(product):
    """Comparisons that overlap would wait for one another's payments, and all name the same ones."""
    locked, _ = (payment_of(buy(product)) for _ in range(2))
    Payment.objects.update(gateway="")
    unnamed = Payment.objects.filter(gateway="")
    with holding_row(locked):
        rows.name_gateways()
        assert [*unnamed.values_list("id", flat=True)] == [locked.id]
    rows.name_gateways()
    assert not unnamed.exists()


def left(settings: LazySettings):
    """Only `b` is configured from now on."""
    settings.PAYMENT_GATEWAY, settings.PAYMENT_GATEWAYS = "b", {"b": "simulator"}


def found_by_doctor() -> list[tuple[str, str]]:
    findings = [one for one in doctor.examine() if one.check == "payments' gateways"]
    return [(one.level, one.found) for one in findings]


def test_no_process_starts_while_a_payment_is_open_at_a_gateway_that_is_not_configured(
    product, settings, monkeypatch, capfd
):
    monkeypatch.setattr(starting, "PAUSE_SECONDS", 0)
    placed = buy(product, "tok_timeout_charged")
    free = ProductFactory(on_hand=1, price=0)
    buy(free, "")
    unreachable.refuse_to_start()
    before = settings.PAYMENT_GATEWAYS
    left(settings)

    with pytest.raises(SystemExit) as ended:
        unreachable.refuse_to_start()

    assert ended.value.code == 1
    [line] = capfd.readouterr().err.splitlines()[-1:]
    assert line == (
        "firstcome: not starting: payments are open at a gateway that is not configured: "
        "PAYMENT_GATEWAYS has no 'simulator'."
    )
    assert found_by_doctor() == [("ok", "named"), ("danger", "PAYMENT_GATEWAYS has no 'simulator'; open")]

    settings.PAYMENT_GATEWAYS = before
    assert buying.advance(placed).status == "paid"
    left(settings)
    unreachable.refuse_to_start()
    _, (level, found) = found_by_doctor()
    assert (level, found[:58]) == ("warning", "PAYMENT_GATEWAYS has no 'simulator'; the newest that can b")

    settings.PAYMENT_GATEWAYS = before
    buying.refunded(placed.order)
    left(settings)
    assert found_by_doctor() == [("ok", "named")]


@pytest.mark.boots("a Python process")
@pytest.mark.parametrize(
    "words",
    [
        ["celery", "-A", "shop", "worker", "--pool", "threads"],
        ["gunicorn", "--config", "python:shop.web_server", "--workers", "1"],
    ],
    ids=["worker", "web"],
)
def test_the_serving_processes_ask_at_their_start(words, product, settings, tmp_path):
    buy(product, "tok_timeout_charged")
    named = {"PAYMENT_GATEWAYS": "b=simulator", "PAYMENT_GATEWAY": "b", "GATEWAY_URL_B": "http://b"}
    own = environment(**named, DJANGO_SETTINGS_MODULE="shop.settings", PYTHONPATH=str(places.PROJECT))

    ended = programs.end([sys.executable, "-m", *words], tmp_path, seconds=60, **own)

    assert ended.returncode == 1
    assert "not starting: payments are open at a gateway that is not configured" in ended.stderr
