"""The TypeScript client, run by node, against a real HTTP server: keys, repeats, tokens, waits and pages."""

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.tests import canned_shop, own_client, programs
from scripts.tests.canned_shop import LOST, Answer, CannedShop, problem
from scripts.tests.test_python_client import KEY, WALLET, SignIns, order, server

__all__ = ["server"]
pytestmark = pytest.mark.boots("node")

PROGRAM = """
import { NoAnswerError, NotSettledError, ProblemError, Shop, checked } from "./client.js";

const url = process.env.SHOP!;
const retries = JSON.parse(process.env.RETRIES ?? '{"attempts": 5, "seconds": 60}');
const credentials = JSON.parse(process.env.CREDENTIALS ?? '{"apiKey": "fc_key_1", "account": 42}');
const shop = new Shop(url, credentials, retries);
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
  coupon: () => shop.claimCoupon(3),
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
    else if (error instanceof NoAnswerError) done.push(["no answer", error.idempotencyKey !== null]);
    else if (error instanceof NotSettledError) done.push(["not settled", error.idempotencyKey]);
    else throw error;
  }
}
console.log(JSON.stringify(done));
"""


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder: Path = tmp_path_factory.mktemp("program")
    return own_client.compile_program(folder, PROGRAM)


def run(command: list[str], server: CannedShop, *steps: str, **settings: Any) -> list[Any]:
    """What the steps of the program return or throw."""
    own = {name: json.dumps(value) for name, value in settings.items()}
    return json.loads(programs.run([*command, *steps], SHOP=server.address, **own))


def test_a_keyed_call_is_repeated_with_its_key_and_waited_for(command, server):
    server.queue(LOST, problem(503, "unavailable", Retry_After="0"), order("paying"), order("paid"))
    assert run(command, server, "order", "order") == ["paid", "paid"]
    *first, second = [sent.headers[KEY] for sent in server.sent]
    assert (len(first), len(set(first))) == (4, 1) and second not in first
    assert server.sent[0].headers["Prefer"] == "wait=30"
    assert (server.sent[0].headers["Authorization"], server.sent[0].headers["Firstcome-Account"]) == (
        "Bearer fc_key_1",
        "42",
    )


def test_only_what_may_be_repeated_is(command, server):
    server.queue(
        problem(503, "overloaded", Retry_After="0"),
        LOST,
        LOST,
        WALLET,
        problem(409, "lock_not_acquired", Retry_After="0"),
        problem(409, "sold_out"),
    )
    assert run(command, server, "register", "register", "wallet", "coupon") == [
        [503, "overloaded", False],
        ["no answer", False],
        7,
        [409, "sold_out", False],
    ]
    assert len(server.sent) == 6


def test_attempts_and_time_are_bounded(command, server):
    server.queue(problem(429, "throttled", Retry_After="3600"), *[LOST] * 3, order("paid"))
    refused, unanswered = run(command, server, "order", "order", RETRIES={"attempts": 3, "seconds": 60})
    assert (refused, unanswered) == ([429, "throttled", True], ["no answer", True])
    assert len(server.sent) == 4


def test_a_wait_ends(command, server):
    server.queue(Answer(202, {"status": "in_doubt"}))
    [[said, key]] = run(command, server, "topUp")
    assert (said, {sent.headers[KEY] for sent in server.sent}) == ("not settled", {key})


def test_a_refused_access_token_is_renewed_once_for_all_calls(command, server):
    sign_ins = SignIns()

    def answer(sent: canned_shop.Sent) -> Answer | None:
        if len(server.sent) == 3:
            sign_ins.number = 100
        return sign_ins(sent)

    server.answer = answer
    mina = {"username": "mina", "password": "her password"}
    assert run(command, server, "me", "eight", CREDENTIALS=mina) == [4, 8]
    auth = [sent.path for sent in server.sent if "/auth/" in sent.path]
    assert auth == ["/api/v1/auth/token", "/api/v1/auth/refresh"]


def test_all_pages_are_read_and_only_from_the_shop_itself(command, server):
    link = "http://elsewhere.invalid/api/v1/products?cursor=c%2B1"
    server.queue(
        Answer(200, {"results": [{"sku": "a"}, {"sku": "b"}], "next": link}),
        Answer(200, {"results": [{"sku": "c"}], "next": None}),
    )
    assert run(command, server, "products") == [["a", "b", "c"]]
    assert server.sent[1].path == "/api/v1/products?cursor=c%2B1"
    assert server.sent[1].headers["Authorization"] == "Bearer fc_key_1"
