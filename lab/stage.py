"""Where the lab measures: a seeded stack, its staff over HTTP, files for k6, and what its processes take."""

import json
import os
import re
import signal
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from lab import load
from lab.calls import Observations
from lab.shop import Shop
from lab.stack import database
from lab.stack.database import Row
from scripts.stack import Json, children, own_stack, places
from scripts.stack.children import Pids
from scripts.stack.instance import Instance

# Orders that are placed here and not paid stay: expiring thousands would slow the next rows down.
SETTINGS = {"LAB": "1", "ORDER_HOLD_SECONDS": "86400"}
# On hand of each product that is seeded, and of those that are ordered: the demo's own have less.
STOCK = 10_000_000
ENOUGH_UNITS = 1_000_000
DEMO_PRODUCTS = 20
IN_STOCK = "SELECT id FROM inventory_product WHERE on_hand >= %s ORDER BY id"
CODES = "SELECT account_id, code FROM coupons_coupon WHERE campaign_id = %s"
SEED_SECONDS = 1_200
ISSUE_SECONDS = 300
PROCESSES = ("web", "mariadb", "redis", "worker", "beat", "issuer")
PREVIOUS = (places.PROJECT / "scripts/previous_release.txt").read_text().split()[-1]
TICKS = os.sysconf("SC_CLK_TCK")
BEGAN_AT = time.monotonic()
LOAD_BEFORE = os.getloadavg()[0]

User = Mapping[str, Any]  # With an `id` and an `access` token


@dataclass(frozen=True, eq=False)
class Stage:
    """A running stack: `users` have an `id` and an `access` token, and `shop` is as staff see it."""

    instance: Instance
    users: Sequence[User]
    shop: Shop

    def campaign(self, name: str, **terms: Any) -> int:
        """The id of a new campaign, open at once; without a quantity it has a coupon for every account."""
        return self.shop.create_campaign(name, **{"quantity": len(self.users), **terms})

    def issue(self, name: str, accounts: int) -> Json:
        """A campaign with a coupon for each of the first accounts, and the file of codes in their order."""
        campaign = self.campaign(name, quantity=accounts)
        load.run(
            "coupons",
            self.instance,
            within_seconds=2 * ISSUE_SECONDS,
            **self.files,
            SECONDS=ISSUE_SECONDS,
            VUS=50,
            CAMPAIGN=campaign,
            ACCOUNTS=accounts,
        )
        code_of = dict(self.rows(CODES, campaign))
        codes = [code_of[user["id"]] for user in self.users[:accounts]]
        return {"CAMPAIGN": campaign, "CODES": self.write("codes", codes)}

    def rows(self, statement: str, *values: object) -> Sequence[tuple[Any, ...]]:
        return database.rows(self.instance, statement, *values)

    def read(self, row: Callable[..., Row], statement: str, *values: object) -> list[Row]:
        return database.read(self.instance, row, statement, *values)

    def now(self) -> datetime:
        return database.now(self.instance)

    def number(self, statement: str, *values: object) -> int:
        return int(database.value(self.instance, statement, *values))

    @cached_property
    def product_ids(self) -> list[int]:
        return [int(id) for (id,) in self.rows(IN_STOCK, ENOUGH_UNITS)]

    @cached_property
    def files(self) -> load.Settings:
        products = self.write("products", self.product_ids)
        return {"TOKENS": self.tokens_of(self.users, "all"), "PRODUCTS": products}

    def write(self, name: str, content: Any) -> Path:
        """A file for k6, which only this user may read."""
        path = self.instance.home / f"{name}.json"
        places.write_whole(path, json.dumps(content), mode=0o600)
        return path

    def tokens_of(self, users: Sequence[User], name: str = "some") -> Path:
        """A file with what k6 needs of these accounts: it reads all of it before each load."""
        return self.write(f"tokens-{name}", {"users": [{"access": user["access"]} for user in users]})


def seeded(instance: Instance, *, users: int, products: int) -> Stage:
    """Fill the running stack with that demo; its rows outlive a restart. Raises SetupError."""
    made = seed(
        instance, users, f"--products {products + DEMO_PRODUCTS} --stock {STOCK}", within_seconds=SEED_SECONDS
    )
    return Stage(instance, made["users"], Shop(instance, made["staff"], Observations()))


def seed(instance: Instance, users: int, words: str = "", manage: Any = own_stack.manage, **more: Any) -> Any:
    """The ids and tokens of accounts that `seed_demo` makes. Raises SetupError."""
    tokens = instance.home / "tokens.json"
    children.printed(manage(instance, f"seed_demo --users {users} {words} --tokens {tokens}", **more))
    return json.loads(tokens.read_text())


def code_of(commit: str, folder: Path) -> Path:
    """The folder with that commit's files, from the history of this clone; a shallow one may lack it."""
    if not folder.exists():
        # Moved to its place once it is whole.
        line = 'set -eo pipefail; mkdir -p "$1.new"; git archive "$0" | tar -x -C "$1.new"; mv "$1.new" "$1"'
        children.printed(children.run(["bash", "-c", line, commit, folder], within_seconds=120))
    return folder


def seconds() -> int:
    return round(time.monotonic() - BEGAN_AT)


def say(text: str) -> None:
    print(f"{seconds():5} s  {text}", flush=True)


def processes(instance: Instance, name: str) -> Pids:
    """The ids of the living processes of that name, children included."""
    found = children.group_of(instance.run, name)
    # Redis writes its title over the mark by which children are known, and is known by its id.
    return found or {int((instance.run / f"{name}.pid").read_text())}


def web_workers(instance: Instance) -> Pids:
    """Web's processes that answer requests; the leader only starts them."""
    return processes(instance, "web") - {children.leader_of(instance.run, "web") or 0}


@contextmanager
def frozen(pids: Pids) -> Iterator[None]:
    children.kill(pids, signal.SIGSTOP)
    try:
        yield
    finally:
        children.kill(pids, signal.SIGCONT)


def spent(instance: Instance) -> dict[str, float]:
    """Seconds of processor that the living processes of each of these names have used so far."""
    taken = dict.fromkeys(PROCESSES, 0.0)
    for name in PROCESSES:
        for pid in processes(instance, name):
            with suppress(OSError):
                # Counted after the parenthesised name: the times in user and system mode.
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
                taken[name] += (int(fields[11]) + int(fields[12])) / TICKS
    return taken


def kib(pids: Collection[int], file: str, mark: str) -> list[float]:
    """The kernel's figure of that name for each process that is alive."""
    found: list[float] = []
    for pid in pids:
        with suppress(OSError):
            text = Path(f"/proc/{pid}/{file}").read_text()
            found += map(float, re.findall(rf"(?m)^{mark}:\s*(\d+)", text))
    return found


def peak_mib(pids: Collection[int]) -> float:
    return max(kib(pids, "status", "VmHWM"), default=0) / 1024
