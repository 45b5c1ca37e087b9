"""The stage of the bench: its settings and size, k6 with the processor time of a request, and null calls."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from lab import load, stage
from lab.bench.rows import VUS, Measured, Size
from lab.load import Figures, ratio
from lab.stack import database
from scripts.stack import environment, own_stack
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
PRODUCTS, STOCK = 1_000, 1_000_000
DEMO_PRODUCTS = 20
"""`make run` seeds these by itself; seeding more counts them as made."""
GRACE_SECONDS = 60
"""For k6 beyond the load's time: to start, to finish the last requests, and to write its figures."""
QUESTIONS = "SHOW GLOBAL STATUS WHERE Variable_name = 'Questions'"
SERVING = ("web", "mariadb", "redis")
"""The processes that answer a request."""


@dataclass(frozen=True, eq=False)
class Stage(stage.Stage):
    """A seeded stack, and how much of each row is measured on it."""

    size: Size

    @cached_property
    def product_ids(self) -> list[int]:
        """Those with stock for all loads; the demo that a stack starts with has less of its own."""
        return self.products(on_hand=STOCK)

    @cached_property
    def files(self) -> Mapping[str, Path]:
        """The files that every load of k6 reads."""
        products = self.write("products", self.product_ids)
        return {"TOKENS": self.tokens_of(self.users, "all"), "PRODUCTS": products}

    @property
    def environment(self) -> dict[str, str]:
        """Of a process beside the stack's own."""
        own = {"PATH": os.environ.get("PATH", ""), "DJANGO_SETTINGS_MODULE": "shop.settings"}
        return {**environment.compose(self.instance, {}), **SETTINGS, **own}

    def k6(self, script: str, *, seconds: int = 0, vus: int = VUS, **settings: object) -> Figures:
        """Run `k6/<script>.js`, once the worker has nothing left of earlier loads."""
        database.wait_until_worked_off(self.instance)
        seconds = seconds or self.size.seconds
        given = {**self.files, "SECONDS": seconds, "VUS": vus, **settings}
        return load.run(script, self.instance, within_seconds=seconds + GRACE_SECONDS, **given)

    def measure(
        self, row: str, script: str, *, made: Callable[[], int] | None = None, **settings: object
    ) -> Measured:
        """The row of one run of k6; `made` counts the rows that its requests make."""
        database.wait_until_worked_off(self.instance)
        had, before = made() if made else 0, stage.spent(self.instance)
        figures = self.k6(script, **settings)  # type: ignore[arg-type] # seconds and vus, or k6's own
        taken = microseconds(before, stage.spent(self.instance), figures.requests)
        findings = list(errors(row, figures, made() - had if made else None))
        return Measured(row=row, figures=of_k6(figures) | taken, findings=findings)

    def beside_null(
        self, loads: Iterable[Callable[[], Measured]], null: Callable[[], Measured]
    ) -> Iterator[Measured]:
        """These loads in each round, with null before and after each, for the machine drifts: rates and
        processor times as shares of null's, and statements of a request beyond null's. The null runs too."""
        loads, (before, _) = list(loads), self._with_statements(null)
        yield before
        for _ in range(self.size.rounds):
            for one in loads:
                run, statements = self._with_statements(one)
                # The rest of the shop sends as many a second beside null calls, which send none.
                after, without = self._with_statements(null)
                per_second, processor = (
                    (before.figures[name] + after.figures[name]) / 2
                    for name in ("per_second", "processor_us")
                )
                others = {
                    "of_null": ratio(run.figures["per_second"], per_second),
                    "of_null_processor": ratio(run.figures["processor_us"], processor),
                    "statements": max(0.0, ratio(statements - without, run.figures["per_second"])),
                }
                yield replace(run, figures={**run.figures, **others})
                yield after
                before = after

    def _with_statements(self, run: Callable[[], Measured]) -> tuple[Measured, float]:
        """The run, and the statements a second that the database was sent meanwhile."""
        before, began_at = self.number(QUESTIONS), time.monotonic()
        measured = run()
        return measured, (self.number(QUESTIONS) - before) / (time.monotonic() - began_at)


@contextmanager
def running(instance: Instance, size: Size) -> Iterator[Stage]:
    """A stack with that demo."""
    with own_stack.running(instance, **SETTINGS):
        made = stage.seeded(instance, users=size.users, products=PRODUCTS + DEMO_PRODUCTS, stock=STOCK)
        yield Stage(made.instance, made.users, made.token, size)


def of_k6(figures: Figures) -> dict[str, float]:
    """The rate counts requests with the answer that they asked for."""
    times = {"p50_ms": "med", "p95_ms": "p(95)", "max_ms": "max"}
    took = {name: figures.ms("http_req_duration", sum_of) for name, sum_of in times.items()}
    return {"per_second": ratio(figures.succeeded, figures.seconds), **took}


def microseconds(before: Mapping[str, float], now: Mapping[str, float], requests: int) -> dict[str, float]:
    """Processor time a request of each process, and of those that answer it."""
    taken = {name: ratio(1e6 * (now[name] - before[name]), requests) for name in now}
    each = {f"{name}_us": number for name, number in taken.items()}
    return {"processor_us": sum(taken[name] for name in SERVING), **each}


def errors(row: str, figures: Figures, made: int | None) -> Iterator[str]:
    """No other answer is right: every account sent one request, and there was enough for all."""
    if figures.succeeded < figures.requests or not figures.succeeded:
        others = ", ".join(f"{count} x {status}" for status, count in figures.counts("status_").items())
        yield f"{row}: {figures.succeeded} of {figures.requests} answers were expected; others: {others}"
    # A request that failed for k6 may have been done all the same.
    if made is not None and not figures.succeeded <= made <= figures.requests:
        yield f"{row}: {figures.succeeded} were answered with success, and {made} were made"
