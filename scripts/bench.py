"""`make bench`: coupons and orders a second on a fresh MariaDB stack, beside the stack doing nothing.

Boots a stack of its own on free ports, seeds it, runs k6 at 100 buyers, prints one table and audits. It fails
when a law is broken, a request is refused, or the shop counts other coupons than k6 was given.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scripts import instance as instances
from scripts import load, places, ports, readiness, stack
from scripts.instance import Instance
from scripts.load import Figures
from scripts.setup_error import SetupError

PRODUCTS = 500
STOCK = 1_000_000
LARGEST_PAGE = 200
WARM_UP_SECONDS = 2


@dataclass(frozen=True)
class Size:
    """How long each measurement lasts, and how many accounts there are to ask: one request each."""

    seconds: int
    users: int


FULL, QUICK = Size(seconds=10, users=30_000), Size(seconds=3, users=8_000)


class Broken(Exception):
    """The shop didn't keep its promise under load."""


@dataclass(frozen=True)
class Stage:
    """Where it is measured: a running stack, and the files that k6 reads."""

    instance: Instance
    size: Size

    @property
    def tokens(self) -> Path:
        return self.instance.home / "tokens.json"

    @property
    def products(self) -> Path:
        return self.instance.home / "products.json"


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description="Measure the shop on MariaDB by k6.")
    parser.add_argument("--quick", default="", help="1: some seconds rather than a minute")
    size = QUICK if parser.parse_args().quick in {"1", "yes", "true"} else FULL
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    # Beside the other state, on a real disk: /tmp may be memory, where a commit costs nothing.
    home = Path(tempfile.mkdtemp(prefix="bench-", dir=places.private_folder(places.state())))
    try:
        bench(instances.choose(home=home, port=str(ports.free(3)), database="mariadb"), size)
        return 0
    except KeyboardInterrupt:
        return 130
    except (Broken, SetupError, OSError) as error:
        print(f"bench: failed: {error}\n{stack.ends_of_logs(home)}", file=sys.stderr, flush=True)
        return 1
    finally:
        shutil.rmtree(home, ignore_errors=True)


def bench(instance: Instance, size: Size) -> None:
    """Everything, to the printed table. Raises Broken and SetupError."""
    stage = Stage(instance, size)
    others = os.getloadavg()[0]
    _say("Starting a fresh MariaDB stack …")
    with stack.running(instance, LAB="1"):
        _seed(stage)
        measured = _measure(stage)
        _say(table(measured))
        _say(_circumstances(size, others))
        _audit(instance)
        _require_no_errors(measured)


def _seed(stage: Stage) -> None:
    _say(f"Seeding {stage.size.users} accounts and {PRODUCTS} products …")
    words = f"--users {stage.size.users} --products {PRODUCTS} --stock {STOCK} --tokens {stage.tokens}"
    ran = stack.manage(stage.instance, f"seed_demo {words}")
    if ran.returncode != 0:
        raise SetupError(f"seed_demo ended with {ran.returncode}: {ran.stdout}{ran.stderr}")
    stage.products.write_text(json.dumps(_products_in_stock(stage)))


def _measure(stage: Stage) -> dict[str, Figures]:
    _say(f"Measuring, {stage.size.seconds} s each …")
    # The first request of each thread opens its connection to the database.
    _load(stage, "coupons", seconds=WARM_UP_SECONDS, CAMPAIGN=_campaign(stage, "group_commit"))
    seconds = stage.size.seconds
    return {
        "null endpoint": _load(stage, "null", seconds=seconds, CAMPAIGN=_campaign(stage, "group_commit")),
        "coupon, group_commit": _issue(stage, "group_commit"),
        "coupon, pessimistic": _issue(stage, "pessimistic"),
        "order, 3 lines": _load(stage, "orders", seconds=seconds),
    }


def _issue(stage: Stage, strategy: str) -> Figures:
    """Measure coupons by the strategy, and compare what was issued with what k6 was answered."""
    campaign = _campaign(stage, strategy)
    figures = _load(stage, "coupons", seconds=stage.size.seconds, CAMPAIGN=campaign)
    issued = _call(stage, "GET", f"/campaigns/{campaign}")["issued"]
    # A request that failed for k6 may have been done all the same.
    if not figures.succeeded <= issued <= figures.requests:
        raise Broken(f"{strategy}: {figures.succeeded} were answered with a coupon, {issued} are issued")
    return figures


def _load(stage: Stage, script: str, *, seconds: int, **settings: object) -> Figures:
    files = {"TOKENS": stage.tokens, "PRODUCTS": stage.products}
    return load.run(script, instance=stage.instance, seconds=seconds, **files, **settings)


def _campaign(stage: Stage, strategy: str) -> int:
    """A new campaign with a coupon for everybody."""
    asked = {
        "name": f"Bench {strategy}",
        "strategy": strategy,
        "quantity": stage.size.users,
        "discount": {"type": "amount", "value": 1000},
    }
    return int(_call(stage, "POST", "/campaigns", asked)["id"])


def _products_in_stock(stage: Stage) -> list[int]:
    path: str | None = f"/products?availability=available&limit={LARGEST_PAGE}"
    found: list[int] = []
    while path is not None:
        page = _call(stage, "GET", path)
        found += [product["id"] for product in page["results"]]
        path = page["next"] and page["next"].partition("/api/v1")[2]
    return found


def _call(stage: Stage, method: str, path: str, body: Any = None) -> Any:
    """The API as the demo's staff sees it. Raises SetupError unless the answer is a success."""
    staff = json.loads(stage.tokens.read_text())["staff"]
    headers = {"Authorization": f"Bearer {staff}", "Content-Type": "application/json"}
    content = None if body is None else json.dumps(body)
    status, text = readiness.ask(stage.instance.port, method, f"/api/v1{path}", content, headers)
    if status not in (200, 201):
        raise SetupError(f"{method} {path} answered {status}: {text[:500]}")
    return json.loads(text)


def table(measured: dict[str, Figures]) -> str:
    """The figures side by side, each beside the first, which is the ceiling."""
    ceiling = next(iter(measured.values())).per_second
    lines = [f"{'':24}{'per second':>12}{'of null':>9}{'p50 ms':>9}{'p95 ms':>9}{'max ms':>9}{'errors':>8}"]
    for name, one in measured.items():
        share = one.per_second / ceiling if ceiling else 0
        lines.append(
            f"{name:24}{one.per_second:12,.0f}{share:9.0%}{one.p50_ms:9.0f}{one.p95_ms:9.0f}"
            f"{one.max_ms:9.0f}{one.errors:8}{_by_status(one)}"
        )
    cores = max(one.k6_cores for one in measured.values())
    return "\n".join(["", *lines, "", f"k6 itself took up to {cores:.1f} cores of the same machine."])


def _by_status(figures: Figures) -> str:
    told = ", ".join(f"{count} x {status}" for status, count in figures.statuses.items())
    return f"  ({told})" if told else ""


def _circumstances(size: Size, others: float) -> str:
    """What the figures depend on; `others` is the load average before the bench brought its own."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores of {_processor()}, {memory:.0f} GB, "
        f"{platform.system()} {platform.release()}; {load.VUS} buyers for {size.seconds} s each; "
        f"load average {others:.1f} before.\n"
        "innodb_flush_log_at_trx_commit=1; server, database, Redis and k6 on one machine."
    )


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _audit(instance: Instance) -> None:
    ran = stack.manage(instance, "audit --json")
    if ran.returncode != 0:
        raise Broken(f"audit ended with {ran.returncode}: {ran.stdout}{ran.stderr}")
    laws = json.loads(ran.stdout)["laws"]
    _say(f"audit: all {len(laws)} laws hold")


def _require_no_errors(measured: dict[str, Figures]) -> None:
    """Nobody was owed a refusal: every account asked once, and there was enough for all."""
    refused = [name for name, figures in measured.items() if figures.errors or not figures.succeeded]
    if refused:
        raise Broken(f"requests were refused that should not have been: {', '.join(refused)}")


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
