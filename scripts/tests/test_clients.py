"""The clients: how they are generated, and what the Python and TypeScript ones repeat, with which keys.

Both call a real HTTP server; node runs the TypeScript client.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import re
import shutil
import sys
import tarfile
import threading
import time
import tomllib
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import chain
from typing import Any
from uuid import UUID

import pytest

from firstcome_client import (
    ApiKey,
    AsyncShop,
    IntentTooOldError,
    NoAnswerError,
    NotSettledError,
    Password,
    ProblemError,
    Retries,
    Shop,
    Tokens,
    WebhookError,
    checked,
    verify_webhook,
)
from firstcome_client.generated.api.coupons import list_coupons
from firstcome_client.generated.api.users import get_me, register
from firstcome_client.generated.api.wallet import get_wallet
from firstcome_client.generated.models import CardInput, ItemInput, PlaceOrderInput, RegisterInput, TopUpInput
from scripts import clients
from scripts.stack import SetupError, places
from scripts.tests import canned_shop, own_client, programs
from scripts.tests.canned_shop import LOST, Answer, CannedShop, problem
from scripts.tests.circles import boots

KEY = "Idempotency-Key"
ORDER_ID = UUID("01890000-0000-7000-8000-000000000001")
ORDER = PlaceOrderInput([ItemInput(1, 2)], payment=CardInput("tok_ok"))
WALLET = Answer(200, {"balance_amount": 7, "currency": "KRW"})
ME = {"id": 4, "username": "mina", "email": "mina@example.com", "is_staff": False}
NEW = RegisterInput("mina", "mina@example.com", "a password of mina")


@pytest.fixture
def server():
    with canned_shop.running() as server:
        yield server


@pytest.fixture
def shop(server):
    with Shop(server.address, ApiKey("fc_key_secret")) as shop:
        yield shop


def order(status: str, payment=None) -> Answer:
    kinds = ("items", "discount", "points", "card", "total", "refunded")
    body = dict.fromkeys(("coupon", "paid_at", "failure")) | {f"{kind}_amount": 0 for kind in kinds}
    at = "2026-11-25T09:00:00Z"
    body |= {"id": str(ORDER_ID), "status": status, "items": [], "currency": "KRW", "payment": payment}
    body |= {"account": 4, "number": "2346789C", "metadata": {}}
    return Answer(202 if status == "paying" else 201, body | {"placed_at": at, "expires_at": at})


ACTION = {"type": "app", "url": "https://bank.example/1", "expires_at": "2026-11-25T09:10:00+00:00"}
PAID = order("paid")
# What the calls of one intent are answered, one after the other, and whether its key is kept then.
INTENT = [
    (LOST, True),
    (Answer(404, {}, type="text/html"), True),
    (problem(429, "throttled", Retry_After="3600"), True),
    (problem(422, "idempotency_key_reused"), True),
    (problem(401, "token_invalid"), True),
    (order("paying", {"id": str(ORDER_ID), "status": "requires_action", "next_action": ACTION}), True),
    (PAID, True),
    (problem(402, "payment_declined"), False),
    (problem(409, "insufficient_stock"), False),
]
ONCE = {"attempts": 1, "seconds": 60}


def check_intents(server: CannedShop, kept: list[bool]):
    """The key is kept as INTENT says, and until the one that is paid is forgotten; a later one is another."""
    keys = [sent.headers[KEY] for sent in server.sent]
    assert kept == [is_kept for _, is_kept in INTENT]
    assert len(keys) == len(INTENT) and (len(set(keys[:7])), len(set(keys))) == (1, 3)


def test_the_key_of_an_intent_is_kept_until_its_end_is_known(server):
    storage, kept = dict[str, str](), []
    server.queue(*[answer for answer, _ in INTENT])
    for answer, _ in INTENT:
        with (
            Shop(server.address, ApiKey("key"), storage=storage, retries=Retries(**ONCE)) as shop,
            suppress(ProblemError, NoAnswerError),
        ):
            shop.place_order(ORDER, intent="cart-17")
        kept.append("cart-17" in storage)
        if answer == PAID:
            shop.forget("cart-17")
    check_intents(server, kept)
    storage["cart-17"] = f"{time.time() - 23 * 3600 - 1:.0f}.key"
    with pytest.raises(IntentTooOldError):
        shop.place_order(ORDER, intent="cart-17")


def test_a_refused_sign_in_ends_no_intent(server, sign_ins):
    storage, sign_ins.refreshing = dict[str, str](), problem(400, "invalid")
    shop = Shop(server.address, Tokens("old", "refresh-0"), storage=storage)
    with shop, pytest.raises(ProblemError, match="invalid"):
        shop.place_order(ORDER, intent="cart-17")
    assert "cart-17" in storage


def test_what_a_later_release_adds_passes_and_so_does_what_an_earlier_one_lacks(server, shop):
    payment = {"id": str(ORDER_ID), "status": "asked", "next_action": ACTION}
    sent = {"id": str(ORDER_ID), "status": "boxed", "gift": True, "payment": payment}
    server.queue(Answer(200, sent))
    found = shop.order(ORDER_ID)
    assert (found.id, found.status, found["gift"]) == (ORDER_ID, "boxed", True)
    assert (found.payment.status, found.payment.next_action.type_) == ("asked", "app")
    assert not found.number and not found.metadata
    assert found.to_dict() == sent


def test_a_problem_has_its_members(server, shop):
    body = {"code": "payment_declined", "detail": "no", "request_id": "r-1", "order": str(ORDER_ID)}
    body |= {"failure": {"code": "card_declined", "detail": "no"}}
    body |= {"errors": [{"field": "items.0", "code": "taken", "detail": "no"}]}
    server.queue(Answer(402, body, {"Retry-After": "3"}))
    with pytest.raises(ProblemError) as refused:
        shop.place_order(ORDER)
    error = refused.value
    assert (error.status, error.request_id, error.order, error.retry_after) == (402, "r-1", ORDER_ID, 3)
    assert error.failure is not None
    assert (error.failure.code, error.errors[0].field) == ("card_declined", "items.0")


def test_a_call_whose_answer_is_lost_is_sent_again_with_its_key_and_the_next_intent_has_another(server, shop):
    server.queue(LOST, LOST, order("paid"))
    assert shop.place_order(ORDER).id == ORDER_ID
    first = [sent.headers[KEY] for sent in server.sent]
    assert (len(first), len(set(first))) == (3, 1)
    assert server.sent[0].body == server.sent[2].body == ORDER.to_dict()

    shop.place_order(ORDER)
    assert server.sent[-1].headers[KEY] not in first
    shop.place_order(ORDER, key="mine")
    assert server.sent[-1].headers[KEY] == "mine"


@pytest.mark.parametrize("answer", [LOST, problem(503, "unavailable", Retry_After="0")])
def test_a_call_without_a_key_whose_repeat_could_have_an_effect_is_sent_once(server, shop, answer):
    server.queue(answer)
    with pytest.raises((NoAnswerError, ProblemError)):
        register.sync(client=shop.api, body=NEW)
    assert len(server.sent) == 1


def test_a_coupon_is_asked_for_again_without_a_key_because_it_is_the_same_one(server, shop):
    server.queue(LOST, problem(409, "lock_not_acquired", Retry_After="0"), problem(409, "sold_out"))
    with pytest.raises(ProblemError) as refused:
        shop.claim_coupon(3)
    assert (refused.value.code, refused.value.idempotency_key, len(server.sent)) == ("sold_out", None, 3)


@pytest.mark.parametrize(("status", "code"), [(429, "throttled"), (503, "overloaded")])
def test_a_refusal_that_passes_is_repeated_after_its_retry_after(server, shop, status, code):
    server.queue(problem(status, code, Retry_After="1"), WALLET)
    began = time.monotonic()
    assert checked(get_wallet.sync(client=shop.api)).balance_amount == 7
    assert 1 <= time.monotonic() - began < 10
    assert len(server.sent) == 2


def test_attempts_are_counted_and_the_error_has_the_key_to_go_on_with(server):
    server.queue(problem(503, "unavailable", Retry_After="0"))
    with Shop(server.address, ApiKey("fc_key_secret"), retries=Retries(attempts=3)) as shop:
        with pytest.raises(ProblemError) as refused:
            shop.place_order(ORDER)
        assert len(server.sent) == 3
        assert refused.value.idempotency_key == server.sent[0].headers[KEY]
        server.queue(LOST)
        with pytest.raises(NoAnswerError) as unanswered:
            shop.place_order(ORDER)
    assert (unanswered.value.attempts, len(server.sent)) == (3, 6)
    assert unanswered.value.idempotency_key == server.sent[-1].headers[KEY]


def test_a_wait_past_the_deadline_is_not_begun(server, shop):
    server.queue(problem(429, "throttled", Retry_After="3600"))
    began = time.monotonic()
    with pytest.raises(ProblemError) as refused:
        shop.place_order(ORDER)
    assert (refused.value.code, refused.value.retry_after) == ("throttled", 3600)
    assert time.monotonic() - began < 10 and len(server.sent) == 1


def test_a_server_that_never_answers_is_given_up_at_the_deadline(server):
    ended = threading.Event()
    server.answer = lambda sent: ended.wait(60) and LOST
    try:
        with Shop(server.address, ApiKey("fc_key_secret"), retries=Retries(seconds=0.5)) as shop:
            began = time.monotonic()
            with pytest.raises(NoAnswerError):
                shop.place_order(ORDER)
        assert 0.5 <= time.monotonic() - began < 20
    finally:
        ended.set()


class SignIns:
    """Answers sign-ins, refreshes and calls as the shop does, with one access token good at a time."""

    def __init__(self):
        self.number = 0
        self.refreshing: Answer | None = Answer(200, {})

    def __call__(self, sent):
        if sent.path.endswith("/auth/refresh") and (self.refreshing is LOST or self.refreshing.status != 200):
            return self.refreshing
        if "/auth/" in sent.path:
            self.number += 1
            return Answer(200, {"access": f"access-{self.number}", "refresh": f"refresh-{self.number}"})
        if sent.headers["Authorization"] != f"Bearer access-{self.number}":
            return problem(401, "token_invalid")
        return Answer(200, ME)


@pytest.fixture
def sign_ins(server):
    server.answer = sign_ins = SignIns()
    return sign_ins


def count(server: CannedShop, path: str) -> int:
    return len([sent for sent in server.sent if sent.path == f"/api/v1/auth/{path}"])


def test_a_refused_access_token_is_renewed_once_for_all_threads(server, sign_ins):
    with Shop(server.address, Password("mina", "her password")) as shop:
        assert checked(get_me.sync(client=shop.api)).id == 4
        assert server.sent[0].body == {"username": "mina", "password": "her password"}
        sign_ins.number = 100
        barrier = threading.Barrier(8)

        def read(_):
            barrier.wait()
            return checked(get_me.sync(client=shop.api)).id

        with ThreadPoolExecutor(8) as threads:
            assert list(threads.map(read, range(8))) == [4] * 8
    assert (count(server, "token"), count(server, "refresh")) == (1, 1)


@pytest.mark.parametrize("refusal", [LOST, problem(401, "token_invalid")])
def test_a_refresh_that_fails_is_not_repeated_and_signs_in_again(server, sign_ins, refusal):
    with Shop(server.address, Password("mina", "her password")) as shop:
        get_me.sync(client=shop.api)
        sign_ins.number, sign_ins.refreshing = 100, refusal
        assert checked(get_me.sync(client=shop.api)).id == 4
    assert (count(server, "token"), count(server, "refresh")) == (2, 1)


def test_a_call_that_is_cancelled_loses_no_token(server, sign_ins):
    kept = []

    async def cancel() -> None:
        loop = asyncio.get_running_loop()
        async with AsyncShop(
            server.address, Tokens("", "refresh-0", lambda *pair: kept.append(pair))
        ) as shop:
            call = loop.create_task(get_me.asyncio(client=shop.api))
            server.answer = lambda sent: loop.call_soon_threadsafe(call.cancel) and sign_ins(sent)
            await asyncio.wait([call])

    asyncio.run(cancel())
    assert kept == [("access-1", "refresh-1")]


def test_kept_tokens_are_renewed_and_handed_on_until_the_refresh_token_is_refused(server, sign_ins):
    kept = []
    tokens = Tokens("old", "refresh-0", on_change=lambda *pair: kept.append(pair))
    with Shop(server.address, tokens) as shop:
        assert checked(get_me.sync(client=shop.api)).id == 4
        assert kept == [("access-1", "refresh-1")]
        sign_ins.number, sign_ins.refreshing = 100, problem(401, "token_invalid")
        with pytest.raises(ProblemError, match="token_invalid"):
            get_me.sync(client=shop.api)
    assert [sent.body for sent in server.sent if sent.body] == [
        {"refresh": "refresh-0"},
        {"refresh": "refresh-1"},
    ]


def test_a_one_time_code_is_sent_once(server, sign_ins):
    with Shop(server.address, Password("kim", "his password", one_time_code="123456")) as shop:
        get_me.sync(client=shop.api)
        assert server.sent[0].body == {"username": "kim", "password": "his password", "otp": "123456"}
        sign_ins.number, sign_ins.refreshing = 100, problem(401, "token_invalid")
        with pytest.raises(ProblemError, match="token_invalid"):
            get_me.sync(client=shop.api)
    assert (count(server, "token"), count(server, "refresh")) == (1, 1)


def test_a_token_of_a_provider_is_asked_for_again_once_for_all_calls(server, sign_ins):
    asked = []

    async def fresh() -> str:
        asked.append(sign_ins.number)
        return f"access-{sign_ins.number}"

    async def read() -> list[int]:
        async with AsyncShop(server.address, fresh) as shop:
            await get_me.asyncio(client=shop.api)
            sign_ins.number = 100
            answers = await asyncio.gather(*[get_me.asyncio(client=shop.api) for _ in range(8)])
            return [checked(answer).id for answer in answers]

    assert asyncio.run(read()) == [4] * 8
    assert asked == [0, 100] and count(server, "refresh") == 0


EVENT = json.dumps({"id": str(ORDER_ID), "type": "order.paid", "at": "2026-11-25T09:00:00Z", "data": {}})
SECRET = "whsec_" + base64.b64encode(b"a secret of an endpoint").decode()


def delivery(seconds_ago=0, *, body: str = EVENT, **changes: str) -> dict[str, Any]:
    """A request with two signatures, as after a rotation; the other one is of another secret."""
    at = str(int(time.time()) - seconds_ago)
    digest = hmac.new(b"a secret of an endpoint", f"e-1.{at}.{EVENT}".encode(), hashlib.sha256).digest()
    signatures = f"v1,{base64.b64encode(digest[::-1]).decode()} v1,{base64.b64encode(digest).decode()}"
    signed = {
        ":method": "POST",
        "webhook-id": "e-1",
        "webhook-timestamp": at,
        "webhook-signature": signatures,
    }
    return {"headers": signed | {f"webhook-{name}": value for name, value in changes.items()}, "body": body}


def deliveries() -> list[tuple[dict[str, Any], str]]:
    """Requests to a webhook endpoint, as they are signed now, and what becomes of each."""
    return [
        (delivery(), "order.paid"),
        (delivery(200), "order.paid"),
        (delivery(600), "refused"),
        (delivery(-600), "refused"),
        (delivery(body=f"{EVENT} "), "refused"),
        (delivery(id="e-2"), "refused"),
        (delivery(timestamp="9" * 400), "refused"),
        (delivery(signature="v1,A v2,AAAA"), "refused"),
        (delivery(signature=""), "refused"),
    ]


def test_a_webhook_is_verified():
    for sent, outcome in deliveries():
        try:
            event = verify_webhook(sent["headers"], sent["body"].encode(), SECRET)
            assert event.type_ == outcome
        except WebhookError:
            assert outcome == "refused", sent


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_***", "whsec_AAAA"])
def test_what_is_no_secret_verifies_nothing(secret):
    with pytest.raises(ValueError, match="no secret"):
        verify_webhook(delivery()["headers"], EVENT.encode(), secret)


def test_an_api_key_may_act_for_an_account_and_is_never_renewed(server):
    server.queue(problem(401, "token_invalid"))
    with Shop(server.address, ApiKey("fc_key_1", account=42)) as shop, pytest.raises(ProblemError):
        get_wallet.sync(client=shop.api)
    [sent] = server.sent
    assert (sent.headers["Authorization"], sent.headers["Firstcome-Account"]) == ("Bearer fc_key_1", "42")


def test_all_pages_are_read_and_only_from_the_shop_itself(server, shop):
    coupon = {
        "campaign": 1,
        "account": 4,
        "currency": "KRW",
        "position": 1,
        "status": "issued",
        "discount": {"type": "amount", "value": 1, "min_order_amount": 0, "max_discount_amount": None},
        "issued_at": "2026-11-25T09:00:00Z",
        "expires_at": "2026-12-25T09:00:00Z",
        "order": None,
    }

    def answer(sent):
        number = len(server.sent)
        link = f"http://elsewhere.invalid/api/v1/coupons?cursor=c%2B{number}&limit=2" if number < 3 else None
        results = [coupon | {"code": f"{number}-{row}"} for row in "ab"]
        return Answer(200, {"results": results, "next": link, "previous": None})

    server.answer = answer
    codes = [one.code for one in shop.each(list_coupons.sync(client=shop.api, limit=2))]
    assert codes == ["1-a", "1-b", "2-a", "2-b", "3-a", "3-b"]
    assert server.sent[2].path == "/api/v1/coupons?cursor=c%2B2&limit=2"


def test_an_order_is_waited_for_by_the_same_key_until_it_settles(server, shop):
    server.queue(order("paying"), order("paying"), order("paid"))
    assert shop.place_order(ORDER, seconds=20).status == "paid"
    assert len({sent.headers[KEY] for sent in server.sent}) == 1
    waits = [int(sent.headers["Prefer"].removeprefix("wait=")) for sent in server.sent]
    assert waits[0] in (19, 20) and waits == sorted(waits, reverse=True)
    # One whose customer must act is returned at once.
    server.sent.clear()
    action = {"type": "redirect", "url": "https://bank.example/1", "expires_at": "2026-11-25T09:10:00Z"}
    server.queue(order("paying", {"id": str(ORDER_ID), "status": "requires_action", "next_action": action}))
    placed = shop.place_order(ORDER)
    assert placed.payment is not None and placed.payment.next_action is not None
    assert (placed.payment.next_action.url, len(server.sent)) == ("https://bank.example/1", 1)


def test_a_wait_ends_with_the_last_state(server, shop):
    pending = {"id": str(ORDER_ID), "status": "in_doubt", "points_amount": 0, "card_amount": 5}
    pending |= {"created_at": "2026-11-25T09:00:00Z", "gateway": "simulator"}
    pending |= {"account": 4, "currency": "KRW"}
    pending |= dict.fromkeys(("order", "failure", "dispute", "next_action"))
    server.queue(Answer(202, pending))
    with pytest.raises(NotSettledError) as open_still:
        shop.top_up(TopUpInput(5, "tok_ok"), seconds=1)
    assert open_still.value.body.status == "in_doubt"
    assert len(server.sent) >= 2
    assert {sent.headers[KEY] for sent in server.sent} == {open_still.value.idempotency_key}


def test_a_queue_ticket_is_waited_for_and_then_the_coupon_is_asked_for_again(server, shop):
    ticket = {"id": str(ORDER_ID), "campaign": 3, "account": 4, "status": "waiting", "ahead": 2}
    ticket["coupon"] = None
    server.queue(
        Answer(202, ticket),
        Answer(200, ticket, {"Retry-After": "1"}),
        Answer(200, ticket | {"status": "sold_out"}),
        problem(409, "sold_out"),
    )
    with pytest.raises(ProblemError, match="sold_out"):
        shop.claim_coupon(3)
    assert [sent.method for sent in server.sent] == ["POST", "GET", "GET", "POST"]
    server.queue(Answer(202, ticket), Answer(200, ticket | {"status": "failed"}))
    with pytest.raises(NotSettledError):
        shop.claim_coupon(3)


def test_events_are_followed_from_a_cursor(server, shop):
    def answer(sent):
        event = {"id": str(ORDER_ID), "type": "order.paid", "at": "2026-11-25T09:00:00Z", "data": {}}
        return Answer(200, {"results": [event], "next": f"cursor-{len(server.sent)}"})

    server.answer = answer
    pages = shop.follow_events(after="saved", kind="order.*")
    assert [next(pages).next_ for _ in range(2)] == ["cursor-1", "cursor-2"]
    assert [sent.path for sent in server.sent] == [
        "/api/v1/events?after=saved&limit=200&type=order.%2A",
        "/api/v1/events?after=cursor-1&limit=200&type=order.%2A",
    ]
    assert {sent.headers["Prefer"] for sent in server.sent} == {"wait=30"}


PROGRAM = """
import { IntentTooOldError, NoAnswerError, NotSettledError, ProblemError } from "firstcome-client";
import { Shop, WebhookError, checked, verifyWebhook } from "firstcome-client";

const url = process.env.SHOP!;
const retries = JSON.parse(process.env.RETRIES ?? '{"attempts": 5, "seconds": 60}');
const credentials = JSON.parse(process.env.CREDENTIALS ?? '{"apiKey": "fc_key_1", "account": 42}');
const kept = new Map<string, string>();
const storage = {
  getItem: (name: string) => kept.get(name) ?? null,
  setItem: (name: string, key: string) => void kept.set(name, key),
  removeItem: (name: string) => void kept.delete(name),
};
const changes: unknown[] = [];
const onChange = (tokens: unknown) => void changes.push(tokens);
const fresh = async () => (await (await fetch(`${url}/fresh`)).json()).token;
const shop = new Shop(url, {
  credentials: credentials === "fresh" ? fresh : { ...credentials, onChange },
  storage,
  retries,
});
const order = { items: [{ product: 1, quantity: 2 }], payment: { token: "tok_ok" } };
const account = { username: "m", email: "m@example.com", password: "p" };
const me = () => checked(shop.api.GET("/api/v1/users/me"));
const steps: Record<string, () => Promise<unknown>> = {
  order: async () => (await shop.placeOrder(order)).status,
  topUp: () => shop.topUp({ amount: 5, token: "tok_ok" }, { seconds: 1 }),
  register: () => checked(shop.api.POST("/api/v1/users", { body: account })),
  wallet: async () => (await checked(shop.api.GET("/api/v1/wallet"))).balance_amount,
  me: async () => (await me()).id,
  eight: async () => (await Promise.all(Array.from({ length: 8 }, me))).length,
  changes: async () => changes,
  coupon: () => shop.claimCoupon(3),
  intent: () => shop.placeOrder(order, { intent: "cart-17" }),
  kept: async () => kept.has("cart-17"),
  none: async () => null,
  forget: async () => shop.forget("cart-17"),
  old: async () => void kept.set("cart-17", `${Math.floor(Date.now() / 1000) - 23 * 3600 - 1}.key`),
  verify: () =>
    Promise.all(
      JSON.parse(process.env.DELIVERIES!).map(async (one: { headers: Headers; body: string }) =>
        verifyWebhook(one.headers, one.body, process.env.SECRET!).then(
          (event) => event.type,
          (error) => (error instanceof WebhookError ? "refused" : String(error)),
        ),
      ),
    ),
  products: async () => {
    const skus = [];
    for await (const product of shop.each(shop.api.GET("/api/v1/products"))) skus.push(product.sku);
    return skus;
  },
};
const done = [];
for (const step of process.argv.slice(2)) {
  try {
    done.push(await steps[step]!());
  } catch (error) {
    if (error instanceof ProblemError) done.push([error.status, error.code, error.idempotencyKey !== null]);
    else if (error instanceof IntentTooOldError) done.push("too old");
    else if (error instanceof NoAnswerError) done.push(["no answer", error.idempotencyKey !== null]);
    else if (error instanceof NotSettledError) done.push(["not settled", error.idempotencyKey]);
    else throw error;
  }
}
console.log(JSON.stringify(done));
"""


@pytest.fixture(scope="module")
@boots("node")
def command(tmp_path_factory):
    folder = tmp_path_factory.mktemp("program")
    own_client.install_npm(folder)
    (folder / "program.ts").write_text(PROGRAM)
    programs.run_lines(f"{own_client.COMPILE} program.ts", folder)
    return ["node", str(folder / "built" / "program.js")]


def run(command: list[str], server: CannedShop, *steps: str, **settings) -> list[Any]:
    """What the steps of the program return or throw."""
    own = {name: json.dumps(value) for name, value in settings.items()}
    return json.loads(programs.run([*command, *steps], SHOP=server.address, **own))


def test_a_keyed_call_is_repeated_with_its_key_and_waited_for(command, server):
    server.queue(LOST, problem(503, "unavailable", Retry_After="0"), order("paying"), order("paid"))
    assert run(command, server, "order", "order") == ["paid", "paid"]
    *first, second = [sent.headers[KEY] for sent in server.sent]
    assert (len(first), len(set(first))) == (4, 1) and second not in first
    assert server.sent[0].headers["Prefer"] == "wait=30"
    headers = server.sent[0].headers
    assert (headers["Authorization"], headers["Firstcome-Account"]) == ("Bearer fc_key_1", "42")


def test_only_what_may_be_repeated_is(command, server):
    server.queue(
        problem(503, "overloaded", Retry_After="0"),
        LOST,
        LOST,
        WALLET,
        problem(409, "lock_not_acquired", Retry_After="0"),
        problem(409, "sold_out"),
        Answer(307, {}, {"Location": "/api/v1/wallet"}),
    )
    assert run(command, server, "register", "register", "wallet", "coupon", "order") == [
        [503, "overloaded", False],
        ["no answer", False],
        7,
        [409, "sold_out", False],
        [307, "", True],
    ]
    assert len(server.sent) == 7


def test_attempts_time_and_a_wait_are_bounded(command, server):
    server.queue(problem(429, "throttled", Retry_After="3600"), *[LOST] * 3, order("paid"))
    refused, unanswered = run(command, server, "order", "order", RETRIES={"attempts": 3, "seconds": 60})
    assert (refused, unanswered) == ([429, "throttled", True], ["no answer", True])
    assert len(server.sent) == 4
    server.sent.clear()
    server.queue(Answer(202, {"status": "in_doubt"}))
    [[said, key]] = run(command, server, "topUp")
    assert (said, {sent.headers[KEY] for sent in server.sent}) == ("not settled", {key})


def test_a_refused_access_token_is_renewed_by_it_once_for_all_calls(command, server):
    sign_ins = SignIns()

    def answer(sent):
        if len(server.sent) == 3:
            sign_ins.number = 100
        return sign_ins(sent)

    server.answer = answer
    mina = {"username": "mina", "password": "her password"}
    assert run(command, server, "me", "eight", CREDENTIALS=mina) == [4, 8]
    auth = [sent.path for sent in server.sent if "/auth/" in sent.path]
    assert auth == ["/api/v1/auth/token", "/api/v1/auth/refresh"]


def test_the_key_of_an_intent_is_kept_by_it_until_its_end_is_known(command, server):
    server.queue(*[answer for answer, _ in INTENT])
    steps = [("intent", "kept", "forget" if answer == PAID else "none") for answer, _ in INTENT]
    *ended, _, refused = run(command, server, *chain(*steps), "old", "intent", RETRIES=ONCE)
    check_intents(server, ended[1::3])
    assert refused == "too old"


CODE = {"username": "kim", "password": "his", "oneTimeCode": "123456"}


@pytest.mark.parametrize(
    ("credentials", "asked"),
    [
        ({"access": "old", "refresh": "refresh-0"}, [{"refresh": "refresh-0"}]),
        (CODE, [{"username": "kim", "password": "his", "otp": "123456"}]),
        ("fresh", []),
    ],
)
def test_it_signs_in_by_kept_tokens_a_one_time_code_and_a_provider(
    command, server, sign_ins, credentials, asked
):
    def answer(sent):
        return Answer(200, {"token": "access-0"}) if sent.path == "/fresh" else sign_ins(sent)

    server.answer = answer
    me, changes = run(command, server, "me", "changes", CREDENTIALS=credentials)
    pairs = [{"access": "access-1", "refresh": "refresh-1"}]

    assert (me, changes) == (4, pairs if asked else [])
    assert [sent.body for sent in server.sent if sent.body] == asked


def test_a_webhook_is_verified_by_it(command, server):
    sent, outcomes = zip(*deliveries(), strict=True)
    own = {"DELIVERIES": json.dumps(sent), "SECRET": SECRET}
    printed = programs.run([*command, "verify"], SHOP=server.address, **own)
    assert json.loads(printed) == [list(outcomes)]


def test_all_pages_are_read_by_it_and_only_from_the_shop_itself(command, server):
    link = "http://elsewhere.invalid/api/v1/products?cursor=c%2B1"
    server.queue(
        Answer(200, {"results": [{"sku": "a"}, {"sku": "b"}], "next": link}),
        Answer(200, {"results": [{"sku": "c"}], "next": None}),
    )
    assert run(command, server, "products") == [["a", "b", "c"]]
    assert server.sent[1].path == "/api/v1/products?cursor=c%2B1"
    assert server.sent[1].headers["Authorization"] == "Bearer fc_key_1"


DOCUMENT = """
openapi: 3.1.0
info: {title: Small, version: "1"}
paths:
  /things:
    get:
      operationId: get_things
      tags: [things]
      responses: {"204": {description: None}}
"""


@pytest.fixture
@boots("the generator of the client")
def document(tmp_path):
    small = tmp_path / "openapi.yaml"
    small.write_text(DOCUMENT)
    return small


def test_a_package_that_is_current_stays_one_of_another_document_is_replaced_and_of_none_says_why(
    tmp_path, document
):
    folder = tmp_path / "generated"
    clients.generate_python(folder, document)
    first = folder.stat().st_ino
    clients.generate_python(folder, document)
    assert folder.stat().st_ino == first

    document.write_text(DOCUMENT.replace("things", "parts"))
    clients.generate_python(folder, document)
    assert (folder / "api" / "parts" / "get_parts.py").exists()
    assert not (folder / "api" / "things").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["generated", "openapi.yaml"]
    # A generator that fails leaves what was there.
    before = folder.stat().st_ino
    document.write_text("no: document\n")
    with pytest.raises(SetupError, match="openapi_python_client generate"):
        clients.generate_python(folder, document)
    assert folder.stat().st_ino == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["generated", "openapi.yaml"]


def test_several_that_start_at_once_make_it_once_and_each_finds_it_whole(tmp_path, document):
    folder, barrier = tmp_path / "generated", threading.Barrier(4)

    def generate(_):
        barrier.wait()
        clients.generate_python(folder, document)
        return folder.stat().st_ino, (folder / "api" / "things" / "get_things.py").exists()

    with ThreadPoolExecutor(4) as threads:
        found = set(threads.map(generate, range(4)))
    assert found == {(folder.stat().st_ino, True)}


@pytest.mark.boots("the generator of the client")
def test_an_sdist_and_the_wheel_that_is_built_of_it_have_the_generated_part(tmp_path):
    pytest.importorskip("setuptools")
    project = tmp_path / "project"
    left_out = shutil.ignore_patterns("generated", "tests", "__pycache__", "*.egg-info")
    for name in ("clients/python", "scripts"):
        shutil.copytree(places.PROJECT / name, project / name, ignore=left_out)
    (project / "docs").mkdir()
    shutil.copy(clients.DOCUMENT, project / "docs")
    build = "import sys; from setuptools import build_meta; build_meta.build_sdist(sys.argv[1])"
    programs.run([sys.executable, "-c", build, str(tmp_path)], project / "clients" / "python")
    [sdist] = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    shutil.rmtree(project)

    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index"]
    programs.run([*pip, str(tmp_path / "unpacked" / sdist.name.removesuffix(".tar.gz"))], tmp_path)

    [wheel] = tmp_path.glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    generated = clients.PYTHON.rglob("*.py")
    package = clients.PYTHON.parents[1]
    assert {str(path.relative_to(package)) for path in generated} <= packed
    assert {"firstcome_client/py.typed", "firstcome_client/synchronous/shop.py"} <= packed


@pytest.mark.boots("the generator of the client")
def test_the_packages_are_built_by_the_generators_that_the_project_pins():
    [pin] = re.findall(rf"^{clients.GENERATOR}==\S+", read("requirements-dev.txt"), re.MULTILINE)
    assert pin in tomllib.loads(read("clients/python/pyproject.toml"))["build-system"]["requires"]
    package, pins = (
        json.loads(read(f"{name}/package.json")) for name in ("clients/typescript", "scripts/npm")
    )
    assert package["dependencies"].items() <= pins["devDependencies"].items()
    assert package["devDependencies"].items() <= pins["devDependencies"].items()


def read(name: str) -> str:
    return (places.PROJECT / name).read_text()
