"""The shop as staff and the comparison see it over HTTP, the outside systems' own books, and what a load on a
stack begins and ends with: goods and campaigns, then a wait until all is settled, and the laws."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from lab import calls
from lab.calls import Account, Answer, Call, Connection, Findings, Observations, Product, RecordedCall, Setup
from scripts.stack import Json, SetupError, own_stack, ports
from scripts.stack.children import say
from scripts.stack.instance import Instance

PATIENCE_SECONDS = 60
FINAL_SECONDS = 90
LARGEST_PAGE = 200
CODES_AT_ONCE = 10_000
# An order that was paid; `refunding` is on its way from one of these to one of these.
BOUGHT = {"paid", "refunded"}
UNPAID = ("payment_failed", "cancelled", "expired")
ENDS = dict.fromkeys(BOUGHT, "order.paid") | {status: f"order.{status}" for status in UNPAID}
SETTLED = {"succeeded", "failed", "reversed"}
# Short times, so that what is left undone ends within the trial; a few accounts buy as many would.
SETTINGS = {
    "PAYMENT_GIVE_UP_SECONDS": "15",
    "PAYMENT_ACTION_SECONDS": "10",
    "ORDER_HOLD_SECONDS": "20",
    "IDEMPOTENCY_LEASE_SECONDS": "5",
    "OPEN_ORDERS_PER_ACCOUNT": "10000",
    "GRANT_DAY_AMOUNT": "1000000000",
    "RECONCILE_SECONDS": "20",
    "AUDIT_SECONDS": "5",
    "PARTNER_FAILURE_RATE": "0",
    **own_stack.NO_RATES,
}
BUYERS = 7
ACCOUNTS_EACH = 6
PRODUCTS = 6
STOCK = 150
PLENTY = 100_000
COUPONS = 30
# Of a campaign that sells out. The soak asks it for one coupon more, so that its dashboards show that.
FEW_COUPONS = 4
SETTLE_SECONDS = 330
UNAIDED_SECONDS = 10
OPERATE_SECONDS = 20  # A saga that has failed many times is retried after 300 s, whatever ended meanwhile


@dataclass(frozen=True, kw_only=True)
class CampaignKind:
    """How a campaign of a trial gives out its coupons."""

    strategy: str = "group_commit"
    code_source: str = "generated"
    partner: str | None = None
    quantity: int = COUPONS


@dataclass(frozen=True, kw_only=True)
class SaleTerms:
    """When a sale opens, and how many it admits for how long."""

    in_seconds: int
    rate_per_minute: int
    admitted_for_seconds: int


USUAL_STRATEGIES = (CampaignKind(), CampaignKind(strategy="pessimistic"))
STRATEGIES = (
    CampaignKind(strategy="queue"),
    CampaignKind(strategy="fair_lock"),
    CampaignKind(strategy="spin_lock"),
    CampaignKind(strategy="optimistic"),
    CampaignKind(strategy="conditional_update"),
    CampaignKind(strategy="code_pool", code_source="pool"),
    CampaignKind(strategy="redis_gate", quantity=FEW_COUPONS),
    CampaignKind(partner="convenience_store", quantity=FEW_COUPONS),
)
# It opens in some seconds, so that its first entries are drawn. Admitted entries, whose time is a week, don't
# expire before the trial ends: an account that joins once more gets the same entry, and each entry has been
# in an answer.
SALE = SaleTerms(in_seconds=8, rate_per_minute=12, admitted_for_seconds=604_800)


class Shop:
    """One stack, and a member of the staff who may see everything."""

    charges = "/charges"  # The charges in the gateway's book that are compared
    audit_seconds = own_stack.MANAGE_SECONDS

    def __init__(self, instance: Instance, staff_token: str, seen: Observations) -> None:
        self.instance = instance
        self.token = staff_token
        self.seen = seen
        # Patient: a product that is created without a key, and once more, is refused the second time.
        self.connection = Connection(instance.port, seen, seed="shop", impatient_share=0)

    def get(self, path: str, token: str = "") -> Any:
        """Raises SetupError unless the answer is 200."""
        return self.call("GET", path, token=token)

    def call(self, method: str, path: str, body: Any = None, *, token: str = "", key: str = "") -> Any:
        answer = self.ask(Call(method, path, token or self.token, body, key))
        if answer.status not in (200, 201):
            raise SetupError(f"{method} {path} answered {answer.status}: {answer.body}")
        return answer.body

    def ask(self, call: Call, *, within_seconds: float = PATIENCE_SECONDS) -> Answer:
        """The final answer. Raises NoFinalAnswer."""
        return self.connection.call_until_final(call, until=time.monotonic() + within_seconds)

    def make(self, account: Account, sort: str, call: Call, **how: float) -> RecordedCall:
        """The call with its final answer, in the book of that account. Raises NoFinalAnswer."""
        made = RecordedCall(sort, call, self.ask(call, **how))
        account.calls.append(made)
        return made

    def create_product(self, word: str, number: int, on_hand: int) -> Product:
        """The product of this number, named by the word, and delivered once. Raises SetupError."""
        terms = {"sku": f"{word.upper()}-{number}", "name": f"{word} {number}", "price": 1_000 * (number + 1)}
        id = int(self.call("POST", "/products", terms)["id"])
        delivery = {"delta": on_hand, "reason": "delivered"}
        self.call("POST", f"/products/{id}/stock-adjustments", delivery, key=f"delivery-of-{id}")
        return Product(id, on_hand)

    def create_campaign(self, name: str, *, strategy: str = "group_commit", **own: Any) -> int:
        """The id of a new campaign; where its codes come from a pool, that has one for each coupon."""
        terms = {"name": name, "strategy": strategy, "discount": {"type": "amount", "value": 700}}
        campaign_id = int(self.call("POST", "/campaigns", terms | own)["id"])
        if own.get("code_source") == "pool":
            for given in range(0, own["quantity"], CODES_AT_ONCE):
                count = min(own["quantity"] - given, CODES_AT_ONCE)
                self.call("POST", f"/campaigns/{campaign_id}/codes", {"count": count})
        return campaign_id

    def create_sale(self, product: int, *, in_seconds: float = 0, **own: Any) -> int:
        """The id of a new sale of the product with a waiting room: it opens soon, and closes in 30 days."""
        opens_at = datetime.now(UTC) + timedelta(seconds=in_seconds)
        terms = {
            "name": f"Sale of {product}",
            "products": [product],
            "admission": "queue",
            "opens_at": opens_at.isoformat(),
            "closes_at": (opens_at + timedelta(days=30)).isoformat(),
        }
        return int(self.call("POST", "/sales", terms | own)["id"])

    def create_campaigns(self, minutes: int) -> list[int]:
        kinds = [*USUAL_STRATEGIES * minutes, *STRATEGIES]
        return [self.create_campaign("Trial", **asdict(kind)) for kind in kinds]

    def stocked(self, known: Any, word: str, *, products: int, on_hand: int, plenty: int) -> Setup:
        """The accounts of `seed_demo`, so many new products, and one that never sells out."""
        buyers = [Account(user["id"], user["access"]) for user in known["users"]]
        for account in buyers:
            account.opening_amount = self.balance(account)
        new = [self.create_product(word, number, on_hand) for number in range(products)]
        ample = self.create_product(word, products, plenty)
        return Setup(Account(0, known["staff"]), buyers, campaigns=[], products=new, ample=ample)

    def everything(self, path: str, token: str = "") -> Iterator[Any]:
        following = f"{path}?limit={LARGEST_PAGE}"
        while following:
            page = self.get(following, token)
            yield from page["results"]
            following = (page["next"] or "").partition("/api/v1")[2]

    def orders(self, account: Account) -> Json:
        return {order["id"]: order for order in self.everything("/orders", account.token)}

    def orders_of(self, setup: Setup) -> Json:
        return {order["id"]: order for order in self.of_buyers(setup, "/orders")}

    def of_buyers(self, setup: Setup, path: str) -> Iterator[Any]:
        """As each lists its own: staff may see a million others."""
        for account in setup.buyers:
            yield from self.everything(path, account.token)

    def coupons(self, account: Account) -> Json:
        return {coupon["code"]: coupon for coupon in self.everything("/coupons", account.token)}

    def balance(self, account: Account) -> int:
        return int(self.get("/wallet", account.token)["balance_amount"])

    def top_ups(self, account: Account) -> set[str]:
        result = set()
        for one in self.everything("/payments", account.token):
            if one["order"] is None:
                result.add(one["id"])
        return result

    def events(self) -> list[Any]:
        return list(json.loads(ports.ask(self.instance.data_platform_port, "GET", "/events")[1])["results"])

    def gateway(self, path: str) -> Any:
        return json.loads(ports.ask(self.instance.gateway_port, "GET", path)[1])

    def unsettled(self, setup: Setup) -> Findings:
        orders = self.orders_of(setup)
        for id, order in orders.items():
            if order["status"] not in ENDS:
                yield f"order {id} is {order['status']}"
        # An order is shown as expired once its time is over; the sweep that frees its stock comes later.
        for product in setup.stocked:
            reserved = self.get(f"/products/{product.id}/stock")["reserved"]
            if reserved:
                yield f"{reserved} of product {product.id} are reserved"
        for payment in self.of_buyers(setup, "/payments"):
            if payment["status"] not in SETTLED:
                yield f"payment {payment['id']} is {payment['status']}"
        delivered = Counter(event["type"] for event in self.events())
        statuses = Counter(order["status"] for order in orders.values())
        due = {
            "order.paid": statuses["paid"] + statuses["refunded"],
            "order.cancelled": statuses["cancelled"],
            "order.refunded": len(setup.refunds()),
        }
        for kind, number in due.items():
            if delivered[kind] != number:
                yield f"of {number} x {kind} the data platform has {delivered[kind]}"
        for one in self.gateway("/webhooks")["results"]:
            if one["delivered_at"] is None and not one["is_given_up"]:
                yield f"webhook {one['id']} of the gateway is not delivered yet"

    def settle(
        self, setup: Setup, within_seconds: float = SETTLE_SECONDS, operate: Any = int, awaits: bool = True
    ) -> float:
        """Wait until everything is settled, and every client has the final answer of its payments; how many
        seconds the former took. `operate` is called every `OPERATE_SECONDS`, not at first.
        """
        started = time.monotonic()
        operate_at = started + UNAIDED_SECONDS
        while (left := [*self.unsettled(setup)]) and time.monotonic() < started + within_seconds:
            if time.monotonic() >= operate_at:
                operate()
                operate_at = time.monotonic() + OPERATE_SECONDS
            time.sleep(1)
        seconds = time.monotonic() - started
        say(f"settled {seconds:.1f} s after the last answer")
        if left:
            what = "; ".join(left[:10])
            self.seen.record_finding(f"not settled {within_seconds:.0f} s after the last fault: {what}")
        if awaits:
            self.await_final_answers(setup)
        return seconds

    def await_final_answers(self, setup: Setup) -> None:
        """Repeat calls of buyers that are open until they are answered for good; else that is a finding."""
        for account in setup.buyers:
            for made in account.calls:
                calls.await_final_answer(made, self.connection, within_seconds=FINAL_SECONDS)
                if made.is_open:
                    self.seen.record_finding(
                        f"{made.sort} with key {made.call.key} has no final answer: {made.answer}"
                    )

    def audit(self) -> None:
        """Check every law; one that is broken is a finding. Raises SetupError for an audit that can't run."""
        laws = own_stack.audit(self.instance, within_seconds=self.audit_seconds)
        self.seen.record_all(own_stack.broken(laws))
        say(f"audit: {sum(law['holds'] for law in laws)} of {len(laws)} laws hold")
