"""The embedded smoke: `make run` in an empty folder, the README's session, a queue, an audit, Ctrl-C."""

import json
import re
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from scripts import options
from scripts.stack import children, own_stack, places, ports, require, waiting, welcome
from scripts.stack.instance import Instance

SERVED_SECONDS = 20  # The issuer and beat start last, on a machine that may be busy
SESSION = re.compile(r"^## A session\n.*?^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
# What the session prints.
PROMISED = ("is paid", "idempotency-replayed: true", "the gateway charged 20000\n", "Every law holds.")
PAGES = {
    "/": "Coupons left",
    "/api/docs/": "swagger",
    "/api/schema/": "openapi",
    "/metrics": "# HELP",
    "/admin/login/": "csrfmiddlewaretoken",
}


def main() -> int:
    database = options.read("make smoke", db="sqlite or mariadb").db
    return own_stack.measure(
        "smoke", "firstcome-smoke", smoke, database=database, folder=Path(tempfile.gettempdir())
    )


def smoke(instance: Instance) -> int:
    began = time.monotonic()
    with own_stack.running(instance) as greeting:
        _step(f"make run DB={instance.database} is ready after {time.monotonic() - began:.1f} s")
        line = next(line for line in greeting.splitlines() if line.startswith("curl "))
        issued = children.printed(children.run(["sh", "-c", line], within_seconds=30)).replace(" ", "")
        require('"code"' in issued and '"status":"issued"' in issued, issued)
        _step("the curl line of the greeting issues a coupon when pasted")
        order = paste_session_twice(lambda: own_stack.paste(instance, session(instance)))
        _step("the README's session does what it says when pasted, and nothing more when pasted again")
        _queue_for_coupon(instance)
        _check_pages(instance)
        _audit(instance)
    _step("Ctrl-C leaves no process behind")
    with own_stack.running(instance):
        kept = _signed_in(instance)("GET", f"orders/{order.split()[1]}")
        require(kept["status"] == "paid", f"after a restart the order is {kept['status']}")
        _step("a second run still knows the order")
        _audit(instance)
    _step("passed")
    return 0


def _signed_in(
    instance: Instance, name: str = welcome.DEMO_USER, password: str = welcome.DEMO_PASSWORD
) -> Callable[..., Any]:
    """Calls of the API as this user sees it. Raises SetupError for a refusal."""

    def call(method: str, path: str, body: Any = None) -> Any:
        content = None if body is None else json.dumps(body)
        status, text = ports.ask(instance.port, method, f"/api/v1/{path}", content, headers)
        require(200 <= status < 300, f"{method} {path} answered {status}: {text[:500]}")
        return json.loads(text)

    headers = dict(welcome.JSON)
    token = call("POST", "auth/token", {"username": name, "password": password})["access"]
    headers["Authorization"] = f"Bearer {token}"
    return call


def paste_session_twice(paste: Callable[[], children.Ran]) -> str:
    """Run the README's session, and again: then nothing new happens. Its order. Raises SetupError."""
    orders = []
    for text in (children.printed(paste()), children.printed(paste())):
        missing = []
        for words in PROMISED:
            if words not in text:
                missing.append(words)
        require(not missing, f"the README's session did not print {missing}: {text}")
        orders.append(re.findall(r"^order \S+", text, flags=re.MULTILINE))
    require(orders[0] == orders[1] != [], f"pasted twice the README's session placed two orders: {orders}")
    return str(orders[0][0])


def session(instance: Instance) -> str:
    """The README's session as a reader pastes it, with this instance's addresses. Raises SetupError."""
    found = SESSION.search((places.PROJECT / "README.md").read_text())
    text = ""
    if found:
        text = found[1]
    for name, port in {"SHOP": instance.port, "GATEWAY": instance.gateway_port}.items():
        address = f"{name}=http://{ports.HOST}:{port}"
        text, count = re.subn(rf"^{name}=\S+$", address, text, flags=re.MULTILINE)
        require(count == 1, f"README.md's `## A session` has {count} lines {name}=…: it needs one")
    return text


def _queue_for_coupon(instance: Instance) -> None:
    """A ticket of a campaign with a queue, and the coupon that the issuer makes of it."""
    call = _signed_in(instance)
    staff = _signed_in(instance, welcome.STAFF_USER, welcome.STAFF_PASSWORD)
    terms = {"quantity": 1, "strategy": "queue", "discount": {"type": "amount", "value": 100}}
    campaign = staff("POST", "campaigns", {"name": "Smoke"} | terms)["id"]
    ticket = partial(call, "GET", f"queue-tickets/{call('POST', 'coupons', {'campaign': campaign})['id']}")
    is_served = lambda: ticket()["status"] == "issued"  # noqa: E731
    waiting.until(is_served, "the ticket waits", within_seconds=SERVED_SECONDS)
    _step(f"a ticket led to coupon {ticket()['coupon']['code']}")


def _check_pages(instance: Instance) -> None:
    """The pages, a style sheet of ours, and the metrics of each kind of process; two of these start late."""
    pages = {path: _page(instance.port, path, expected) for path, expected in PAGES.items()}
    style = re.search(r'"(/static/[^"]+\.css)"', pages["/api/docs/"])
    _page(instance.port, style[1] if style else "/no-style-sheet-of-ours", "swagger")
    for job, (target,) in instance.metrics_targets().items():
        port = int(target.rpartition(":")[2])
        late = f"the metrics of {job} don't answer at {target}"
        waiting.until(partial(ports.answers, (ports.HOST, port)), late, within_seconds=SERVED_SECONDS)
        _page(port, "/metrics", "firstcome_processes ")
    _step("the start page, docs, its style sheet, schema, metrics and admin answer")


def _page(port: int, path: str, expected: str) -> str:
    status, text = ports.ask(port, "GET", path, headers={"Accept": "text/html"} if path == "/" else {})
    require(status == 200 and expected in text, f"GET {path} answered {status} without {expected!r}")
    return text


def _audit(instance: Instance) -> None:
    laws = own_stack.audit(instance)
    require(not own_stack.broken(laws), f"audit found: {own_stack.broken(laws)}")
    _step(f"audit: all {len(laws)} laws hold")


def _step(text: str) -> None:
    children.say(f"smoke: {text}")


if __name__ == "__main__":
    sys.exit(main())
