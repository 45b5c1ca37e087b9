"""What the shop in the containers sells, to whom, and the comparison of all answers with what it holds."""

import dataclasses
import json
import time
import uuid
from dataclasses import dataclass

from lab.chaos import comparison, trial
from lab.chaos.calls import Answer, Call, Connection, Observations
from lab.chaos.memory import Account, RecordedCall, Setup
from lab.chaos.shop import Shop
from lab.containers.project import Project
from lab.containers.report import require
from scripts.stack import own_stack

PRODUCTS, STOCK, PLENTY, COUPONS = 6, 20_000, 1_000_000, 400
BUYERS, ACCOUNTS_EACH = 4, 6
USERS = BUYERS * ACCOUNTS_EACH + 1
"""The accounts of the load's buyers, and the customer of single orders."""
PAID_SECONDS, WAIT_SECONDS, SETTLE_SECONDS = 90, 20, 180
TOKENS = "/tmp/tokens.json"  # noqa: S108 (the container's own)


@dataclass
class ShopUnderTest:
    """The shop as its clients know it: every call that was made, and every answer."""

    project: Project
    setup: Setup
    shop: Shop
    seen: Observations

    @property
    def customer(self) -> Account:
        """The account of single orders; the load uses the others."""
        return self.setup.buyers[-1]

    def for_load(self) -> Setup:
        return dataclasses.replace(self.setup, buyers=self.setup.buyers[:-1])

    def order(self, *, wait: int = WAIT_SECONDS) -> "Order":
        """A new order of the customer's, which is not sent yet."""
        item = {"product": self.setup.ample.id, "quantity": 1}
        body = {"items": [item], "payment": {"token": "tok_ok"}}
        call = Call("POST", "/orders", self.customer.token, body, uuid.uuid4().hex, wait)
        return Order(self, call)

    def new_findings(self) -> list[str]:
        """The answers since the last call that no client should get.

        A call that was waited for in vain is none: the machine may do much else, and the call was repeated.
        """
        with self.seen.mutex:
            found, self.seen.findings = self.seen.findings, []
        return [finding for finding in found if " hung for " not in finding]

    def require_paid_order(self) -> str:
        """Place an order, and repeat the call until it is paid. Raises CheckFailed and NoFinalAnswer."""
        started = time.monotonic()
        order_id = self.order().until_paid()
        return f"order {order_id} paid in {time.monotonic() - started:.1f} s"

    def require_all_as_answered(self) -> str:
        """Wait until all is settled, then compare answers, the simulators' books and the laws. Raises
        CheckFailed."""
        trial.settle(self.setup, self.shop, self.seen, within_seconds=SETTLE_SECONDS)
        found = list(comparison.findings(self.setup, self.shop))
        found += [*self.new_findings(), *broken_laws(self.project)]
        require(not found, "\n".join([f"{len(found)} findings", *found[:20]]))
        calls = [made for account in [self.setup.staff, *self.setup.buyers] for made in account.calls]
        done = sum(made.was_done for made in calls)
        return f"{len(calls)} calls, {done} with an effect: none lost, none doubled; every law holds"


@dataclass(frozen=True)
class Order:
    """One order of the customer's, by its call."""

    tested: ShopUnderTest
    call: Call

    def send_once(self) -> Answer | None:
        """The answer to one attempt; None for none."""
        return self._connection().call_once(self.call)

    def until_paid(self) -> str:
        """Repeat the call until the order is paid; its id. Raises CheckFailed and NoFinalAnswer."""
        connection, deadline = self._connection(), time.monotonic() + PAID_SECONDS
        while (answer := connection.call_until_final(self.call, until=deadline)).status == 202:
            require(
                time.monotonic() < deadline, f"the order is not paid after {PAID_SECONDS} s: {answer.body}"
            )
            time.sleep(0.2)
        self.tested.customer.calls.append(RecordedCall("order", self.call, answer))
        is_paid = answer.status == 201 and answer.body["status"] == "paid"
        require(is_paid, f"the order was answered {answer.status}: {answer.body}")
        return str(answer.body["id"])

    def _connection(self) -> Connection:
        return Connection(self.tested.project.instance.port, self.tested.seen, seed=self.call.key)


def broken_laws(project: Project) -> list[str]:
    """What `manage.py audit` finds broken."""
    return own_stack.broken(json.loads(project.manage("audit --json", codes=(0, 1)))["laws"])


def seed_shop(project: Project, seen: Observations) -> ShopUnderTest:
    """Seed accounts, products and campaigns. Raises SetupError."""
    script = f"DEMO=1 python manage.py seed_demo --users {USERS} --tokens {TOKENS} >&2 && cat {TOKENS}"
    known = json.loads(project.compose("exec", "-T", "web", "sh", "-c", script))
    shop = Shop(project.instance, known["staff"], seen)
    setup = shop.stocked(known, "Container", products=PRODUCTS, on_hand=STOCK, plenty=PLENTY)
    setup.campaigns = [shop.create_campaign("Container", quantity=COUPONS) for _ in range(2)]
    return ShopUnderTest(project=project, setup=setup, shop=shop, seen=seen)
