"""The test run's own Stripe: localstripe as a process, behind the recording proxy, empty for each test."""

import sys
import threading

import pytest

from payments.gateways import stripe_calls
from payments.gateways.contract import GatewayResult
from payments.tests.own_gateway import AtGateway
from payments.tests.stripe_proxy import StripeProxy
from scripts.stack import children, ports
from scripts.tests.circles import once_a_session

# Its own command listens on every address there is.
PROGRAM = """
import sys
from aiohttp import web
from localstripe.server import app
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
"""
SECRET = "whsec_only_for_tests"
# Stripe's own test cards, as far as it has them; the others are the proxy's.
STRIPES_CARDS = {
    "tok_ok": "pm_card_visa",
    "tok_declined": "pm_card_visa_chargeDeclined",
    "tok_insufficient_funds": "pm_card_visa_chargeDeclinedInsufficientFunds",
}
# Stripe's own card for 3-D Secure.
ASKING_CARD = {"number": "4000002500003155", "exp_month": "12", "exp_year": "2030", "cvc": "123"}


class AtStripe(AtGateway):
    server: StripeProxy
    fixture, no_charge = "own_stripe", "pi_none"

    @staticmethod
    def card(token: str) -> str:
        return STRIPES_CARDS.get(token, token.replace("tok_", "pm_"))

    def asking_card(self) -> str:
        return self.server.payment_method(type="card", card=ASKING_CARD)

    def decide(self, result: GatewayResult, is_approved: bool):
        self.server.authenticate("one", is_approved=is_approved)

    def dispute(self, reference: str, amount: int, status: str):
        self.server.dispute(reference, amount=amount, status={"open": "under_review"}.get(status, status))

    def fail_refund(self, reference: str):
        made = stripe_calls._client().refunds.retrieve(reference)
        self.server.memory.refunds_not_taken[made.id] = str(made.payment_intent), made.amount


@pytest.fixture(scope="session")
@once_a_session
def localstripe(tmp_path_factory):
    """The address of the process itself, without the proxy."""
    port, log = ports.free(), tmp_path_factory.mktemp("localstripe") / "log"
    command = [sys.executable, "-c", PROGRAM, str(port)]
    with children.running(command, name="localstripe", log=log, is_ready=(ports.HOST, port)):
        yield f"http://{ports.HOST}:{port}"


@pytest.fixture(scope="session")
def stripe_proxy(localstripe):
    with StripeProxy(localstripe) as proxy:
        threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield proxy
        proxy.shutdown()


@pytest.fixture
def own_stripe(stripe_proxy, settings):
    """The run's own Stripe, with an empty book, which the shop uses in this test."""
    settings.PAYMENT_GATEWAY = "stripe"
    settings.STRIPE_API_KEY = "sk_test_only_for_tests"
    settings.STRIPE_API_BASE = stripe_proxy.url
    settings.WEBHOOK_SECRET_STRIPE = SECRET
    stripe_proxy.forget()
    yield stripe_proxy
    stripe_proxy.memory.over.set()
    assert not stripe_proxy.memory.violations, "requests of another version of Stripe's API"
