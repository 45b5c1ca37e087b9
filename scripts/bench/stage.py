"""Where the bench and the lab measure: a seeded stack, the demo's staff over HTTP, and files for k6."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib import metadata
from pathlib import Path
from platform import machine, python_version, release, system
from typing import Any

from scripts.bench import load, sizes, watching
from scripts.bench.load import Figures
from scripts.bench.sizes import Size
from scripts.stack import SetupError, database, environment, own_stack, places, processes, readiness
from scripts.stack.instance import Instance

SETTINGS = {
    "LAB": "1",
    "GATEWAY_LATENCY_MS": "20",
    # What is placed here and not paid stays: letting thousands of orders go would slow the next rows down.
    "ORDER_HOLD_SECONDS": "86400",
    # Payments wait for a worker that is stopped, and are settled when it goes on.
    "PAYMENT_GIVE_UP_SECONDS": "600",
    # So accounts come to have more unpaid orders than they usually may.
    "OPEN_ORDERS_PER_ACCOUNT": "1000",
}
PLENTY = "SELECT id FROM inventory_product WHERE on_hand >= %s ORDER BY id"
CODES = "SELECT account_id, code FROM coupons_coupon WHERE campaign_id = %s"
SLOWEST_USERS_A_SECOND = 200
"""On a machine with many neighbours; alone it makes thousands."""


@dataclass(frozen=True)
class Staff:
    """A member of the staff, by a token that may do everything; `tokens` is the file with everybody's."""

    instance: Instance
    tokens: Path
    token: str

    @cached_property
    def users(self) -> list[dict[str, Any]]:
        """Every account with its token, in the order in which they ask."""
        users: list[dict[str, Any]] = json.loads(self.tokens.read_text())["users"]
        return users

    def tokens_of(self, accounts: int) -> Path:
        """A file with what k6 needs of the first so many accounts: it reads all of it before each load."""
        users = [{"access": user["access"]} for user in self.users[:accounts]]
        return self.write(f"tokens-{accounts}", {"users": users})

    def codes_of(self, campaign: int, accounts: int) -> Path:
        """A file with the coupons that the first so many accounts have of the campaign, in their order."""
        code_of = dict(database.rows(self.instance, CODES, campaign))
        if len(code_of) != accounts:
            raise SetupError(f"{len(code_of)} of {accounts} buyers have a coupon of campaign {campaign}")
        return self.write("codes", [code_of[user["id"]] for user in self.users[:accounts]])

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
        """How many coupons the campaign counts."""
        return int(self.call("GET", f"/campaigns/{campaign}")["issued"])

    @cached_property
    def products(self) -> Path:
        """A file with the ids of the products in stock."""
        path: str | None = f"/products?availability=available&limit={readiness.LARGEST_PAGE}"
        found: list[int] = []
        while path is not None:
            page = self.call("GET", path)
            found += [product["id"] for product in page["results"]]
            path = page["next"] and page["next"].partition("/api/v1")[2]
        return self.write("products", found)


def seed(instance: Instance, *, users: int, products: int, stock: int) -> Staff:
    """Fill the running stack with that demo, its tokens in a file. Raises SetupError."""
    tokens = instance.home / "tokens.json"
    words = f"--users {users} --products {products} --stock {stock} --tokens {tokens}"
    patience = own_stack.MANAGE_SECONDS + users / SLOWEST_USERS_A_SECOND
    ran = own_stack.manage(instance, f"seed_demo {words}", within_seconds=patience)
    if ran.returncode != 0:
        raise SetupError(f"seed_demo ended with {ran.returncode}: {ran.stdout}{ran.stderr}")
    return Staff(instance, tokens, json.loads(tokens.read_text())["staff"])


@dataclass(frozen=True)
class Stage:
    """A running stack of the bench with its accounts, and its staff."""

    instance: Instance
    size: Size
    staff: Staff

    @cached_property
    def tokens(self) -> Path:
        """A file with everybody's."""
        return self.staff.tokens_of(len(self.staff.users))

    @cached_property
    def product_ids(self) -> list[int]:
        """Those with stock for everybody; the demo that a stack begins with has less of its own."""
        return [int(id) for (id,) in database.rows(self.instance, PLENTY, sizes.STOCK)]

    @cached_property
    def products(self) -> Path:
        return self.staff.write("products", self.product_ids)

    @cached_property
    def hot_product(self) -> Path:
        return self.staff.write("hot-product", self.product_ids[:1])

    def campaign(self, name: str, *, strategy: str = "group_commit", quantity: int = 0) -> int:
        """A new campaign; unless it is said how many, with a coupon for everybody."""
        return self.staff.campaign(f"Bench {name}", strategy=strategy, quantity=quantity or self.size.users)

    def count(self, statement: str, *values: object) -> int:
        """The only number that the statement finds."""
        return int(database.rows(self.instance, statement, *values)[0][0])

    def ask(self, script: str, *, seconds: int = 0, vus: int = sizes.VUS, **settings: object) -> Figures:
        """Run `k6/<script>.js`, once the worker has nothing left of what was measured before."""
        database.wait_until_worked_off(self.instance)
        given = {"TOKENS": self.tokens, "PRODUCTS": self.products, "VUS": vus, **settings}
        before = watching.spent(self.instance)
        seconds = seconds or self.size.seconds
        figures = load.run(script, instance=self.instance, seconds=seconds, **given)
        of_each = watching.of_each(before, watching.spent(self.instance), requests=figures.requests)
        of_k6 = 1e6 * figures.k6_cores * figures.seconds / max(figures.requests, 1)
        return replace(figures, microseconds=of_each | {"k6": of_k6})

    def fill(self, *, coupons: int, orders: int) -> None:
        """Fill the tables, in a process of its own that reports how far it is. Raises SetupError."""
        words = ["--coupons", str(coupons), "--orders", str(orders)]
        book = ["--book", str(self.instance.data / "gateway.sqlite3")]
        command = python("manage.py", "fill_tables", *words, *book)
        ran = subprocess.run(command, cwd=places.PROJECT, env=self.environment, check=False)
        if ran.returncode != 0:
            raise SetupError(f"fill_tables ended with {ran.returncode}")

    @property
    def environment(self) -> Mapping[str, str]:
        """Of a process beside the stack's own."""
        return environment.compose(self.instance, {}) | SETTINGS | {"PATH": os.environ.get("PATH", "")}


def seeded(instance: Instance, size: Size) -> Stage:
    """Seed the running stack. Raises SetupError."""
    products = sizes.PRODUCTS + sizes.DEMO_PRODUCTS
    return Stage(instance, size, seed(instance, users=size.users, products=products, stock=sizes.STOCK))


def python(*words: str) -> Sequence[str]:
    """The command line of a module, or a script, of the project."""
    return [sys.executable, *words]


def circumstances(instance: Instance, *, load_before: float) -> dict[str, Any]:
    """What figures were measured on, told with them, for rows of one report may be of different days: the
    commit, the machine and the versions; `load_before` is the load average before the measuring."""
    packages = {name: metadata.version(name) for name in ("Django", "uvicorn", "k6")}
    return {
        "commit": commit(),
        "circumstances": {
            "cores": os.cpu_count() or 1,
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
            "processor": _processor(),
            "system": f"{system()} {release()}",
            "load_before": round(load_before, 1),
            "versions": {
                "MariaDB": str(database.rows(instance, "SELECT VERSION()")[0][0]),
                "Redis": _redis(instance),
                "Python": python_version(),
                **packages,
            },
        },
    }


def commit() -> str:
    """The short hash of what is checked out, or `unknown` where there is no git."""
    asked = ["git", "rev-parse", "--short", "HEAD"]
    try:
        told = subprocess.run(asked, cwd=places.PROJECT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return told.stdout.strip()


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else machine()


def _redis(instance: Instance) -> str:
    """The version of the server program that the stack runs."""
    program = processes.command("redis", instance, environment.defaults(instance))[0]
    told = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"v=(\S+)", told)
    return found[1] if found else "unknown"
