"""Clients of the shop: buyers and one of the staff, each a thread, a seeded mix of calls, and a memory."""

import random
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from scripts.chaos.calls import Answer, Call, Line, Observations
from scripts.chaos.memory import Account, Deed, Shelf, Stage

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
"""Each card of the simulator, and how often it is used. Those without an answer at first have the shop make
several calls in one step: look-up and charge, or cancel and refund."""
PAGES = ("/orders", "/coupons", "/wallet", "/wallet/entries", "/payments", "/products")
PAUSE_SECONDS = (0.0, 0.15)
PATIENCE_SECONDS = 90
"""How long a client goes on asking once the storm is over."""


class Client:
    """One thread's hands: it calls, insists, and remembers in the account's own deeds."""

    def __init__(self, stage: Stage, *, port: int, seed: str, ends_at: float, seen: Observations) -> None:
        self.stage = stage
        self.random = random.Random(seed)
        self.line = Line(port, seen, seed=seed)
        self.until = ends_at + PATIENCE_SECONDS

    def do(self, account: Account, sort: str, path: str, body: Any, *, keyed: bool, wait: int = 0) -> Answer:
        """A new call of the account, to its lasting answer. Raises Unanswered."""
        key = str(uuid.UUID(int=self.random.getrandbits(128))) if keyed else ""
        call = Call("POST", path, account.token, body, key, wait)
        answer = self.line.insist(call, until=self.until)
        account.deeds.append(Deed(sort, call, answer))
        return answer

    def repeat(self, account: Account) -> None:
        """An old call again, as a client that lost its memory of the answer: nothing may happen twice."""
        if account.deeds:
            deed = self.random.choice(account.deeds)
            if deed.was_done or deed.is_open:
                self.line.insist(deed.call, until=self.until)

    def pause(self) -> None:
        time.sleep(self.random.uniform(*PAUSE_SECONDS))

    def chosen(self, weights: dict[Any, int]) -> Any:
        return self.random.choices(list(weights), list(weights.values()))[0]


class Buyer(Client):
    """Buys for some accounts that are nobody else's."""

    def __init__(self, accounts: list[Account], stage: Stage, **settings: Any) -> None:
        super().__init__(stage, **settings)
        self.accounts = accounts
        self.unpaid: list[tuple[Account, str]] = []

    def run(self, stop: threading.Event) -> None:
        actions: dict[Callable[[Account], None], int] = {
            self.issue: 4,
            self.order_now: 5,
            self.order_for_later: 4,
            self.pay: 3,
            self.cancel: 1,
            self.top_up: 1,
            self.repeat: 1,
            self.look: 1,
        }
        while not stop.is_set():
            self.chosen(actions)(self.random.choice(self.accounts))
            self.pause()

    def issue(self, account: Account) -> None:
        campaign = self.random.choice(self.stage.campaigns)
        self.do(account, "coupon", "/coupons", {"campaign": campaign}, keyed=False)

    def order_now(self, account: Account) -> None:
        body = self._basket(account) | {"payment": {"token": self.chosen(CARDS)}}
        self.do(account, "order", "/orders", body, keyed=True, wait=self._wait())

    def order_for_later(self, account: Account) -> None:
        answer = self.do(account, "order", "/orders", self._basket(account), keyed=True)
        if answer.status == 201:
            self.unpaid.append((account, answer.body["id"]))

    def pay(self, _: Account) -> None:
        if self.unpaid:
            account, order_id = self.unpaid.pop(self.random.randrange(len(self.unpaid)))
            body = {"order": order_id, "token": self.chosen(CARDS)}
            self.do(account, "payment", "/payments", body, keyed=True, wait=self._wait())

    def cancel(self, _: Account) -> None:
        if self.unpaid:
            account, order_id = self.unpaid.pop(self.random.randrange(len(self.unpaid)))
            self.do(account, "cancel", f"/orders/{order_id}/cancel", None, keyed=False)

    def top_up(self, account: Account) -> None:
        body = {"amount": self.random.randrange(1, 50) * 100, "token": self.chosen(CARDS)}
        self.do(account, "top_up", "/wallet/top-ups", body, keyed=True)

    def look(self, account: Account) -> None:
        path = self.random.choice(PAGES)
        self.line.insist(Call("GET", path, account.token), until=self.until)

    def _basket(self, account: Account) -> dict[str, Any]:
        shelves = self.random.sample(self.stage.shelves, self.random.randint(1, 3))
        items = [{"product": shelf.id, "quantity": self.random.randint(1, 3)} for shelf in shelves]
        basket: dict[str, Any] = {"items": items, "points_amount": self.random.choice([0, 0, 300, 1500])}
        coupons = list(account.coupons())
        if coupons and self.random.random() < 0.4:
            basket["coupon"] = self.random.choice(coupons)
        return basket

    def _wait(self) -> int:
        return self.random.choice([0, 0, 3, 10])


class Staff(Client):
    """Corrects stock, grants points and gives money back, to whomever."""

    def run(self, stop: threading.Event) -> None:
        actions: dict[Callable[[], None], int] = {
            self.adjust: 2,
            self.grant: 2,
            self.refund: 5,
            lambda: self.repeat(self.stage.staff): 1,
        }
        while not stop.is_set():
            self.chosen(actions)()
            self.pause()

    def refund(self) -> None:
        """Some of an order, or all that is left of it; it may not be paid, or nothing be left."""
        account: Account = self.random.choice(self.stage.buyers)
        placed = [deed.answer.body for deed in account.done("order") if deed.answer.status == 201]
        if not placed:
            return
        order = self.random.choice(placed)
        body: dict[str, Any] = {"reason": "came back", "restock": self.random.random() < 0.5}
        if self.random.random() < 0.6:
            items = self.random.sample(order["items"], self.random.randint(1, len(order["items"])))
            body["items"] = [
                {"product": item["product"], "quantity": self.random.randint(1, item["quantity"])}
                for item in items
            ]
        self.do(self.stage.staff, "refund", f"/orders/{order['id']}/refunds", body, keyed=True)

    def adjust(self) -> None:
        shelf: Shelf = self.random.choice(self.stage.shelves)
        body = {"delta": self.random.choice([-3, -1, 2, 5, 9]), "reason": "counted again"}
        path = f"/products/{shelf.id}/stock-adjustments"
        self.do(self.stage.staff, "adjustment", path, body, keyed=True)

    def grant(self) -> None:
        buyer: Account = self.random.choice(self.stage.buyers)
        body = {"user": buyer.id, "amount": self.random.randrange(1, 20) * 50, "reason": "sorry"}
        self.do(self.stage.staff, "grant", "/wallet/grants", body, keyed=True)
