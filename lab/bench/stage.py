"""Where the bench and the lab measure: a seeded stack, the demo's staff over HTTP, and files for k6."""

import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

from lab.bench import commits, load, sizes, watching
from lab.bench.load import Figures
from lab.bench.sizes import Size
from scripts.stack import (
    SetupError,
    children,
    database,
    environment,
    own_stack,
    places,
    processes,
    readiness,
    waiting,
)
from scripts.stack.instance import Instance

SETTINGS = {
    "LAB": "1",
    "GATEWAY_LATENCY_MS": "20",
    # Orders that are placed here and not paid stay: expiring thousands would slow the next rows down.
    "ORDER_HOLD_SECONDS": "86400",
    # Payments wait for a worker that is stopped, and are settled when it goes on.
    "PAYMENT_GIVE_UP_SECONDS": "600",
    # So accounts come to have more unpaid orders than they usually may.
    "OPEN_ORDERS_PER_ACCOUNT": "1000",
    # One key makes all calls of its row; they are counted all the same.
    "RATE_API_KEYS": "10000/s",
}
IN_STOCK = "SELECT id FROM inventory_product WHERE on_hand >= %s ORDER BY id"
CODES = "SELECT account_id, code FROM coupons_coupon WHERE campaign_id = %s"
SLOWEST_USERS_A_SECOND = 200
"""On a machine with many neighbours; alone it makes thousands."""


@dataclass(frozen=True)
class Staff:
    """A member of the staff, by a token that may do everything; `tokens` is the file with those of all
    accounts."""

    instance: Instance
    tokens: Path
    token: str

    @cached_property
    def users(self) -> list[dict[str, Any]]:
        """Every account with its token, in the order in which the loads use them."""
        users: list[dict[str, Any]] = json.loads(self.tokens.read_text())["users"]
        return users

    def tokens_of(self, accounts: int) -> Path:
        """A file with what k6 needs of that many accounts: it reads all of it before each load."""
        return self.write_tokens(f"{accounts}", [user["access"] for user in self.users[:accounts]])

    def write_tokens(self, name: str, tokens: list[str]) -> Path:
        return self.write(f"tokens-{name}", {"users": [{"access": token} for token in tokens]})

    def codes_of(self, campaign: int, accounts: int) -> Path:
        """A file with the coupons of the campaign that the first accounts have, in their order."""
        code_of = dict(database.rows(self.instance, CODES, campaign))
        if len(code_of) != accounts:
            raise SetupError(f"{len(code_of)} of {accounts} buyers have a coupon of campaign {campaign}")
        return self.write("codes", [code_of[user["id"]] for user in self.users[:accounts]])

    def product_ids(self, *, on_hand: int) -> list[int]:
        """The products with that many units or more."""
        return [int(id) for (id,) in database.rows(self.instance, IN_STOCK, on_hand)]

    def write(self, name: str, content: Any) -> Path:
        """A file for k6, which only this user may read."""
        path = self.instance.home / f"{name}.json"
        path.write_text(json.dumps(content))
        path.chmod(0o600)
        return path

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON of the answer. Raises SetupError unless it is a success."""
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        content = None if body is None else json.dumps(body)
        status, text = readiness.ask(self.instance.port, method, f"/api/v1{path}", content, headers)
        if status not in (200, 201):
            raise SetupError(f"{method} {path} answered {status}: {text[:500]}")
        return json.loads(text)

    def campaign(self, name: str, *, strategy: str, quantity: int, **terms: Any) -> int:
        """The id of a new campaign, open at once, whose coupons are worth 1,000."""
        discount = {"type": "amount", "value": 1000}
        asked = {"name": name, "strategy": strategy, "quantity": quantity, "discount": discount, **terms}
        return int(self.call("POST", "/campaigns", asked)["id"])

    def issued(self, campaign: int) -> int:
        """The campaign's own count of its coupons."""
        return int(self.call("GET", f"/campaigns/{campaign}")["issued"])


def wait_until(is_done: Callable[[], object], *, within_seconds: float, poll_seconds: float = 0.25) -> None:
    """Return when it is done, or that takes too long: then the figures and checks show it."""
    waiting.left(lambda: not is_done(), within_seconds=within_seconds, pause_seconds=poll_seconds)


def seed(instance: Instance, *, users: int, products: int, stock: int) -> Staff:
    """Fill the running stack with that demo, its tokens in a file. Raises SetupError."""
    tokens = instance.home / "tokens.json"
    words = f"--users {users} --products {products} --stock {stock} --tokens {tokens}"
    patience = own_stack.MANAGE_SECONDS + users / SLOWEST_USERS_A_SECOND
    children.printed(own_stack.manage(instance, f"seed_demo {words}", within_seconds=patience))
    return Staff(instance, tokens, json.loads(tokens.read_text())["staff"])


@dataclass(frozen=True)
class Stage:
    """A running stack of the bench with its accounts, and its staff."""

    instance: Instance
    size: Size
    staff: Staff

    @cached_property
    def product_ids(self) -> list[int]:
        """Those with stock for all loads; the demo that a stack starts with has less of its own."""
        return self.staff.product_ids(on_hand=sizes.STOCK)

    @cached_property
    def files(self) -> Mapping[str, Path]:
        """The files that every load of k6 reads."""
        return {
            "TOKENS": self.staff.tokens_of(len(self.staff.users)),
            "PRODUCTS": self.staff.write("products", self.product_ids),
        }

    def campaign(self, name: str, *, strategy: str = "group_commit", quantity: int = 0, **terms: Any) -> int:
        """A new campaign; without a quantity it has a coupon for every account."""
        quantity = quantity or self.size.users
        return self.staff.campaign(f"Bench {name}", strategy=strategy, quantity=quantity, **terms)

    def count(self, statement: str, *values: object) -> int:
        """The only number that the statement finds."""
        return int(database.rows(self.instance, statement, *values)[0][0])

    def run_k6(self, script: str, *, seconds: int = 0, vus: int = sizes.VUS, **settings: object) -> Figures:
        """Run `k6/<script>.js`, once the worker has nothing left of earlier loads."""
        database.wait_until_worked_off(self.instance)
        given: dict[str, object] = {**self.files, "VUS": vus, **settings}
        before = watching.spent(self.instance)
        figures = load.run(script, instance=self.instance, seconds=seconds or self.size.seconds, **given)
        of_each = watching.of_each(before, watching.spent(self.instance), requests=figures.requests)
        of_k6 = 1e6 * figures.k6_cores * figures.seconds / max(figures.requests, 1)
        return replace(figures, microseconds=of_each | {"k6": of_k6})

    def fill(self, *, coupons: int, orders: int) -> None:
        """Fill the tables, in a process of its own that prints its progress. Raises SetupError."""
        words = ["--coupons", str(coupons), "--orders", str(orders)]
        book = ["--book", str(self.instance.data / "gateway.sqlite3")]
        command = [sys.executable, "-m", "lab.bench.filling", *words, *book]
        ran = subprocess.run(command, cwd=places.PROJECT, env=self.environment, check=False)
        if ran.returncode != 0:
            raise SetupError(f"filling the tables ended with {ran.returncode}")

    @property
    def environment(self) -> Mapping[str, str]:
        """Of a process beside the stack's own."""
        return environment.compose(self.instance, {}) | SETTINGS | {"PATH": os.environ.get("PATH", "")}


def seeded(instance: Instance, size: Size) -> Stage:
    """Seed the running stack. Raises SetupError."""
    products = sizes.PRODUCTS + sizes.DEMO_PRODUCTS
    return Stage(instance, size, seed(instance, users=size.users, products=products, stock=sizes.STOCK))


class Clock:
    """The start of a measurement, and the machine's load average before it."""

    def __init__(self) -> None:
        self.began_at = time.monotonic()
        self.load_before = os.getloadavg()[0]

    @property
    def seconds(self) -> int:
        return round(time.monotonic() - self.began_at)

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self.began_at:5.0f} s  {text}", flush=True)


def circumstances(instance: Instance, *, load_before: float) -> dict[str, Any]:
    """The commit, the machine, its load average before measuring, and the versions: kept with the figures,
    for rows of one report may be of different days."""
    packages = {name: metadata.version(name) for name in ("Django", "uvicorn", "k6")}
    return {
        "commit": commits.current(),
        "circumstances": {
            "cores": os.cpu_count() or 1,
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
            "processor": _processor(),
            "system": f"{platform.system()} {platform.release()}",
            "load_before": round(load_before, 1),
            "versions": {
                "MariaDB": str(database.rows(instance, "SELECT VERSION()")[0][0]),
                "Redis": _redis(instance),
                "Python": platform.python_version(),
                **packages,
            },
        },
    }


def _processor() -> str:
    found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()


def _redis(instance: Instance) -> str:
    """The version of the server program that the stack runs."""
    program = processes.command("redis", instance, environment.defaults(instance))[0]
    printed = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"v=(\S+)", printed)
    return found[1] if found else "unknown"
