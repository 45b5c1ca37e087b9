"""Buyers, staff and a reader of the feed: threads with seeded mixes of calls, which record final answers."""

import random
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from lab.calls import Account, Answer, Call, Connection, Observations, RecordedCall, Setup
from scripts.stack import Json, ports

# A number is how often something is chosen of the sum of its table; of a tuple each value is chosen as often,
# and one that is there twice twice as often.
# Those that an order uses. A small basket costs less than 1,500; a wallet begins with 10,000.
POINTS = (0, 0, 0, 300, 300, 1_500, 1_500, 12_000)
LISTS = ("/orders", "/coupons", "/wallet", "/wallet/entries", "/payments", "/products")
CARDS = {
    "tok_ok": 12,
    "tok_slow": 2,
    "tok_flaky": 2,
    "tok_declined": 2,
    "tok_insufficient_funds": 1,
    "tok_timeout_charged": 3,
    "tok_timeout_lost": 2,
    "tok_error": 3,
    "tok_refund_fails": 2,
    "tok_webhook": 4,
}
# What the owner does of a card that asks; a page that is left expires.
DECISIONS = {"approve": 5, "refuse": 2, "": 2}
BUYER_MIX = {"issue": 4, "order": 9, "pay_or_cancel": 4, "top_up": 1, "repeat": 1, "look": 1}
OF_A_SALE = 8
OF_ASKING_CARDS = 6
STAFF_MIX = {"adjust": 2, "grant": 2, "refund": 5, "repeat": 1}
ADJUSTMENTS = (-3, -1, 2, 5, 9)
ASKING = "tok_3ds"  # The card whose owner confirms each charge on the gateway's page
WITHOUT_KEY = {"coupon", "cancel"}  # Calls that need no key to be repeated
UNDER_WAY = {"paying", "pending", "requires_action", "in_doubt"}
WAITS = (0, 0, 3, 10)  # Seconds of `Prefer: wait`
PATIENCE_SECONDS = 90  # How long a client repeats its calls after the load has ended


@dataclass(frozen=True)
class Work:
    """What all clients of a load have in common; `ends_at` is of the monotonic clock."""

    setup: Setup
    port: int
    seen: Observations
    ends_at: float


class Client:
    """One thread: it makes calls until their answer is final, and records them in the account's own."""

    accounts: Sequence[Account]
    mix: dict[str, int]  # What it does for one of these accounts, and how often of all
    pauses = (0.0, 0.15)

    def __init__(self, work: Work, seed: str) -> None:
        self.work = work
        self.setup = work.setup
        self.seen = work.seen
        self.accounts = work.setup.buyers
        self.random = random.Random(seed)
        self.connection = Connection(work.port, work.seen, seed=seed)
        self.until = work.ends_at + PATIENCE_SECONDS

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            getattr(self, self.chosen(self.mix))(self.random.choice(self.accounts))
            stop.wait(self.random.uniform(*self.pauses))

    def do(self, account: Account, sort: str, path: str, body: Any, *, wait: int = 0) -> Answer:
        """A new call of the account, to its final answer. Raises NoFinalAnswer."""
        key = ""
        if sort not in {*WITHOUT_KEY, "entry"}:
            key = str(uuid.UUID(int=self.random.getrandbits(128)))
        call = Call("POST", path, account.token, body, key, wait)
        answer = self.connection.call_until_final(call, until=self.until)
        account.calls.append(RecordedCall(sort, call, answer))
        return answer

    def get(self, account: Account, path: str, *, wait: int = 0) -> Answer:
        return self.connection.call_until_final(Call("GET", path, account.token, wait=wait), until=self.until)

    def repeat(self, account: Account) -> None:
        """An old call again, as of a client that lost the answer: nothing may happen twice."""
        made = self.random.choice(account.calls or [None])
        if made and (made.call.key or made.sort in WITHOUT_KEY) and (made.was_done or made.is_open):
            self.connection.call_until_final(made.call, until=self.until)

    def chosen(self, weights: dict[Any, int]) -> Any:
        return self.random.choices(list(weights), list(weights.values()))[0]

    def taken(self, found: list[Any]) -> Any:
        return found.pop(self.random.randrange(len(found)))


class Buyer(Client):
    """Buys for some accounts, which no other client uses."""

    points: Sequence[int] = POINTS

    def __init__(self, accounts: list[Account], work: Work, seed: str) -> None:
        super().__init__(work, seed)
        self.accounts = accounts
        sale = 0
        if work.setup.sale:
            sale = OF_A_SALE
        follow = 0
        if work.setup.has_3ds:
            follow = OF_ASKING_CARDS
        self.mix = {**BUYER_MIX, "order_in_sale": sale, "follow": follow}
        self.unpaid: list[tuple[Account, str]] = []
        # The orders and top-ups whose owner may have to act, or which may be kept, by their paths.
        self.started: list[tuple[Account, str]] = []

    def issue(self, account: Account) -> None:
        self.do(account, "coupon", "/coupons", {"campaign": self.random.choice(self.setup.campaigns)})

    def order(self, account: Account) -> None:
        products = self.random.sample(self.setup.products, self.random.randint(1, 3))
        items = [{"product": product.id, "quantity": self.random.randint(1, 3)} for product in products]
        body: Json = {"items": items, "points_amount": self.random.choice(self.points)}
        coupons = list(account.coupons())
        if coupons and self.random.random() < 0.4:
            body["coupon"] = self.random.choice(coupons)
        is_paid = self.random.random() < 0.55
        if is_paid:
            body |= self._payment()
        self.buy(account, "order", "/orders", body, waits=is_paid)

    def pay_or_cancel(self, _: Account) -> None:
        """Three of four orders that were left to be paid later are paid."""
        if self.unpaid:
            account, order_id = self.taken(self.unpaid)
            if self.random.random() < 0.25:
                self.do(account, "cancel", f"/orders/{order_id}/cancel", None)
            else:
                self.buy(account, "payment", "/payments", {"order": order_id} | self._card(), waits=True)

    def top_up(self, account: Account) -> None:
        body = {"amount": self.random.randrange(1, 50) * 100, "token": self._card()["token"]}
        self.buy(account, "top_up", "/wallet/top-ups", body)

    def look(self, account: Account) -> None:
        self.get(account, self.random.choice(LISTS))

    def buy(self, account: Account, sort: str, path: str, body: Any, *, waits: bool = False) -> Answer:
        """A new order, or call that charges a card, which may have to be followed. Raises NoFinalAnswer."""
        wait = 0
        if waits:
            wait = self.random.choice(WAITS)
        answer = self.do(account, sort, path, body, wait=wait)
        made = account.calls[-1]
        card = body.get("payment", body).get("token")
        if made.keeps_order or (answer.status == 201 and not card):
            self.unpaid.append((account, made.order_id))
        if answer.status == 202 and (card == ASKING or body.get("keep_on_decline")):
            shown_at = f"/orders/{made.order_id}"
            if not made.order_id:
                shown_at = f"/payments/{answer.body['id']}"
            self.started.append((account, shown_at))
        return answer

    def follow(self, _: Account) -> None:
        """Look at something that was started: its owner may act now, or it is kept for another card."""
        if not self.started:
            return
        account, path = self.taken(self.started)
        shown = self.get(account, path).body
        action = (shown.get("payment") or shown).get("next_action")
        if action:
            decision = self.chosen(DECISIONS)
            if decision:
                self.decide(action["url"], decision)
        elif shown["status"] in UNDER_WAY:
            self.started.append((account, path))
        elif shown["status"] == "awaiting_payment":
            self.unpaid.append((account, shown["id"]))

    def decide(self, url: str, decision: str) -> None:
        page = urlsplit(url)
        body = urlencode({"decision": decision})
        with suppress(OSError):  # its owner leaves the page of a gateway that is away, too
            said = ports.ask(page.port or 0, "POST", page.path, body)
            if said[0] != 303:
                self.seen.record_finding(f"{page.path} answered {said} to {decision}")

    def order_in_sale(self, account: Account) -> None:
        """Join the waiting room, or poll, and order once admitted; after an unpaid order, join again."""
        joined = account.done("entry")
        status = ""
        if joined:
            path = f"/sale-entries/{joined[-1].answer.body['id']}"
            status = self.get(account, path, wait=self.random.choice(WAITS)).body.get("status")
        if status == "admitted":
            body: Json = {"items": [{"product": self.setup.stocked[-1].id, "quantity": 1}]}
            if self.random.random() < 0.3:
                body |= self._payment()
            answer = self.buy(account, "order", "/orders", body)
            if answer.body.get("code") == "admission_required":
                self.seen.record_finding(f"admitted account {account.id} has an order refused: {answer}")
        elif status != "waiting":
            self.do(account, "entry", f"/sales/{self.setup.sale}/entries", None)

    def _payment(self) -> Json:
        card = self._card()
        return {"payment": {"token": card.pop("token")}} | card

    def _card(self) -> Json:
        """Two payments of five are to keep their order on a decline, if cards may ask their owner."""
        asks = self.setup.has_3ds
        card: Json = {"token": self.chosen({**CARDS, ASKING: 5 * asks})}
        if asks and self.random.random() < 0.4:
            card["keep_on_decline"] = True
        return card


class Staff(Client):
    mix = STAFF_MIX

    def refund(self, account: Account) -> None:
        """Some of an order, or all that is left of it; it may not be paid, or nothing be left."""
        placed = []
        for made in account.done("order"):
            if made.answer.status == 201:
                placed.append(made.answer.body)
        if not placed:
            return
        order = self.random.choice(placed)
        body: Json = {"reason": "came back", "restock": self.random.random() < 0.5}
        if self.random.random() < 0.6:
            body["items"] = []
            for item in self.random.sample(order["items"], self.random.randint(1, len(order["items"]))):
                body["items"].append(
                    {"product": item["product"], "quantity": self.random.randint(1, item["quantity"])}
                )
        self.do(self.setup.staff, "refund", f"/orders/{order['id']}/refunds", body)

    def adjust(self, _: Account) -> None:
        path = f"/products/{self.random.choice(self.setup.products).id}/stock-adjustments"
        body = {"delta": self.random.choice(ADJUSTMENTS), "reason": "counted again"}
        self.do(self.setup.staff, "adjustment", path, body)

    def grant(self, account: Account) -> None:
        body = {"user": account.id, "amount": self.random.randrange(1, 20) * 50, "reason": "sorry"}
        self.do(self.setup.staff, "grant", "/wallet/grants", body)

    def repeat(self, account: Account) -> None:
        super().repeat(self.setup.staff)


class FeedReader(Client):
    """Follows the event feed with one cursor, as the staff, until the load ends or the cursor is refused."""

    mix = {"follow": 1}
    pauses = (0.0, 0.1)

    def __init__(self, work: Work, seed: str) -> None:
        super().__init__(work, seed)
        self.events: list[Any] = []
        self.cursor = ""

    def follow(self, _: Account) -> None:
        self.read(wait=self.random.choice(WAITS))

    def read_to_end(self) -> None:
        """Read what is left, once all is settled. Raises NoFinalAnswer."""
        # A page that is still empty after so long is the last one: positions are given within a second.
        self.until = time.monotonic() + PATIENCE_SECONDS
        is_more = True
        while is_more:
            is_more = self.read(wait=3) > 0

    def read(self, *, wait: int) -> int:
        """How many events the next page has. Raises NoFinalAnswer."""
        query: Json = {"limit": 200}
        if self.cursor:
            query["after"] = self.cursor
        answer = self.get(self.setup.staff, f"/events?{urlencode(query)}", wait=wait)
        if answer.status != 200:
            self.seen.record_finding(f"the feed after {len(self.events)} events is answered {answer}")
            return 0
        self.events += answer.body["results"]
        self.cursor = answer.body["next"]
        return len(answer.body["results"])


@contextmanager
def at_work(clients: Sequence[Any]) -> Iterator[threading.Event]:
    """Each client runs in a thread until the block ends, or the event is set. Raises what one raises."""
    stop = threading.Event()
    with ThreadPoolExecutor(len(clients)) as threads:
        working = [threads.submit(client.run, stop) for client in clients]
        try:
            yield stop
        finally:
            stop.set()
    for client in working:
        client.result()


def staff_and_buyers(work: Work, *, count: int, seed: str) -> list[Client]:
    clients: list[Client] = [Staff(work, f"{seed} staff")]
    for number in range(count):
        clients.append(Buyer(work.setup.buyers[number::count], work, f"{seed} {number}"))
    return clients
