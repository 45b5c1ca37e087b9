"""A seeded stack, and the shop as the demo's staff sees it over HTTP: for whoever measures."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from scripts import database, readiness, stack
from scripts.instance import Instance
from scripts.setup_error import SetupError

LARGEST_PAGE = 200
CODES = "SELECT account_id, code FROM coupons_coupon WHERE campaign_id = %s"
SLOWEST_USERS_A_SECOND = 200
"""On a machine with many neighbours; alone it makes thousands."""


def seed(instance: Instance, *, users: int, products: int, stock: int) -> "Staff":
    """Fill the stack with that demo, its tokens in a file. Raises SetupError."""
    tokens = instance.home / "tokens.json"
    words = f"--users {users} --products {products} --stock {stock} --tokens {tokens}"
    patience = stack.MANAGE_SECONDS + users / SLOWEST_USERS_A_SECOND
    ran = stack.manage(instance, f"seed_demo {words}", within_seconds=patience)
    if ran.returncode != 0:
        raise SetupError(f"seed_demo ended with {ran.returncode}: {ran.stdout}{ran.stderr}")
    return Staff(instance, tokens, json.loads(tokens.read_text())["staff"])


@dataclass(frozen=True)
class Staff:
    """Somebody who may do everything, by their token; `tokens` is the file with everybody's."""

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
        """A file for k6, for nobody else to read."""
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

    def products_in_stock(self) -> list[int]:
        path: str | None = f"/products?availability=available&limit={LARGEST_PAGE}"
        found: list[int] = []
        while path is not None:
            page = self.call("GET", path)
            found += [product["id"] for product in page["results"]]
            path = page["next"] and page["next"].partition("/api/v1")[2]
        return found
