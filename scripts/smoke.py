"""The embedded smoke: `make run` in an empty folder, the README's session, an order, an audit, Ctrl-C,
again."""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from scripts.stack import SetupError, children, own_stack, places, ports, readiness, waiting, welcome
from scripts.stack.instance import Instance

SERVED_SECONDS = 20
"""A ticket is served within a second, but the issuer starts last, on a machine that may be busy."""
SESSION = re.compile(r"^## A session\n.*?^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PROMISED = ("is paid", "idempotency-replayed: true", "the gateway charged 20000\n", "Every law holds.")
"""What the session prints."""
PAGES = {"/api/schema/": "openapi", "/metrics": "# HELP", "/admin/login/": "csrfmiddlewaretoken"}


class Client:
    """The API as the demo user sees it, or another."""

    def __init__(
        self, instance: Instance, name: str = welcome.DEMO_USER, password: str = welcome.DEMO_PASSWORD
    ):
        self.port = instance.port
        self.headers = dict(welcome.JSON)
        token = self.call("POST", "/api/v1/auth/token", {"username": name, "password": password})["access"]
        self.headers["Authorization"] = f"Bearer {token}"

    def call(
        self, method: str, path: str, body: Any = None, *, expect: tuple[int, ...] = (200,), **headers: str
    ) -> Any:
        """The answer's JSON. Raises SetupError when its status is not one of those expected."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        content = None if body is None else json.dumps(body)
        status, text = readiness.ask(self.port, method, path, content, self.headers | named)
        _require(status in expect, f"{method} {path} answered {status}: {text[:500]}")
        return json.loads(text)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="make smoke", description="Boot the stack, sell something, stop it."
    )
    parser.add_argument("--db", default="", help="sqlite or mariadb")
    database, folder = parser.parse_args().db, Path(tempfile.gettempdir())
    return own_stack.measure("smoke", "firstcome-smoke", smoke, database=database, folder=folder)


def smoke(instance: Instance) -> int:
    """All steps. Raises SetupError at the first that fails."""
    with running(instance) as greeting:
        client = Client(instance)
        _paste(instance, greeting)
        coupon = _issue_coupon(client)
        _queue_for_coupon(client, Client(instance, welcome.STAFF_USER, welcome.STAFF_PASSWORD))
        order = _place_order(client, coupon)
        _check_charge(instance, order)
        _check_pages(instance)
        _audit(instance)
    _step("Ctrl-C leaves no process behind")
    with running(instance):
        kept = Client(instance).call("GET", f"/api/v1/orders/{order['id']}")
        _require(kept["status"] == "paid", f"after a restart the order is {kept['status']}")
        _step("a second run still knows the order")
        _audit(instance)
    _step("passed")
    return 0


@contextmanager
def running(instance: Instance) -> Iterator[str]:
    """The stack; says how long its start took."""
    started = time.monotonic()
    with own_stack.running(instance) as greeting:
        _step(f"make run DB={instance.database} is ready after {time.monotonic() - started:.1f} s")
        yield greeting


def _paste(instance: Instance, greeting: str) -> None:
    """Run the greeting's line as a user would, and the README's session twice: the second time nothing new
    happens."""
    if shutil.which("curl") is None:
        _step("there is no curl here to paste the greeting's line and the README's session into")
        return
    line = next(line for line in greeting.splitlines() if line.startswith("curl "))
    ran = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=30)
    is_issued = '"code"' in ran.stdout and '"status":"issued"' in ran.stdout.replace(" ", "")
    _require(is_issued, ran.stdout + ran.stderr)
    _step("the curl line of the greeting issues a coupon when pasted")
    paste_session_twice(lambda: own_stack.paste(instance, session(instance)))
    _step("the README's session does what it says when pasted, and nothing more when pasted again")


def paste_session_twice(paste: Callable[[], "subprocess.CompletedProcess[str]"]) -> str:
    """Run the README's session, and again: then nothing new happens. Its order. Raises SetupError."""
    both = [children.printed(paste()) for _ in range(2)]
    for text in both:
        missing = [words for words in PROMISED if words not in text]
        _require(not missing, f"the README's session did not print {missing}: {text}")
    orders = [re.findall(r"^order \S+", text, flags=re.MULTILINE) for text in both]
    _require(orders[0] == orders[1] != [], f"pasted twice the README's session placed two orders: {orders}")
    return str(orders[0][0])


def session(instance: Instance) -> str:
    """The README's session as a reader pastes it, with this instance's addresses. Raises SetupError."""
    found = SESSION.search((places.PROJECT / "README.md").read_text())
    if found is None:
        raise SetupError("README.md has no block of shell below `## A session`: put it back")
    text = found.group(1)
    for name, port in {"SHOP": instance.port, "GATEWAY": instance.gateway_port}.items():
        address = f"{name}=http://{ports.HOST}:{port}"
        text, count = re.subn(rf"^{name}=\S+$", address, text, flags=re.MULTILINE)
        if count != 1:
            raise SetupError(f"README.md's session has {count} lines {name}=…: it needs one to begin with")
    return text


def _issue_coupon(client: Client) -> Any:
    campaigns = client.call("GET", "/api/v1/campaigns")["results"]
    campaign = next((found for found in campaigns if found["status"] == "open"), None)
    if campaign is None:
        raise SetupError("no campaign is open")
    coupon = client.call("POST", "/api/v1/coupons", {"campaign": campaign["id"]}, expect=(200, 201))
    _step(f"coupon {coupon['code']} of campaign {campaign['id']} at position {coupon['position']}")
    return coupon


def _queue_for_coupon(client: Client, staff: Client) -> None:
    """A ticket of a campaign with a queue, and the coupon that the issuer makes of it."""
    terms = {"quantity": 1, "strategy": "queue", "discount": {"type": "amount", "value": 100}}
    campaign = staff.call("POST", "/api/v1/campaigns", {"name": "Smoke"} | terms, expect=(201,))
    ticket = client.call("POST", "/api/v1/coupons", {"campaign": campaign["id"]}, expect=(202,))
    deadline = time.monotonic() + SERVED_SECONDS
    while ticket["status"] == "waiting" and time.monotonic() < deadline:
        time.sleep(0.1)
        ticket = client.call("GET", f"/api/v1/queue-tickets/{ticket['id']}")
    _require(ticket["status"] == "issued", f"the ticket is {ticket['status']}")
    _step(f"ticket {ticket['id']} led to coupon {ticket['coupon']['code']}")


def _place_order(client: Client, coupon: Any) -> Any:
    products = client.call("GET", "/api/v1/products")["results"]
    product = next((found for found in products if found["available"] > 0 and found["price"] > 0), None)
    if product is None:
        raise SetupError("no product is available")
    minimum = coupon["discount"]["min_order_amount"] or 0
    quantity = max(1, -(-minimum // product["price"]))
    usable = quantity <= product["available"]
    asked = {
        "items": [{"product": product["id"], "quantity": quantity if usable else 1}],
        "coupon": coupon["code"] if usable else None,
        "payment": {"token": "tok_ok"},
    }
    headers = {"Idempotency_Key": str(uuid.uuid4()), "Prefer": "wait=10"}
    order = client.call("POST", "/api/v1/orders", asked, expect=(201,), **headers)
    _require(order["status"] == "paid", f"the order is {order['status']}")
    amounts = f"{order['card_amount']} by card, {order['discount_amount']} off by coupon"
    _step(f"order {order['id']} paid: {amounts}")
    again = client.call("POST", "/api/v1/orders", asked, expect=(201,), **headers)
    _require(again["id"] == order["id"], "the same key made a second order")
    _step("the same call again gets the same order")
    return order


def _check_charge(instance: Instance, order: Any) -> None:
    _, text = readiness.ask(instance.gateway_port, "GET", f"/charges?order={order['id']}")
    charges = [(charge["status"], charge["amount"]) for charge in json.loads(text)["results"]]
    _require(charges == [("succeeded", order["card_amount"])], f"the gateway's book holds {charges}")
    _step("the gateway's book holds exactly one charge of it")


def _check_pages(instance: Instance) -> None:
    docs = _page(instance, "/api/docs/", "swagger")
    style = re.search(r'"(/static/[^"]+\.css)"', docs)
    if style is None:
        raise SetupError("the docs page names no style sheet of ours")
    for path, expected in {style.group(1): "swagger", **PAGES}.items():
        _page(instance, path, expected)
    status, text = readiness.ask(instance.port, "GET", "/", headers={"Accept": "text/html"})
    _require(status == 200 and "Coupons left" in text, f"the start page answered {status}: {text[:200]}")
    _check_metrics(instance)
    _step("the start page, docs, its style sheet, schema, metrics and admin answer")


def _check_metrics(instance: Instance) -> None:
    """Each kind of process exposes what it counts; beat and issuer start last."""
    for job, (target,) in instance.metrics_targets().items():
        port, late = int(target.rpartition(":")[2]), f"the metrics of {job} don't answer at {target}"
        waiting.until(partial(ports.answers, (ports.HOST, port)), late, within_seconds=SERVED_SECONDS)
        status, text = readiness.ask(port, "GET", "/metrics")
        _require(status == 200 and "firstcome_processes " in text, f"{job}: /metrics answered {status}")


def _page(instance: Instance, path: str, expected: str) -> str:
    status, text = readiness.ask(instance.port, "GET", path)
    _require(status == 200 and expected in text, f"GET {path} answered {status} without {expected!r}")
    return text


def _audit(instance: Instance) -> None:
    laws = own_stack.audit(instance)
    _require(all(law["holds"] for law in laws), f"audit found: {laws}")
    _step(f"audit: all {len(laws)} laws hold")


def _require(is_so: bool, otherwise: str) -> None:
    if not is_so:
        raise SetupError(otherwise)


def _step(text: str) -> None:
    print(f"smoke: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
