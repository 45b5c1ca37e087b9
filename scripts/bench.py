"""`make bench`: coupons and orders a second on a fresh MariaDB stack, beside the stack doing nothing.

Boots a stack of its own on free ports, seeds it, runs k6 at 100 buyers, prints one table and audits. It fails
when a law is broken, a request is refused, or the shop counts other coupons than k6 was given.
"""

import argparse
import json
import shutil
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from scripts import instance as instances
from scripts import load, machine, places, ports, stack, staff
from scripts.instance import Instance
from scripts.load import Figures
from scripts.setup_error import SetupError
from scripts.staff import Staff

PRODUCTS = 500
STOCK = 1_000_000
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
    staff: Staff

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
        bench(instances.choose(home=home, port=str(ports.free(instances.PORTS)), database="mariadb"), size)
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
    others = machine.load_average()
    _say("Starting a fresh MariaDB stack …")
    with stack.running(instance, LAB="1"):
        stage = _seeded(instance, size)
        measured = _measure(stage)
        _say(table(measured))
        _say(_circumstances(size, others))
        _audit(instance)
        _require_no_errors(measured)


def _seeded(instance: Instance, size: Size) -> Stage:
    _say(f"Seeding {size.users} accounts and {PRODUCTS} products …")
    somebody = staff.seed(instance, users=size.users, products=PRODUCTS, stock=STOCK)
    stage = Stage(instance, size, somebody)
    stage.products.write_text(json.dumps(somebody.products_in_stock()))
    return stage


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
    issued = stage.staff.call("GET", f"/campaigns/{campaign}")["issued"]
    # A request that failed for k6 may have been done all the same.
    if not figures.succeeded <= issued <= figures.requests:
        raise Broken(f"{strategy}: {figures.succeeded} were answered with a coupon, {issued} are issued")
    return figures


def _load(stage: Stage, script: str, *, seconds: int, **settings: object) -> Figures:
    files = {"TOKENS": stage.staff.tokens, "PRODUCTS": stage.products}
    return load.run(script, instance=stage.instance, seconds=seconds, **files, **settings)


def _campaign(stage: Stage, strategy: str) -> int:
    """A new campaign with a coupon for everybody."""
    return stage.staff.campaign(f"Bench {strategy}", strategy=strategy, quantity=stage.size.users)


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
    return (
        f"{machine.today()}, {machine.cores()} cores of {machine.processor()}, "
        f"{machine.memory_gib():.0f} GB, {machine.system()}; {load.VUS} buyers for {size.seconds} s each; "
        f"load average {others:.1f} before.\n"
        "innodb_flush_log_at_trx_commit=1; server, database, Redis and k6 on one machine."
    )


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
