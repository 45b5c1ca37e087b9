"""Buyers, staff and a reader of the feed: threads with seeded mixes of calls, which record final answers."""

import random
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlencode, urlsplit

from lab.calls import Account, Answer, Call, Connection, Observations, RecordedCall, Setup
from lab.tables import declared
from scripts.stack import ports

DECLARED = declared("lab/chaos/clients.toml")
CARDS, DECISIONS, POINTS, LISTS = (DECLARED[name] for name in ("cards", "decisions", "points", "lists"))
ASKING = "tok_3ds"
"""The card whose owner confirms each charge on the gateway's page."""
WITHOUT_KEY = {"coupon", "cancel"}
"""Calls that need no key to be repeated."""
UNDER_WAY = {"paying", "pending", "requires_action", "in_doubt"}
WAITS = (0, 0, 3, 10)
"""Seconds of `Prefer: wait`."""
PATIENCE_SECONDS = 90
"""How long a client repeats its calls after the load has ended."""


class Client:
    """One thread: it makes calls until their answer is final, and records them in the account's own."""

    accounts: Sequence[Account]
    mix: dict[str, int]
    """What it does for one of these accounts, and how often of all."""
    pauses = (0.0, 0.15)

    def __init__(self, setup: Setup, *, port: int, seed: str, ends_at: float, seen: Observations) -> None:
        self.setup, self.seen, self.accounts = setup, seen, setup.buyers
        self.random = random.Random(seed)
        self.connection = Connection(port, seen, seed=seed)
        self.until = ends_at + PATIENCE_SECONDS

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            getattr(self, self.chosen(self.mix))(self.random.choice(self.accounts))
            stop.wait(self.random.uniform(*self.pauses))

    def do(self, account: Account, sort: str, path: str, body: Any, *, wait: int = 0) -> Answer:
        """A new call of the account, to its final answer. Raises NoFinalAnswer."""
        has_key = sort not in {*WITHOUT_KEY, "entry"}
        key = str(uuid.UUID(int=self.random.getrandbits(128))) if has_key else ""
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
        """One of these, which is taken out."""
        return found.pop(self.random.randrange(len(found)))


class Buyer(Client):
    """Buys for some accounts, which no other client uses."""

    points: Sequence[int] = POINTS

    def __init__(self, accounts: list[Account], setup: Setup, **settings: Any) -> None:
        super().__init__(setup, **settings)
        self.accounts = accounts
        self.mix = DECLARED["buyer"] | {"order_in_sale": 8 * bool(setup.sale), "follow": 6 * setup.has_3ds}
        self.unpaid: list[tuple[Account, str]] = []
        self.started: list[tuple[Account, str]] = []
        """The orders and top-ups whose owner may have to act, or which may be kept, by their paths."""

    def issue(self, account: Account) -> None:
        self.do(account, "coupon", "/coupons", {"campaign": self.random.choice(self.setup.campaigns)})

    def order(self, account: Account) -> None:
        products = self.random.sample(self.setup.products, self.random.randint(1, 3))
        items = [{"product": product.id, "quantity": self.random.randint(1, 3)} for product in products]
        body: dict[str, Any] = {"items": items, "points_amount": self.random.choice(self.points)}
        if (coupons := list(account.coupons())) and self.random.random() < 0.4:
            body["coupon"] = self.random.choice(coupons)
        is_paid = self.random.random() < 0.55
        self.buy(account, "order", "/orders", body | (self._payment() if is_paid else {}), waits=is_paid)

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
        answer = self.do(account, sort, path, body, wait=self.random.choice(WAITS) if waits else 0)
        made, card = account.calls[-1], body.get("payment", body).get("token")
        if made.keeps_order or (answer.status == 201 and not card):
            self.unpaid.append((account, made.order_id))
        if answer.status == 202 and (card == ASKING or body.get("keep_on_decline")):
            shown_at = f"/orders/{made.order_id}" if made.order_id else f"/payments/{answer.body['id']}"
            self.started.append((account, shown_at))
        return answer

    def follow(self, _: Account) -> None:
        """Look at something that was started: its owner may act now, or it is kept for another card."""
        if not self.started:
            return
        account, path = self.taken(self.started)
        shown = self.get(account, path).body
        if action := (shown.get("payment") or shown).get("next_action"):
            page, decision = urlsplit(action["url"]), self.chosen(DECISIONS)
            body = urlencode({"decision": decision})
            with suppress(OSError):  # its owner leaves the page of a gateway that is away, too
                if decision and (said := ports.ask(page.port or 0, "POST", page.path, body))[0] != 303:
                    self.seen.record_finding(f"{page.path} answered {said} to {decision}")
        elif shown["status"] in UNDER_WAY:
            self.started.append((account, path))
        elif shown["status"] == "awaiting_payment":
            self.unpaid.append((account, shown["id"]))

    def order_in_sale(self, account: Account) -> None:
        """Join the waiting room, or poll, and order once admitted; after an unpaid order, join again."""
        joined = account.done("entry")
        path = f"/sale-entries/{joined[-1].answer.body['id']}" if joined else ""
        status = self.get(account, path, wait=self.random.choice(WAITS)).body.get("status") if joined else ""
        if status == "admitted":
            body: dict[str, Any] = {"items": [{"product": self.setup.stocked[-1].id, "quantity": 1}]}
            body |= self._payment() if self.random.random() < 0.3 else {}
            answer = self.buy(account, "order", "/orders", body)
            if answer.body.get("code") == "admission_required":
                self.seen.record_finding(f"admitted account {account.id} has an order refused: {answer}")
        elif status != "waiting":
            self.do(account, "entry", f"/sales/{self.setup.sale}/entries", None)

    def _payment(self) -> dict[str, Any]:
        card = self._card()
        return {"payment": {"token": card.pop("token")}} | card

    def _card(self) -> dict[str, Any]:
        """Two payments of five are to keep their order on a decline, if cards may ask their owner."""
        asks = self.setup.has_3ds
        card = {"token": self.chosen(CARDS | {ASKING: 5 * asks})}
        return card | ({"keep_on_decline": True} if asks and self.random.random() < 0.4 else {})


class Staff(Client):
    """Corrects stock, grants points and refunds orders."""

    mix = DECLARED["staff"]

    def refund(self, account: Account) -> None:
        """Some of an order, or all that is left of it; it may not be paid, or nothing be left."""
        placed = [made.answer.body for made in account.done("order") if made.answer.status == 201]
        if not placed:
            return
        order = self.random.choice(placed)
        body: dict[str, Any] = {"reason": "came back", "restock": self.random.random() < 0.5}
        if self.random.random() < 0.6:
            body["items"] = [
                {"product": item["product"], "quantity": self.random.randint(1, item["quantity"])}
                for item in self.random.sample(order["items"], self.random.randint(1, len(order["items"])))
            ]
        self.do(self.setup.staff, "refund", f"/orders/{order['id']}/refunds", body)

    def adjust(self, _: Account) -> None:
        path = f"/products/{self.random.choice(self.setup.products).id}/stock-adjustments"
        body = {"delta": self.random.choice([-3, -1, 2, 5, 9]), "reason": "counted again"}
        self.do(self.setup.staff, "adjustment", path, body)

    def grant(self, account: Account) -> None:
        body = {"user": account.id, "amount": self.random.randrange(1, 20) * 50, "reason": "sorry"}
        self.do(self.setup.staff, "grant", "/wallet/grants", body)

    def repeat(self, account: Account) -> None:
        super().repeat(self.setup.staff)


class FeedReader(Client):
    """Follows the event feed with one cursor, as the staff, until the load ends or the cursor is refused."""

    mix, pauses = {"follow": 1}, (0.0, 0.1)

    def __init__(self, setup: Setup, **settings: Any) -> None:
        super().__init__(setup, **settings)
        self.events, self.cursor = list[Any](), ""

    def follow(self, _: Account) -> None:
        self.read(wait=self.random.choice(WAITS))

    def read_to_end(self) -> None:
        """Read what is left, once all is settled. Raises NoFinalAnswer."""
        # A page that is still empty after so long is the last one: positions are given within a second.
        self.until = time.monotonic() + PATIENCE_SECONDS
        while self.read(wait=3):
            pass

    def read(self, *, wait: int) -> int:
        """How many events the next page has. Raises NoFinalAnswer."""
        query = urlencode({"limit": 200} | ({"after": self.cursor} if self.cursor else {}))
        answer = self.get(self.setup.staff, f"/events?{query}", wait=wait)
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


def staff_and_buyers(setup: Setup, *, count: int, seed: str, **common: Any) -> list[Client]:
    """One client of the staff, and so many buyers."""
    buyers = (Buyer(setup.buyers[one::count], setup, seed=f"{seed} {one}", **common) for one in range(count))
    return [Staff(setup, seed=f"{seed} staff", **common), *buyers]
