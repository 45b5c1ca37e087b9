"""Clients of the shop, buyers and one of the staff: each a thread, a seeded mix of calls, and a record."""

import json
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any
from urllib.parse import urlencode, urlsplit

from lab.chaos.calls import Answer, Call, Connection, NoFinalAnswer, Observations
from lab.chaos.memory import Account, AtGateway, Drop, Product, RecordedCall, Setup
from scripts.stack import readiness

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
ASKING = "tok_3ds"
ASKING_CARDS = {ASKING: 5}
"""The card whose owner confirms each charge on the gateway's page."""
APPROVE, REFUSE, LEAVE = "approve", "refuse", ""
DECISIONS = {APPROVE: 5, REFUSE: 2, LEAVE: 2}
"""What the owner does; a page that is left expires."""
SHOWN_AGAIN = 303
"""The page's answer to a decision."""
KEEP_SHARE = 0.4
"""How many payments are to keep their order on a decline."""
UNDER_WAY = {"paying", "pending", "requires_action", "in_doubt"}
STATUSES = {"waiting": 0, "admitted": 1, "used": 2}
"""The statuses of an entry of a sale with plenty of stock and of time, in their order."""
POLLS_CURRENT_SECONDS = 2.0
"""How old a web process's memory of waiting entries may be, as `sales.waiting_room.room_view` has it."""
PAGES = ("/orders", "/coupons", "/wallet", "/wallet/entries", "/payments", "/products")
PAUSE_SECONDS = (0.0, 0.15)
CLERK_PAUSE_SECONDS = (0.1, 0.8)
PATIENCE_SECONDS = 90
"""How long a client repeats its calls after the load has ended."""


class Client:
    """One thread: it makes calls until their answer is final, and records them in the account's own."""

    def __init__(self, setup: Setup, *, port: int, seed: str, ends_at: float, seen: Observations) -> None:
        self.setup = setup
        self.random = random.Random(seed)
        self.connection = Connection(port, seen, seed=seed)
        self.seen = seen
        self.until = ends_at + PATIENCE_SECONDS

    def do(self, account: Account, sort: str, path: str, body: Any, *, keyed: bool, wait: int = 0) -> Answer:
        """A new call of the account, to its final answer. Raises NoFinalAnswer."""
        key = str(uuid.UUID(int=self.random.getrandbits(128))) if keyed else ""
        call = Call("POST", path, account.token, body, key, wait)
        answer = self.connection.call_until_final(call, until=self.until)
        account.calls.append(RecordedCall(sort, call, answer))
        return answer

    def repeat(self, account: Account) -> None:
        """An old call again, as of a client that lost the answer: nothing may happen twice."""
        if account.calls:
            made = self.random.choice(account.calls)
            # A later call to join may get another entry, because the first one's order has ended.
            if made.sort != "entry" and (made.was_done or made.is_open):
                self.connection.call_until_final(made.call, until=self.until)

    def pause(self) -> None:
        time.sleep(self.random.uniform(*PAUSE_SECONDS))

    def chosen(self, weights: dict[Any, int]) -> Any:
        return self.random.choices(list(weights), list(weights.values()))[0]


class Buyer(Client):
    """Buys for some accounts, which no other client uses."""

    def __init__(self, accounts: list[Account], setup: Setup, **settings: Any) -> None:
        super().__init__(setup, **settings)
        self.accounts = accounts
        self.unpaid: list[tuple[Account, str]] = []
        self.started: list[tuple[Account, str]] = []
        """The orders and top-ups whose owner may have to act, or which may be kept, by their paths."""

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
        actions |= {self.order_in_sale: 8} if self.setup.drop else {}
        actions |= {self.follow: 6} if self.setup.has_customer_actions else {}
        while not stop.is_set():
            self.chosen(actions)(self.random.choice(self.accounts))
            self.pause()

    def issue(self, account: Account) -> None:
        campaign = self.random.choice(self.setup.campaigns)
        self.do(account, "coupon", "/coupons", {"campaign": campaign}, keyed=False)

    def order_now(self, account: Account) -> None:
        body = self._basket(account) | {"payment": {"token": self._card()}} | self._keep()
        self.start(account, "order", "/orders", body, wait=self._wait())

    def order_for_later(self, account: Account) -> None:
        basket = self._basket(account)
        # Of an order that is declined the answer has no coupon, and a shared code gives one with the order.
        if self.setup.shared_codes and self.random.random() < 0.3:
            basket["coupon"] = self.random.choice(list(self.setup.shared_codes))
        answer = self.do(account, "order", "/orders", basket, keyed=True)
        if answer.status == 201:
            self.unpaid.append((account, answer.body["id"]))

    def pay(self, _: Account) -> None:
        if self.unpaid:
            account, order_id = self.unpaid.pop(self.random.randrange(len(self.unpaid)))
            body = {"order": order_id, "token": self._card()} | self._keep()
            self.start(account, "payment", "/payments", body, wait=self._wait())

    def cancel(self, _: Account) -> None:
        if self.unpaid:
            account, order_id = self.unpaid.pop(self.random.randrange(len(self.unpaid)))
            self.do(account, "cancel", f"/orders/{order_id}/cancel", None, keyed=False)

    def top_up(self, account: Account) -> None:
        body = {"amount": self.random.randrange(1, 50) * 100, "token": self._card()}
        self.start(account, "top_up", "/wallet/top-ups", body)

    def start(self, account: Account, sort: str, path: str, body: Any, *, wait: int = 0) -> Answer:
        """A new call that charges a card. Raises NoFinalAnswer.

        Its order is looked at again, where its owner may have to act; a kept one is paid with another card.
        """
        answer = self.do(account, sort, path, body, keyed=True, wait=wait)
        if account.calls[-1].keeps_order:
            self.unpaid.append((account, answer.body["order"]))
        token = body.get("token") or body["payment"]["token"]
        if answer.status == 202 and (token == ASKING or body.get("keep_on_decline")):
            order_id = answer.body["id"] if sort == "order" else answer.body["order"]
            shown_at = f"/orders/{order_id}" if order_id else f"/payments/{answer.body['id']}"
            self.started.append((account, shown_at))
        return answer

    def follow(self, _: Account) -> None:
        """Look at something that was started: its owner may act now, or it is kept for another card."""
        if not self.started:
            return
        account, path = self.started.pop(self.random.randrange(len(self.started)))
        shown = self.connection.call_until_final(Call("GET", path, account.token), until=self.until).body
        payment = shown.get("payment") or shown
        if action := payment.get("next_action"):
            is_over = self._decide(action["url"])
        else:
            is_over = shown["status"] not in UNDER_WAY
        if not is_over:
            self.started.append((account, path))
        elif shown["status"] == "awaiting_payment":
            self.unpaid.append((account, shown["id"]))

    def _decide(self, url: str) -> bool:
        """Decide at the gateway's page, or leave it; False if the page gave no answer."""
        decision = self.chosen(DECISIONS)
        if decision == LEAVE:
            return True
        page, began = urlsplit(url), time.monotonic()
        body = urlencode({"decision": decision})
        try:
            status, text = readiness.ask(page.port or 0, "POST", page.path, body)
        except OSError:
            return False
        self.seen.count(f"page {decision} {status}", time.monotonic() - began)
        if status != SHOWN_AGAIN:
            self.seen.record_finding(f"{page.path} answered {status} to {decision}: {text}")
        return True

    def look(self, account: Account) -> None:
        path = self.random.choice(PAGES)
        self.connection.call_until_final(Call("GET", path, account.token), until=self.until)

    def order_in_sale(self, account: Account) -> None:
        """Join the waiting room, or poll, and order once admitted; after an unpaid order, join again."""
        drop = self.setup.drop
        assert drop is not None
        entry_id = account.entry()
        if entry_id is None or self._entry(account, entry_id) not in ("waiting", "admitted"):
            self.do(account, "entry", f"/sales/{drop.id}/entries", None, keyed=False)
        elif self._entry(account, entry_id, wait=self._wait()) == "admitted":
            self._order_admitted(account, drop)

    def _entry(self, account: Account, entry_id: str, *, wait: int = 0) -> str:
        """The status of the account's entry, which never expires here.

        It goes back only from one web process to another, whose memory is so old that it still waits.
        """
        call = Call("GET", f"/sale-entries/{entry_id}", account.token, wait=wait)
        began_at = time.monotonic()
        answer = self.connection.call_until_final(call, until=self.until)
        status = answer.body.get("status", answer.word)
        before, came_at = account.entries.get(entry_id, ("waiting", 0.0))
        if STATUSES.get(status, -1) < STATUSES[before]:
            if status == "waiting" and began_at - came_at < POLLS_CURRENT_SECONDS:
                return status
            finding = f"entry {entry_id} of account {account.id} was {before}, and is {status}"
            self.seen.record_finding(finding)
            return before
        account.entries[entry_id] = status, time.monotonic()
        return status

    def _order_admitted(self, account: Account, drop: Drop) -> None:
        body: dict[str, Any] = {"items": [{"product": drop.product.id, "quantity": 1}]}
        if self.random.random() < 0.3:
            body |= {"payment": {"token": self._card()}} | self._keep()
        place = self.start if "payment" in body else partial(self.do, keyed=True)
        answer = place(account, "order", "/orders", body)
        if answer.body.get("code") == "admission_required":
            self.seen.record_finding(f"account {account.id} was admitted, and its order is refused: {answer}")
        if answer.status == 201 and "payment" not in body:
            self.unpaid.append((account, answer.body["id"]))

    def _basket(self, account: Account) -> dict[str, Any]:
        products = self.random.sample(self.setup.products, self.random.randint(1, 3))
        items = [{"product": product.id, "quantity": self.random.randint(1, 3)} for product in products]
        basket: dict[str, Any] = {"items": items, "points_amount": self.random.choice([0, 0, 300, 1500])}
        coupons = list(account.coupons())
        if coupons and self.random.random() < 0.4:
            basket["coupon"] = self.random.choice(coupons)
        return basket

    def _card(self) -> Any:
        return self.chosen(CARDS | (ASKING_CARDS if self.setup.has_customer_actions else {}))

    def _keep(self) -> dict[str, bool]:
        is_kept = self.setup.has_customer_actions and self.random.random() < KEEP_SHARE
        return {"keep_on_decline": True} if is_kept else {}

    def _wait(self) -> int:
        return self.random.choice([0, 0, 3, 10])


class Staff(Client):
    """Corrects stock, grants points and refunds orders."""

    def run(self, stop: threading.Event) -> None:
        actions: dict[Callable[[], None], int] = {
            self.adjust: 2,
            self.grant: 2,
            self.refund: 5,
            lambda: self.repeat(self.setup.staff): 1,
        }
        while not stop.is_set():
            self.chosen(actions)()
            self.pause()

    def refund(self) -> None:
        """Some of an order, or all that is left of it; it may not be paid, or nothing be left."""
        account: Account = self.random.choice(self.setup.buyers)
        placed = [made.answer.body for made in account.done("order") if made.answer.status == 201]
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
        self.do(self.setup.staff, "refund", f"/orders/{order['id']}/refunds", body, keyed=True)

    def adjust(self) -> None:
        product: Product = self.random.choice(self.setup.products)
        body = {"delta": self.random.choice([-3, -1, 2, 5, 9]), "reason": "counted again"}
        path = f"/products/{product.id}/stock-adjustments"
        self.do(self.setup.staff, "adjustment", path, body, keyed=True)

    def grant(self) -> None:
        buyer: Account = self.random.choice(self.setup.buyers)
        body = {"user": buyer.id, "amount": self.random.randrange(1, 20) * 50, "reason": "sorry"}
        self.do(self.setup.staff, "grant", "/wallet/grants", body, keyed=True)


class Clerk(Client):
    """Refunds charges on the gateway's own page, and disputes them as their owners do: the shop is told."""

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self._act(self.chosen({"refunds": 2, "disputes": 1}))
            stop.wait(self.random.uniform(*CLERK_PAUSE_SECONDS))
        for made in self.setup.at_gateway.values():
            for dispute in list(made.open_disputes):
                end = self.random.choice(["won", "lost"])
                self._ask("POST", f"/disputes/{dispute}/close", {"status": end})
                amount = made.open_disputes.pop(dispute)
                made.lost_amount += amount * (end == "lost")

    def _act(self, kind: str) -> None:
        """Refund or dispute a part of a paid order's charge, or all that is left of it."""
        account: Account = self.random.choice(self.setup.buyers)
        paid = [made for made in account.done("order") if "payment" in made.call.body]
        paid = [made for made in paid if made.answer.status == 201]
        if not paid:
            return
        order_id = self.random.choice(paid).answer.body["id"]
        for charge in self._ask("GET", f"/charges?order={order_id}")[1]["results"]:
            left = charge["amount"] - charge["refunded_amount"]
            if charge["status"] != "succeeded" or not left:
                continue
            amount = self.random.choice([left, self.random.randint(1, left)])
            status, answer = self._ask("POST", f"/{kind}", {"charge": charge["id"], "amount": amount})
            if status != 201:
                continue
            made = self.setup.at_gateway.setdefault(order_id, AtGateway())
            if kind == "refunds":
                made.refunded_amount += amount
            else:
                made.open_disputes[answer["id"]] = amount

    def _ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Call the gateway until it answers, by one key. Raises NoFinalAnswer."""
        headers = {
            "Idempotency-Key": f"clerk-{self.random.getrandbits(64)}",
            "Content-Type": "application/json",
        }
        while time.monotonic() < self.until:
            try:
                port = self.setup.gateway_port or 0
                status, text = readiness.ask(port, method, path, json.dumps(body) if body else None, headers)
            except OSError:
                status = 503
            if status < 500:
                self.seen.count(f"gateway {method} {path.split('?')[0].split('/')[1]} {status}", 0.0)
                return status, json.loads(text)
            time.sleep(0.5)
        raise NoFinalAnswer(f"the gateway has not answered {method} {path}")


def await_final_answer(
    made: RecordedCall, connection: Connection, *, within_seconds: float = PATIENCE_SECONDS
) -> Iterator[str]:
    """Repeat a call that is open until it is answered for good: a queue's ticket takes a moment. Or a
    finding."""
    until = time.monotonic() + within_seconds
    with suppress(NoFinalAnswer):
        while made.is_open and time.monotonic() < until:
            made.answer = connection.call_until_final(made.call, until=until)
            time.sleep(0.1 * made.is_open)
    if made.is_open:
        yield f"{made.sort} with key {made.call.key} has no final answer: {made.answer}"


@contextmanager
def at_work(clients: Sequence[Any]) -> Iterator[threading.Event]:
    """Each client runs in a thread until the block ends; then each has the final answer of its last call.

    The event ends their work early. Raises what a client raises.
    """
    stop = threading.Event()
    with ThreadPoolExecutor(len(clients)) as threads:
        working = [threads.submit(client.run, stop) for client in clients]
        try:
            yield stop
        finally:
            stop.set()
    for client in working:
        client.result()


def staff_and_buyers(
    setup: Setup, *, count: int, port: int, seed: str, ends_at: float, seen: Observations
) -> list[Staff | Buyer | Clerk]:
    """One client of the staff, so many buyers, and a clerk at the gateway if the setup has its port."""
    common: dict[str, Any] = {"port": port, "ends_at": ends_at, "seen": seen}
    buyers = [
        Buyer(setup.buyers[number::count], setup, seed=f"{seed} {number}", **common)
        for number in range(count)
    ]
    clerks = [Clerk(setup, seed=f"{seed} clerk", **common)] if setup.gateway_port else []
    return [Staff(setup, seed=f"{seed} staff", **common), *buyers, *clerks]
