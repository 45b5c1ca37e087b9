"""Where the lab's cases run: a seeded stack, its staff, and files of accounts cut to what a load needs."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

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
    def users(self) -> list[dict[str, Any]]:
        """Every account with its token, in the order in which they ask."""
        users: list[dict[str, Any]] = json.loads(self.staff.tokens.read_text())["users"]
        return users

    @cached_property
    def products(self) -> Path:
        """A file with the ids of the products in stock."""
        return self.write("products", self.staff.products_in_stock())

    def tokens(self, accounts: int) -> Path:
        """A file with the first so many accounts: k6 reads all of it before it starts."""
        users = [{"access": user["access"]} for user in self.users[:accounts]]
        return self.write(f"tokens-{accounts}", {"users": users})

    def write(self, name: str, content: Any) -> Path:
        path = self.instance.home / f"{name}.json"
        path.write_text(json.dumps(content))
        path.chmod(0o600)
        return path


def seeded(instance: Instance, accounts: int) -> Stage:
    """Seed the running stack. Raises SetupError."""
    return Stage(instance, staff.seed(instance, users=accounts, products=PRODUCTS, stock=STOCK))
