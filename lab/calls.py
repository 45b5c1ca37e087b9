"""HTTP calls while everything breaks: repeated by the contract's rules, every answer checked and counted; and
the book, which has each call of a client with its final answer, and what was there before the load.

The same call with the same key goes out again after any 5xx, time-out or lost connection, and after a 409
that says by `Retry-After` that it passes by itself. Everything else is the answer.
"""

import random
import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import requests

from scripts.stack import Json, Lines, SetupError, ports
from scripts.stack.children import say

# What an answer may take on top of the wait that was asked for: past it the call counts as hung.
LATEST_SECONDS = 30
# A share of calls is repeated before its answer can have come, so that a call runs beside its repeat.
IMPATIENT_SECONDS = 0.2
MOST_FINDINGS = 50
# Codes of 5xx that a repeat gets past; the last one is a coupon's whose partner was not reached.
PASSING_CODES = {"unavailable", "overloaded", "partner_failed"}
NO_ANSWER = "no answer"
OWN_CONTENTION = "409 lock_not_acquired"
# Answers that had an effect, or name one: those of a keyed call are repeated for good.
RECORDED = {200, 201, 402}
# Calls whose 202 is final: it names what has begun, and how that ends is to be looked up.
ACCEPTED = {"refund", "entry"}
DECLINES = {"card_declined", "insufficient_funds", "authentication_failed", "authentication_expired"}


class NoFinalAnswer(SetupError):
    """A call that got no final answer within its time."""


Period = tuple[float, float]  # When something began and ended
Findings = Iterator[str]  # What is wrong, a sentence each


class Call(NamedTuple):
    """One request as it is sent each time. `wait` is the `Prefer: wait` of a payment."""

    method: str
    path: str
    token: str
    body: Any = None
    key: str = ""
    wait: int = 0


class Answer(NamedTuple):
    """What came back: JSON, whatever the status."""

    status: int
    body: Any
    is_replay: bool = False
    retry_after: str | None = None

    @property
    def word(self) -> str:
        """The status, and the code of a problem."""
        return f"{self.status} {self.body.get('code', '') if self.status >= 400 else ''}".strip()

    @property
    def is_retryable(self) -> bool:
        """Whether the API's contract says to repeat the call."""
        return self.status >= 500 or (self.status == 409 and self.retry_after is not None)


class Request(NamedTuple):
    """One request: when it began and ended by the monotonic clock, its result, and the detail of a 503."""

    began: float
    ended: float
    method: str
    path: str
    result: str
    detail: str = ""

    def overlaps(self, periods: Iterable[Period]) -> bool:
        return any(began <= self.ended and self.began <= ended for began, ended in periods)

    @property
    def is_good(self) -> bool:
        """A refusal is. Bad is every 5xx, no answer, and a 409 that the shop's own locks cause."""
        return self.result[:1] in ("2", "3", "4") and self.result != OWN_CONTENTION


@dataclass
class Observations:
    """What all clients saw, shared by their threads; moments are of the monotonic clock."""

    statuses: Counter[str] = field(default_factory=Counter)
    slowest: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    findings: Lines = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    outages: list[Period] = field(default_factory=list)
    mutex: threading.Lock = field(default_factory=threading.Lock)

    def record_answer(self, call: Call, answer: Answer, seconds: float) -> None:
        what = f"{call.method} {call.path} answered {answer.word}"
        self.count(answer.word, seconds - call.wait)
        if answer.status >= 500 and answer.body.get("code") not in PASSING_CODES:
            self.record_finding(f"{what}: {answer.body}")
        if answer.status == 503 and not (answer.retry_after or "").isdecimal():
            self.record_finding(f"{what} without Retry-After")
        if seconds - call.wait > LATEST_SECONDS:
            self.record_finding(f"{what} after {seconds:.0f} s")

    def record_no_answer(self, call: Call, seconds: float, error: Exception) -> None:
        self.count(NO_ANSWER, seconds - call.wait)
        if seconds - call.wait >= LATEST_SECONDS:
            self.record_finding(f"{call.method} {call.path} hung for {seconds:.0f} s: {error!r}")

    def record_finding(self, what: str) -> None:
        with self.mutex:
            if len(self.findings) < MOST_FINDINGS and what[:1000] not in self.findings:
                self.findings.append(what[:1000])

    def record_all(self, findings: Iterable[str]) -> None:
        for finding in findings:
            self.record_finding(finding)

    def count(self, sort: str, seconds: float) -> None:
        with self.mutex:
            self.statuses[sort] += 1
            self.slowest[sort] = max(self.slowest[sort], seconds)

    @contextmanager
    def printed(self) -> Iterator[None]:
        """Counts and findings are printed when the block ends, also where something raises."""
        try:
            yield
        finally:
            for sort, often in sorted(self.statuses.items()):
                say(f"{often:7} x {sort:32} at most {self.slowest[sort]:5.1f} s")
            say("\n".join(f"FINDING {one}" for one in self.findings))


class Connection:
    """One thread's connection to the shop, opened anew whenever it breaks."""

    def __init__(
        self, port: int, seen: Observations, *, seed: str, impatient_share: float = 0.1, base: str = "/api/v1"
    ) -> None:
        self._url = f"http://{ports.HOST}:{port}{base}"
        self._seen = seen
        self._random = random.Random(seed)
        self._impatient_share = impatient_share
        self._session = new_session()
        self._answered_at = 0.0

    def call_until_final(self, call: Call, *, until: float) -> Answer:
        """The final answer; 202 counts as one. Raises NoFinalAnswer past `until` (of the monotonic clock)."""
        is_impatient = self._random.random() < self._impatient_share
        while not (answer := self.call_once(call, is_impatient=is_impatient)) or answer.is_retryable:
            is_impatient = False
            if time.monotonic() > until:
                raise NoFinalAnswer(f"{call.method} {call.path}, key {call.key}: {answer or NO_ANSWER}")
            time.sleep(self._random.uniform(0.1, 1.0))
        return answer

    def call_once(self, call: Call, *, is_impatient: bool = False) -> Answer | None:
        """The answer, whatever it is; None for none, or none in time."""
        began = time.monotonic()
        # What broke a kept connection may have happened before the request.
        kept_since = self._answered_at or began
        self._answered_at = 0.0
        of = (call.method, call.path)
        record = self._seen.requests.append
        try:
            answer = self._ask(call, IMPATIENT_SECONDS if is_impatient else LATEST_SECONDS + call.wait)
        except requests.RequestException as error:
            ended = time.monotonic()
            self._seen.record_no_answer(call, ended - began, error)
            if not is_impatient:
                record(Request(kept_since, ended, *of, NO_ANSWER))
            return None
        ended = self._answered_at = time.monotonic()
        self._seen.record_answer(call, answer, ended - began)
        record(Request(began, ended, *of, answer.word, answer.body["detail"] if answer.status == 503 else ""))
        return answer

    def _ask(self, call: Call, seconds: float) -> Answer:
        headers = {"Authorization": f"Bearer {call.token}", "Content-Type": "application/json"}
        if call.key:
            headers |= {"Idempotency-Key": call.key}
        if call.wait:
            headers |= {"Prefer": f"wait={call.wait}"}
        found = self._session.request(
            call.method,
            f"{self._url}{call.path}",
            json=call.body,
            headers=headers,
            timeout=seconds,
            allow_redirects=False,
        )
        is_replay = found.headers.get("Idempotency-Replayed") == "true"
        try:
            return Answer(found.status_code, found.json(), is_replay, found.headers.get("Retry-After"))
        except ValueError:
            return Answer(599, {"code": "not_json"})


def new_session() -> requests.Session:
    """One without a proxy of the environment, which is not the shop's."""
    session = requests.Session()
    session.trust_env = False
    return session


def signed_in(url: str, username: str, password: str) -> requests.Session:
    """An operator's session of the admin. Raises SetupError."""
    session = new_session()
    page = f"{url}/admin/login/"
    session.get(page, timeout=LATEST_SECONDS)
    form = {"username": username, "password": password, "csrfmiddlewaretoken": session.cookies["csrftoken"]}
    answer = session.post(page, form, allow_redirects=False, timeout=LATEST_SECONDS)
    if answer.status_code != 302:
        raise SetupError(f"{username} can't sign in to the admin: {answer}")
    return session


def to_gateway(port: int) -> Connection:
    """To the gateway's own calls; nothing of them is counted."""
    return Connection(port, Observations(), seed="gateway", impatient_share=0, base="")


@dataclass(slots=True)
class RecordedCall:
    """One call with its latest answer, which may be 202 and open, and when the first one came."""

    sort: str
    call: Call
    answer: Answer
    answered_at: float = field(default_factory=time.time)

    @property
    def is_open(self) -> bool:
        return self.answer.status == 202 and self.sort not in ACCEPTED

    @property
    def was_done(self) -> bool:
        return self.answer.status in RECORDED or (self.answer.status == 202 and self.sort in ACCEPTED)

    @property
    def keeps_order(self) -> bool:
        """Whether the card was declined, and the order is kept for another one."""
        is_kept = self.answer.status == 402 and bool((self.call.body or {}).get("keep_on_decline"))
        return is_kept and (self.answer.body.get("failure") or {}).get("code") in DECLINES

    @property
    def order_id(self) -> str:
        """The order of an order's or a payment's answer; nothing for a top-up."""
        is_order = self.sort == "order" and self.answer.status != 402
        return str(self.answer.body["id" if is_order else "order"] or "")


@dataclass
class Account:
    """One account, its wallet before the load, and all calls made for it. One thread's own."""

    id: int
    token: str
    opening_amount: int = 0
    calls: list[RecordedCall] = field(default_factory=list)

    def done(self, sort: str) -> list[RecordedCall]:
        result = []
        for made in self.calls:
            if made.sort == sort and made.was_done:
                result.append(made)
        return result

    def orders(self) -> dict[str, RecordedCall]:
        """The id of each order in its answers, with the call that was answered."""
        return {made.order_id: made for made in self.done("order")}

    def payments(self) -> dict[str, list[RecordedCall]]:
        """By the id of the order, the calls that paid it and were answered for good."""
        found: defaultdict[str, list[RecordedCall]] = defaultdict(list)
        paid = [made for made in self.orders().values() if "payment" in made.call.body]
        for made in [*paid, *self.done("payment")]:
            found[made.order_id].append(made)
        return found

    def coupons(self) -> Json:
        return {made.answer.body["code"]: made.answer.body for made in self.done("coupon")}


def coupon_call(account: Account, campaign: int) -> Call:
    return Call("POST", "/coupons", account.token, {"campaign": campaign})


def order_call(account: Account, product: int, *, card: str = "", wait: int = 0) -> Call:
    """The call that places an order of one unit, to be paid if there is a card."""
    body: Json = {"items": [{"product": product, "quantity": 1}]}
    if card:
        body |= {"payment": {"token": card}}
    return Call("POST", "/orders", account.token, body, str(uuid.uuid4()), wait)


@dataclass
class Product:
    id: int
    on_hand: int


@dataclass
class Setup:
    """What there was before the load. `ample` never sells out; with `has_3ds` cards ask their owners."""

    staff: Account
    buyers: list[Account]
    campaigns: list[int]
    products: list[Product]
    ample: Product
    sale: int = 0
    sold: Product | None = None  # A sale with a waiting room, and its only product, of which there is plenty
    has_3ds: bool = False

    @property
    def calls(self) -> list[RecordedCall]:
        result = [*self.staff.calls]
        for account in self.buyers:
            result += account.calls
        return result

    @property
    def stocked(self) -> list[Product]:
        return [*self.products, self.ample, *([self.sold] if self.sold else [])]

    def refunds(self) -> list[Any]:
        return [made.answer.body for made in self.staff.done("refund")]


def await_final_answer(made: RecordedCall, connection: Connection, *, within_seconds: float) -> None:
    """Repeat an open call until it is answered for good or this is over: a queue's ticket takes a moment."""
    until = time.monotonic() + within_seconds
    with suppress(NoFinalAnswer):
        while made.is_open and time.monotonic() < until:
            made.answer = connection.call_until_final(made.call, until=until)
            time.sleep(0.1 * made.is_open)
