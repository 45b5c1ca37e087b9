"""Where the lab's cases run: a seeded stack, and its staff."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from scripts import staff
from scripts.instance import Instance
from scripts.staff import Staff

PRODUCTS = 100
STOCK = 10_000_000


@dataclass(frozen=True)
class Stage:
    """One stack; its rows outlive a restart with other settings."""

    instance: Instance
    staff: Staff

    @cached_property
    def products(self) -> Path:
        """A file with the ids of the products in stock."""
        return self.staff.write("products", self.staff.products_in_stock())


def seeded(instance: Instance, accounts: int) -> Stage:
    """Seed the running stack. Raises SetupError."""
    return Stage(instance, staff.seed(instance, users=accounts, products=PRODUCTS, stock=STOCK))
