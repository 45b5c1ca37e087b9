"""What takes longer than a page: an upload of codes, an export of a table, a report of all sales.

Each with its time, the peak memory of the web processes, and how long orders take that are placed meanwhile.
"""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from statistics import median
from urllib.parse import quote, urlencode
from uuid import uuid4

from scripts.bench import watching
from scripts.bench.staff_pages.timing import Browser
from scripts.stack import SetupError, database
from scripts.stack.instance import Instance

PIECE_BYTES, PIECE_LINES = 48 * 1024, 4_000
"""As the page's own script cuts the file."""
SALE_EVERY_SECONDS = 0.1
TOKEN_NAME = "csrftoken"  # noqa: S105 - a name
CSRF = "0123456789abcdefghijklmnopqrstuv"
NEWEST_PRODUCT = "SELECT id FROM inventory_product WHERE on_hand > 1000000 ORDER BY id DESC LIMIT 1"
LARGEST_CAMPAIGN = "SELECT id, issued FROM coupons_campaign ORDER BY issued DESC LIMIT 1"
ENTRIES_OF_SALES = "SELECT COUNT(*) FROM payments_entry WHERE account_id = -2"
PERIOD = "SELECT DATE(MIN(placed_at)), DATE(MAX(placed_at)) FROM orders_order"


@dataclass
class Sales:
    """Orders that were placed meanwhile: how long each took, and how many were refused."""

    took_ms: list[float] = field(default_factory=list)
    refused: int = 0

    def __str__(self) -> str:
        if not self.took_ms:
            return "no order was placed meanwhile"
        ordered = sorted(self.took_ms)
        p95 = ordered[int(0.95 * (len(ordered) - 1))]
        return (
            f"{len(ordered)} orders meanwhile: median {median(ordered):.0f} ms, p95 {p95:.0f} ms, worst "
            f"{ordered[-1]:.0f} ms, {self.refused} refused"
        )


@dataclass(frozen=True)
class Staff:
    """Opens connections of a signed-in operator to the instance."""

    instance: Instance
    session: str
    token: str

    def browser(self) -> Browser:
        return Browser(self.instance.port, session=self.session, token=self.token)


def measure(staff: Staff, *, codes: int) -> Iterator[str]:
    """A line for each kind of long work."""
    for name, work in (
        (f"upload of {codes:,} codes, checked and added", lambda: _upload(staff, codes)),
        ("export of all orders", lambda: _export(staff, "orders", "order")),
        ("export of all coupons", lambda: _export(staff, "coupons", "coupon")),
        ("sales report, the whole period", lambda: _report(staff)),
        ("results of the largest campaign", lambda: _results(staff)),
        ("balance of the account of sales", lambda: _balance(staff)),
    ):
        yield _measured(staff, name, work)


def _measured(staff: Staff, name: str, work: Callable[[], str]) -> str:
    web = watching.processes(staff.instance, "web")
    watching.forget_peaks(web)
    before = watching.peak_mib(web)
    with _sales(staff) as sales:
        began_at = time.monotonic()
        result = work()
        took = time.monotonic() - began_at
    peak = watching.peak_mib(web)
    return (
        f"{name}: {took:.1f} s, {result}; peak of a web process {peak:.0f} MiB ({before:.0f} before); {sales}"
    )


@contextlib.contextmanager
def _sales(staff: Staff) -> Iterator[Sales]:
    """Place an order every so often, each of one unit, until the block ends."""
    product = int(database.rows(staff.instance, NEWEST_PRODUCT)[0][0])
    sales, ended = Sales(), threading.Event()

    def sell() -> None:
        browser = staff.browser()
        body = json.dumps({"items": [{"product": product, "quantity": 1}]}).encode()
        while not ended.wait(SALE_EVERY_SECONDS):
            headers = {"Content-Type": "application/json", "Idempotency-Key": str(uuid4())}
            began_at = time.perf_counter()
            status, _ = browser.request("POST", "/api/v1/orders", body, headers)
            sales.took_ms.append(1000 * (time.perf_counter() - began_at))
            sales.refused += status != 201

    seller = threading.Thread(target=sell, daemon=True)
    seller.start()
    try:
        yield sales
    finally:
        ended.set()
        seller.join()


def _upload(staff: Staff, codes: int) -> str:
    """Check and then add the codes, in pieces, as the page's script does."""
    browser = staff.browser()
    campaign = _campaign(browser, codes)
    path = f"/admin/coupons/campaign/{campaign}/upload_codes/"
    prefix = uuid4().hex[:8].upper()
    checked = sum(found["codes"] for found in _send(staff, f"{path}check/", prefix, codes))
    added = sum(found["added"] for found in _send(staff, f"{path}add/", prefix, codes))
    if (checked, added) != (codes, codes):
        raise SetupError(f"{checked} codes were checked and {added} added, of {codes}")
    return f"{added:,} added"


def _campaign(browser: Browser, quantity: int) -> int:
    """A new campaign that issues codes of its pool."""
    discount = {"type": "amount", "value": 1000}
    terms = {"name": "Uploaded", "strategy": "code_pool", "quantity": quantity, "discount": discount}
    body = json.dumps(terms | {"code_source": "pool"}).encode()
    status, text = browser.request("POST", "/api/v1/campaigns", body, {"Content-Type": "application/json"})
    if status != 201:
        raise SetupError(f"no campaign was created: {status} {text[:300]!r}")
    return int(json.loads(text)["id"])


def _send(staff: Staff, path: str, prefix: str, codes: int) -> Iterator[dict[str, int]]:
    browser = staff.browser()
    for first, piece in _pieces(prefix, codes):
        address = f"{path}?{urlencode({'first_line': first})}"
        headers = {
            "Content-Type": "text/csv",
            "X-Reason": quote("A measured run."),
            "X-CSRFToken": CSRF,
            "Cookie": f"sessionid={staff.session}; {TOKEN_NAME}={CSRF}",
        }
        status, text = browser.request("POST", address, piece, headers)
        if status != 200:
            raise SetupError(f"{address} answered {status}: {text[:300]!r}")
        yield json.loads(text)


def _pieces(prefix: str, codes: int) -> Iterator[tuple[int, bytes]]:
    """The file in pieces of whole lines: the number of the first line of each, and its bytes."""
    line_bytes = len(_line(prefix, 0))
    size = min(PIECE_LINES, PIECE_BYTES // line_bytes)
    for first in range(0, codes, size):
        lines = (_line(prefix, number) for number in range(first, min(first + size, codes)))
        yield first + 1, b"".join(lines)


def _line(prefix: str, number: int) -> bytes:
    return f"{prefix}-{number:09}\n".encode()


def _export(staff: Staff, app: str, model: str) -> str:
    """Download the whole list; rows are counted by their lines."""
    rows = size = 0
    for piece in staff.browser().download(f"/admin/{app}/{model}/export/"):
        size += len(piece)
        rows += piece.count(b"\n")
    return f"{rows - 1:,} rows, {size / 2**20:.0f} MiB"


def _report(staff: Staff) -> str:
    """The figures of the report over all days with orders."""
    first, last = database.rows(staff.instance, PERIOD)[0]
    query = urlencode({"since": first, "through": last})
    size = sum(map(len, staff.browser().download(f"/admin/reports/sales/figures/?{query}")))
    return f"{first} to {last}, {size / 1024:.0f} KiB"


def _results(staff: Staff) -> str:
    """The figures of the campaign that issued most."""
    id, issued = database.rows(staff.instance, LARGEST_CAMPAIGN)[0]
    size = sum(map(len, staff.browser().download(f"/admin/campaigns/{id}/figures/")))
    return f"{issued:,} coupons, {size / 1024:.0f} KiB"


def _balance(staff: Staff) -> str:
    """The sum of the entries of one of the shop's own accounts."""
    entries = database.rows(staff.instance, ENTRIES_OF_SALES)[0][0]
    size = sum(map(len, staff.browser().download("/admin/ledger/sales/balance/")))
    return f"{entries:,} entries, {size / 1024:.0f} KiB"
