"""Where it is measured: a seeded stack, and the files that k6 reads."""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from scripts import backlog, database, environment, load, staff
from scripts.bench import processor, sizes
from scripts.bench.sizes import Size
from scripts.instance import Instance
from scripts.load import Figures
from scripts.staff import Staff

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


@dataclass(frozen=True)
class Stage:
    """A running stack with its accounts, and its staff."""

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

    def ask(self, script: str, *, seconds: int, vus: int = sizes.VUS, **settings: object) -> Figures:
        """Run `k6/<script>.js`, once the worker has nothing left of what was measured before."""
        backlog.wait_until_worked_off(self.instance)
        given = {"TOKENS": self.tokens, "PRODUCTS": self.products, "VUS": vus, **settings}
        before = processor.spent(self.instance)
        figures = load.run(script, instance=self.instance, seconds=seconds, **given)
        of_each = processor.each(before, processor.spent(self.instance), requests=figures.requests)
        of_k6 = 1e6 * figures.k6_cores * figures.seconds / max(figures.requests, 1)
        return replace(figures, microseconds=of_each | {"k6": of_k6})

    @property
    def environment(self) -> Mapping[str, str]:
        """Of a process beside the stack's own."""
        return environment.compose(self.instance, {}) | SETTINGS | {"PATH": os.environ.get("PATH", "")}


def seeded(instance: Instance, size: Size) -> Stage:
    """Seed the running stack. Raises SetupError."""
    products = sizes.PRODUCTS + sizes.DEMO_PRODUCTS
    somebody = staff.seed(instance, users=size.users, products=products, stock=sizes.STOCK)
    return Stage(instance, size, somebody)


def python(*words: str) -> Sequence[str]:
    """The command line of a module, or a script, of the project."""
    return [sys.executable, *words]
