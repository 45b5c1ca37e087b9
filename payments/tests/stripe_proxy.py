"""A thin recording proxy for localstripe: adds what only Stripe does, and cards that misbehave.

localstripe 1.15.10 makes, confirms and cancels PaymentIntents and refunds them, and that is its own doing in
every test here. It ignores `Idempotency-Key`, declines no card by a reason, can't search, lists oldest
first and by no period, refunds more than was charged, has no disputes, and knows no `return_url`, so that a
card's owner has no page to confirm a charge on: those are this proxy's. What the adapter is shown to do about
them is therefore shown against our reading of Stripe's documentation, whose sentences stand beside what they
are read for; docs/stripe.md lists them. What becomes of the owner's decision is localstripe's.
"""

import re
import threading
import time
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import orjson
import urllib3

from payments.gateways.stripe_calls import API_VERSION
from scripts.stack import ports

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Card:
    """The result of confirming an intent with this payment method."""

    upstream: str = "pm_card_visa"
    decline_code: str = ""
    failures: float = 0
    seconds: float = 0
    is_lost: bool = False
    is_reply_lost: bool = False
    refund_failures: int = 0
    # So many of its refunds are made, and not taken by the card.
    refunds_not_taken: int = 0
    cancel_failures: int = 0
    processing_seconds: float = 0


# localstripe's own declining card, which gives no reason.
DECLINING = Card(upstream="pm_card_chargeCustomerFail", decline_code="generic_decline")
CARDS = {
    "pm_card_visa": Card(),
    "pm_card_visa_chargeDeclined": DECLINING,
    "pm_card_visa_chargeDeclinedInsufficientFunds": replace(DECLINING, decline_code="insufficient_funds"),
    "pm_declined_uncancelled": replace(DECLINING, cancel_failures=1),
    "pm_error": Card(failures=float("inf")),
    "pm_flaky": Card(failures=2),
    "pm_slow": Card(seconds=2),
    "pm_timeout_charged": Card(is_reply_lost=True),
    "pm_timeout_lost": Card(is_lost=True),
    "pm_refund_fails": Card(refund_failures=2),
    "pm_refund_not_taken": Card(refunds_not_taken=1),
    "pm_processing": Card(processing_seconds=0.5),
}
PLAIN = Card()


@dataclass(frozen=True, kw_only=True)
class Fault:
    """An answer in place of the usual one, `is_kept` under the request's key; what was asked for is done if
    `is_executed`. The reply never comes if `is_lost`.
    """

    status: int
    type: str = "api_error"
    code: str = ""
    is_kept: bool = True
    is_executed: bool = False
    is_lost: bool = False


SERVER_ERROR = Fault(status=500)
"""docs.stripe.com/api/idempotent_requests: "Stripe's idempotency works by saving the resulting status code
and body of the first request made for any given idempotency key, regardless of whether it succeeds or fails.
Subsequent requests with the same key return the same result, including 500 errors."
"""
HALF_DONE = replace(SERVER_ERROR, is_executed=True)
"""docs.stripe.com/error-low-level: "You should treat the result of a 500 request as indeterminate." """
NOT_BEGUN = replace(SERVER_ERROR, status=503, is_kept=False)
"""docs.stripe.com/api/idempotent_requests: "We save results only after the execution of an endpoint begins."
"""
REFUSED = Fault(status=400, type="invalid_request_error", code="parameter_invalid")
"""docs.stripe.com/error-low-level: "as long as an API method began execution, Stripe's API servers will cache
the results of the request regardless of what they were. A request that returns a 400 sends back the same 400
if followed by a new request with the same idempotency key."
"""
INVALID = replace(REFUSED, is_kept=False)
"""docs.stripe.com/api/idempotent_requests: "If incoming parameters fail validation, or the request conflicts
with another request that's executing concurrently, we don't save the idempotent result because no API
endpoint initiates the execution."
"""
RATE_LIMITED = Fault(status=429, type="invalid_request_error", code="rate_limit", is_kept=False)
"""docs.stripe.com/error-low-level: "a request that's rate limited with a 429 can produce a different result
with the same idempotency key because rate limiters run before the API's idempotency layer".
"""
IN_USE = Fault(status=409, type="idempotency_error", code="idempotency_key_in_use", is_kept=False)
"""docs.stripe.com/api/errors: "The request conflicts with another request (perhaps due to using the same
idempotent key)." Kept as little as `INVALID`.
"""
LOST = Fault(status=200, is_executed=True, is_lost=True)
"""docs.stripe.com/error-low-level: "an API response might never be received because a connection terminates
prematurely". Its effect and its answer are kept.
"""
REFUSED_AND_LOST = replace(REFUSED, is_lost=True)


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request; `key` is its Idempotency-Key, `who` its Authorization, `version` its Stripe-Version."""

    method: str
    path: str
    form: str
    key: str
    who: str
    version: str

    def value(self, name: str) -> str:
        return parse_qs(self.form).get(name, [""])[0]

    @property
    def intent_id(self) -> str:
        return self.path.split("/")[3]

    @property
    def asked(self) -> str:
        """What is asked for: create, confirm, cancel, refund or another."""
        last = self.path.rpartition("/")[2]
        return {"payment_intents": "create", "refunds": "refund"}.get(last, last)


@dataclass(frozen=True)
class Answer:
    """`is_kept` under its key; `is_lost` on its way to the client."""

    status: int
    content: Json
    is_kept: bool = True
    is_lost: bool = False
    is_replayed: bool = False


@dataclass
class Recorded:
    request: tuple[str, str]
    answer: Answer | None = None


@dataclass
class Memory:
    """The state of the proxy in one test."""

    calls: list[Call] = field(default_factory=list)
    # The requests of another version than the one that the package describes, reads among them.
    violations: list[Call] = field(default_factory=list)
    recorded: dict[str, Recorded] = field(default_factory=dict)
    cards: dict[str, Card] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)
    confirmed_at: dict[str, float] = field(default_factory=dict)
    # While it is set, no bank is done with a charge in processing.
    banks_are_slow: bool = False
    # Where the page of the card's owner leads back to, by intent.
    return_urls: dict[str, str] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    # The refunds that failed, with their intent and amount.
    refunds_not_taken: dict[str, tuple[str, int]] = field(default_factory=dict)
    # Oldest first, by intent.
    disputes: dict[str, list[Json]] = field(default_factory=dict)
    # What comes instead of the next answers, by what is asked for: create, confirm, cancel, refund or look.
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    # docs.stripe.com/api/payment_intents/search: "Under normal operating conditions, data is searchable in
    # less than a minute. Occasionally, propagation of new or updated data can be up to an hour behind during
    # outages."
    search_is_behind: bool = False
    # What webhooks would say, by type, in the order of what happened. docs.stripe.com/webhooks: "Stripe
    # doesn't guarantee the delivery of events in the order that they're generated." "Webhook endpoints might
    # occasionally receive the same event more than once." "Stripe attempts to deliver events to your
    # destination for up to three days with an exponential back off in live mode."
    events: list[tuple[str, Json]] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)


class StripeProxy(ThreadingHTTPServer):
    """Listens on a free port of the loopback and forwards to localstripe at `upstream`."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, upstream):
        super().__init__((ports.HOST, 0), Handler)
        self.upstream = upstream
        self.pool = urllib3.PoolManager(maxsize=64, retries=False)
        self.lock = threading.Lock()
        self.memory = Memory()

    @property
    def url(self) -> str:
        return f"http://{ports.HOST}:{self.server_address[1]}"

    def fail(self, asked: str, *faults: Fault):
        """Have the next requests of this kind answered so."""
        self.memory.faults.setdefault(asked, []).extend(faults)

    def forget_keys(self):
        """A day passes. docs.stripe.com/api/idempotent_requests: "You can remove keys from the system
        automatically after they're at least 24 hours old. We generate a new request if a key is reused after
        the original is pruned."
        """
        self.memory.recorded.clear()

    def forget(self):
        """Start with both books empty."""
        self.memory.over.set()
        self.memory = Memory()
        self.pool.request("DELETE", f"{self.upstream}/_config/data")

    def configure(self, what: str, settings: Json):
        """Change a setting of localstripe, such as the address of its webhooks."""
        response = self.pool.request("POST", f"{self.upstream}/_config/{what}", json=settings)
        assert response.status == 200

    def paths(self) -> list[str]:
        """The paths of the POSTs so far, with ids left out."""
        return [re.sub(r"/(pi|re)_\w+", "", one.path) for one in self.memory.calls if one.method == "POST"]

    def payment_method(self, **fields) -> str:
        """A payment method of localstripe's own."""
        status, made = self.ask("POST", "/v1/payment_methods", json=fields)
        assert status == 200
        return str(made["id"])

    def authenticate(self, key: str, *, is_approved: bool):
        """The card's owner decides about the charge of this key, on the page of their bank."""
        [intent] = [one for one in self._intents() if one["metadata"].get("firstcome_key") == key]
        decision = {"client_secret": intent["client_secret"], "success": is_approved}
        status, _ = self.ask("POST", f"/v1/payment_intents/{intent['id']}/_authenticate", json=decision)
        assert status == 200

    def dispute(self, intent_id: str, *, amount: int, status="needs_response", currency="krw") -> Json:
        """The card's owner disputes the charge of this intent; returns the dispute, which may be changed."""
        made = {
            "id": f"du_{len(self.memory.disputes)}{intent_id}",
            "object": "dispute",
            "amount": amount,
            "currency": currency,
            "status": status,
            "payment_intent": intent_id,
            "metadata": {},
            "evidence_details": {"due_by": 1_900_000_000},
        }
        self.memory.disputes.setdefault(intent_id, []).append(made)
        return made

    def ask(self, method: str, path: str, **more) -> tuple[int, Json]:
        headers = {"Authorization": "Bearer sk_test_proxy"} | more.pop("headers", {})
        response = self.pool.request(method, self.upstream + path, headers=headers, **more)
        return response.status, response.json()

    def answered(self, call) -> Answer:
        memory = self.memory
        if call.version != API_VERSION:
            memory.violations.append(call)
        if call.method == "GET":
            fault = self._next_fault("look")
            return _failed(fault) if fault else Answer(*self._looked(call))
        with self.lock:
            memory.calls.append(call)
            is_first = call.key not in memory.recorded
            seen = memory.recorded.setdefault(call.key, Recorded((call.path, call.form)))
        if not is_first:
            return _repeated(seen, call)
        fault = self._next_fault(call.asked)
        if fault is None or fault.is_executed:
            answer = self._done(call)
        if fault:
            # Of what is done and lost Stripe keeps its own answer.
            answer = replace(answer, is_lost=True) if fault.status == 200 else _failed(fault)
        if answer.is_kept:
            seen.answer = answer
        else:
            memory.recorded.pop(call.key, None)
        return answer

    def _next_fault(self, asked):
        with self.lock:
            faults = self.memory.faults.get(asked)
            return faults.pop(0) if faults else None

    def _done(self, call):
        if call.asked == "create":
            return self._create(call)
        if call.asked == "confirm":
            return self._confirm(call)
        if call.asked == "cancel":
            failures = self.memory.cards.get(call.intent_id, PLAIN).cancel_failures
            if self._fails(f"cancel {call.intent_id}", failures):
                return _error(500, "api_error")
            self.memory.cancelled.add(call.intent_id)
        if call.asked == "refund":
            return self._refund(call)
        return self._forwarded(call)

    def _create(self, call):
        card = CARDS.get(call.value("payment_method"), PLAIN)
        form = parse_qs(call.form)
        # The parameter's name in the versions before 2026-09-30, which localstripe speaks.
        form["payment_method_types[0]"] = form.pop("allowed_payment_method_types[0]", ["card"])
        if call.value("payment_method") in CARDS:
            form["payment_method"] = [card.upstream]
        answer = self._forwarded(replace(call, form=urlencode(form, doseq=True)))
        if answer.status == 200:
            self.memory.cards[answer.content["id"]] = card
        if answer.status == 404:
            answer.content["error"] |= {"code": "resource_missing", "param": "payment_method"}
        return answer

    def _confirm(self, call):
        card = self.memory.cards[call.intent_id]
        is_open = call.intent_id not in self.memory.cancelled
        if is_open and card.is_lost:
            return replace(_error(500, "lost"), is_kept=False, is_lost=True)
        if is_open and self._fails(call.intent_id, card.failures):
            return _error(500, "api_error")
        self.memory.over.wait(card.seconds)
        form = parse_qs(call.form)
        if return_url := form.pop("return_url", None):
            self.memory.return_urls[call.intent_id] = return_url[0]
            call = replace(call, form=urlencode(form, doseq=True))
        self.memory.confirmed_at.setdefault(call.intent_id, time.monotonic())
        answer = self._forwarded(call)
        if answer.status == 200:
            self.memory.events.append(("payment_intent.succeeded", answer.content))
        return replace(answer, is_lost=card.is_reply_lost)

    def _refund(self, call):
        intent_id = call.value("payment_intent")
        card = self.memory.cards.get(intent_id, PLAIN)
        if self._fails(f"refund {intent_id}", card.refund_failures):
            return _error(500, "api_error")
        with self.lock:
            intent = self._reasoned(self.ask("GET", f"/v1/payment_intents/{intent_id}")[1])
            charged = intent.get("latest_charge")
            if charged and int(call.value("amount")) > charged["amount"] - charged["amount_refunded"]:
                return _error(400, "invalid_request_error", param="amount")
            if any(one["status"] != "won" for one in self.memory.disputes.get(intent_id, ())):
                return _error(400, "invalid_request_error", code="charge_disputed")
            made = self._forwarded(call)
            of_intent = [one for one, _ in self.memory.refunds_not_taken.values() if one == intent_id]
            if made.status == 200 and len(of_intent) < card.refunds_not_taken:
                self.memory.refunds_not_taken[made.content["id"]] = intent_id, made.content["amount"]
            if made.status == 200:
                about = {"object": "charge", "payment_intent": intent_id, "metadata": intent["metadata"]}
                self.memory.events += [("charge.refunded", about), ("refund.updated", made.content)]
            return replace(made, content=self._reasoned(made.content))

    def _fails(self, name, times):
        with self.lock:
            self.memory.failed[name] = self.memory.failed.get(name, 0) + 1
            return self.memory.failed[name] <= times

    def _forwarded(self, call):
        headers = {"Content-Type": "application/x-www-form-urlencoded", "Authorization": call.who}
        status, content = self.ask(call.method, call.path, body=call.form, headers=headers)
        content = self._reasoned(content, intent_id=call.path.split("/")[3] if "/pi_" in call.path else "")
        # `REFUSED`; a key of the account that is wrong is found before, as `INVALID` is.
        return Answer(status, content, is_kept=status != 401)

    def _looked(self, call):
        if call.path == "/v1/disputes":
            found = self.memory.disputes.get(call.value("payment_intent"), [])[::-1]
            return 200, {"object": "list", "url": call.path, "data": found, "has_more": False}
        status, content = self.ask("GET", f"{call.path}?{call.form}", headers={"Authorization": call.who})
        if status == 401:
            return status, content
        if call.path == "/v1/payment_intents":
            return 200, self._listed(call)
        if call.path == "/v1/payment_intents/search":
            name, value = re.findall(r"'((?:[^'\\]|\\.)*)'", call.value("query"))
            found = [] if self.memory.search_is_behind else self._intents()
            matching = [one for one in found if one["metadata"].get(name) == re.sub(r"\\(.)", r"\1", value)]
            return 200, {"object": "search_result", "data": matching, "has_more": False, "next_page": None}
        for refund in content.get("data", ()):
            self._reasoned(refund)
        return status, self._reasoned(content)

    def _listed(self, call):
        """A page, newest first, as Stripe lists. docs.stripe.com/search: "For read-after-write flows that
        require immediate data availability, use the various list APIs".
        """
        intents = self._intents()
        least, most = (
            int(call.value(f"created[{name}]") or end) for name, end in (("gte", 0), ("lt", 2**40))
        )
        intents = [one for one in intents if least <= one["created"] < most]
        after = call.value("starting_after")
        start = next((at + 1 for at, one in enumerate(intents) if one["id"] == after), 0)
        limit = int(call.value("limit") or 10)
        data = intents[start : start + limit]
        has_more = len(intents) > start + limit
        return {"object": "list", "url": call.path, "data": data, "has_more": has_more}

    def _intents(self):
        _, everything = self.ask("GET", "/v1/payment_intents?limit=1000000")
        return [self._reasoned(one) for one in everything["data"][::-1]]

    def _reasoned(self, content, intent_id=""):
        """Add what localstripe lacks: the reason of a decline, a slow bank's delay and the owner's page."""
        intent_id = content.get("id", intent_id)
        card = self.memory.cards.get(intent_id, PLAIN)
        for name in ("error", "last_payment_error"):
            if card.decline_code and content.get(name):
                content[name] |= {"decline_code": card.decline_code}
        processed_at = self.memory.confirmed_at.get(intent_id, 0) + card.processing_seconds
        is_slow = card.processing_seconds and self.memory.banks_are_slow
        if content.get("status") == "succeeded" and (is_slow or time.monotonic() < processed_at):
            content["status"] = "processing"
        not_taken = self.memory.refunds_not_taken
        if intent_id in not_taken:
            content |= {"status": "failed", "failure_reason": "expired_or_canceled_card"}
        if content.get("latest_charge"):
            failed = sum(amount for one, amount in not_taken.values() if one == intent_id)
            content["latest_charge"]["amount_refunded"] -= failed
        if self.memory.disputes.get(intent_id) and content.get("latest_charge"):
            content["latest_charge"] |= {"disputed": True}
        return_url = self.memory.return_urls.get(intent_id)
        if content.get("status") == "requires_action" and return_url:
            page = {"url": f"https://hooks.stripe.com/3d_secure_2/{intent_id}", "return_url": return_url}
            content["next_action"] = {"type": "redirect_to_url", "redirect_to_url": page}
        return content


class Handler(BaseHTTPRequestHandler):
    """The HTTP server; for a lost answer the client waits until its time-out."""

    protocol_version = "HTTP/1.1"
    server: StripeProxy

    def do_GET(self):
        self._answer("GET", urlsplit(self.path).query)

    def do_POST(self):
        self._answer("POST", self.rfile.read(int(self.headers.get("Content-Length", 0))).decode())

    def _answer(self, method, form):
        memory = self.server.memory
        answer = self.server.answered(
            Call(
                method=method,
                path=urlsplit(self.path).path,
                form=form,
                key=self.headers.get("Idempotency-Key", ""),
                who=self.headers.get("Authorization", ""),
                version=self.headers.get("Stripe-Version", ""),
            )
        )
        if answer.is_lost:
            memory.over.wait(20)
            self.close_connection = True
            return
        body = orjson.dumps(answer.content)
        self.send_response(answer.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if answer.is_replayed:
            self.send_header("Idempotent-Replayed", "true")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """The tests' own calls are recorded instead."""


def _repeated(seen, call):
    """docs.stripe.com/api/idempotent_requests: "The idempotency layer compares incoming parameters to those
    of the original request and errors if they're not the same to prevent accidental misuse." The path is one,
    by the error that github.com/stripe/stripe-ruby/issues/598 quotes: "Keys for idempotent requests can only
    be used for the same endpoint they were first used for". Whether that or the conflict comes first isn't
    said.

    docs.stripe.com/error-low-level: "To identify a previously executed response that's being replayed from
    the server, look for the header Idempotent-Replayed: true."
    """
    if seen.request != (call.path, call.form):
        return replace(_error(400, "idempotency_error"), is_kept=False)
    if seen.answer is None:
        return _failed(IN_USE)
    return replace(seen.answer, is_lost=False, is_replayed=True)


def _failed(fault):
    made = _error(fault.status, fault.type, code=fault.code)
    return replace(made, is_kept=fault.is_kept, is_lost=fault.is_lost)


def _error(status, type, **more):
    return Answer(status, {"error": {"type": type, "message": "The proxy says so.", **more}})
