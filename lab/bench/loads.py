"""The loads of k6 by row: each runs once, and compares the rows it made with the answers that k6 counted."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lab import load, stage as stages
from lab.bench.rows import ROWS, Measured
from lab.load import Figures, ratio
from lab.stack import database
from lab.stage import Stage
from lab.tables import declared
from scripts.stack import own_stack, places, waiting
from scripts.stack.instance import Instance

HERE = Path(__file__).parent
SETTINGS = stages.SETTINGS | declared("lab/bench/settings.toml")
QUERIES = SimpleNamespace(**declared("lab/bench/queries.toml"))
PRODUCTS, VUS = 1_000, 100
"""Products; and buyers at once if a row has no number of its own, each with one request under way."""
TIMES = {"p50_ms": "med", "p95_ms": "p(95)", "max_ms": "max"}  # of an answer, and what k6 calls them
LEAST_OF_ANOTHER = 0.99  # of another commit's answers are as expected: it has faults that this one has not
WARM_UP_SECONDS = 2
SETTLE_SECONDS = 300  # for the sagas to end after the load: a backlog of thousands, on a slow machine
Run = Callable[[], Measured]
Numbers = Mapping[str, float]


@contextmanager
def running(instance: Instance, size: Any, **settings: str) -> Iterator[Stage]:
    """A stack of its own, seeded and warm, of which so much is measured."""
    with own_stack.running(instance, **SETTINGS, **settings):
        stage = replace(stages.seeded(instance, users=size.users, products=PRODUCTS), size=size)
        for row in ("coupon", "paid_card"):  # the first request of each thread opens its connection
            measure(stage, row, SECONDS=WARM_UP_SECONDS)
        yield stage


def measure(stage: Stage, row: str, **given: Any) -> Measured:
    """One run of the row's load. Orders that are paid are followed until the last is settled, and so is the
    processor time of an order."""
    of, size = ROWS[row], vars(stage.size)
    settings = {**stage.files, "SECONDS": size["seconds"], "VUS": VUS, "RUN": f"bench-{time.time_ns()}"}
    settings |= {name: size.get(value, value) for name, value in of.k6.items()}
    settings |= NEEDS[of.needs](stage, row) | given
    count = [QUERIES.made[name].format(**settings) for name in of.makes]
    database.wait_until_worked_off(stage.instance)
    [(since,)], had, before = stage.rows(QUERIES.now), [*map(stage.number, count)], used(stage)
    patience = settings["SECONDS"] + of.grace_seconds
    figures = load.run(of.script, stage.instance, within_seconds=patience, **settings)
    paid = settled(stage, since) if "PAYS" in of.k6 else {}
    number = paid.get("placed", figures.requests)
    taken = {name: ratio(now - before[name], number) for name, now in used(stage).items()}
    taken["processor_us"] = sum(taken[f"{name}_us"] for name in stages.PROCESSES)
    # The rate counts requests with the answer that they asked for.
    taken["per_second"] = ratio(figures.succeeded, figures.seconds)
    taken |= {name: figures.number(of.times, sum_of) for name, sum_of in TIMES.items()}
    if paid:
        # An order that is accepted and never paid is no throughput, and the time until the last is counts.
        taken["settled_per_second"] = ratio(paid["paid"], max(figures.seconds, paid["seconds"]))
        taken |= {"longest_seconds": paid["longest"], "overloaded": figures.count("overloaded")}
    made = [now - before for now, before in zip(map(stage.number, count), had, strict=True)]
    share = 1 if stage.instance.project == places.PROJECT else LEAST_OF_ANOTHER
    return Measured(row=row, figures=taken, findings=[*errors(row, figures, made, paid, share)])


def used(stage: Stage) -> dict[str, float]:
    """So far: µs of processor of each process, and the statements that the database counts."""
    taken = {f"{name}_us": 1e6 * seconds for name, seconds in stages.spent(stage.instance).items()}
    return taken | {"statements": stage.number(QUERIES.status, "Questions")}


def errors(row: str, figures: Figures, made: Iterable[int], paid: Numbers, share: float = 1) -> Iterator[str]:
    """At least this share of the answers must be the right one: every account sent one request, and there was
    enough for all. Of buyers that pay, those that wait may be answered 202, and others 503 `overloaded`."""
    of, others, refused = ROWS[row].k6, figures.counts("status_"), figures.count("overloaded")
    answered = figures.succeeded + (others.pop("202", 0) if "WAIT" in of else 0)
    if answered + refused < share * figures.requests or not figures.succeeded or "unadmitted" in others:
        yield f"{row}: {figures.succeeded} of {figures.requests} answers were expected; others: {others}"
    # A request that failed for k6 may have been done all the same; one that is refused makes nothing.
    least, most = (0, 0) if "EXPECTED" in of else (answered, figures.requests)
    for number in made:
        if not least <= number <= most:
            yield f"{row}: {answered} were answered as expected, and {number} were made"
    if paid:
        has_coupon = "coupons" in ROWS[row].needs
        yield from wrong_orders(row, paid, answered=answered, most=most, pays=True, has_coupon=has_coupon)


def beside_null(stage: Stage, rows: Sequence[str]) -> Iterator[Measured]:
    """These rows in rounds between loads of null, which run too."""
    loads = [partial(measure, stage, row) for row in rows if row != "null"]
    return between(stage, loads, partial(measure, stage, "null"))


def between(stage: Stage, loads: Sequence[Run], null: Run) -> Iterator[Measured]:
    """These loads in each round, with null before and after each, for the machine drifts: rates and processor
    times as shares of null's, and statements of a request beyond null's. The null runs too."""
    before = null()
    yield before
    for _ in range(stage.size.rounds):
        for one in loads:
            run, after = one(), null()
            mean = {name: (before.figures[name] + after.figures[name]) / 2 for name in before.figures}
            # The rest of the shop sends as many a second beside null calls, which send none.
            others = ratio(mean["statements"] * mean["per_second"], run.figures["per_second"])
            beside = {
                "of_null": ratio(run.figures["per_second"], mean["per_second"]),
                "of_null_processor": ratio(run.figures["processor_us"], mean["processor_us"]),
                "statements": max(0.0, run.figures["statements"] - others),
            }
            yield replace(run, figures={**run.figures, **beside})
            yield after
            before = after
        if not loads:
            yield null()


def settled(stage: Stage, since: datetime) -> dict[str, float]:
    """Wait until no saga that was created since is running, and count its orders; `seconds` from the first
    placed to the last paid, and the `longest` from one's placing to its payment."""
    waiting.left(lambda: stage.number(QUERIES.running_sagas, since), within_seconds=SETTLE_SECONDS)
    return {name: float(value) for name, value in database.row(stage.instance, QUERIES.placed, since).items()}


def wrong_orders(
    row: str, made: Numbers, *, answered: int, most: int, pays: bool, has_coupon: bool = False
) -> Iterator[str]:
    """Each order that was answered is in the database, and paid with its coupon redeemed where it should be;
    a request that failed for k6 may have placed its order all the same, of `most` in all."""
    placed, due = made["placed"], (made["placed"] * pays, made["placed"] * has_coupon)
    if not answered <= placed <= most or (made["paid"], made["redeemed"]) != due:
        yield f"{row}: {answered} of {most} orders were answered, and in the database are {made}"


def _sold_out(stage: Stage, row: str) -> dict[str, Any]:
    campaign = stage.campaign(f"Bench {row}", quantity=1)
    stage.shop.call("POST", "/coupons", {"campaign": campaign})
    return {"CAMPAIGN": campaign}


def _page_of_coupons(stage: Stage, row: str) -> dict[str, Any]:
    users = stage.users[-ROWS[row].accounts :]
    for _ in range(ROWS[row].page - stage.number(QUERIES.coupons_of_account, users[-1]["id"])):
        campaign = stage.campaign(f"Bench {row}", quantity=len(users))
        for user in users:
            stage.shop.call("POST", "/coupons", {"campaign": campaign, "user": user["id"]})
    return {"TOKENS": stage.tokens_of(users)}


NEEDS: Mapping[str, Callable[[Stage, str], dict[str, Any]]] = {
    "": lambda stage, row: {},
    "a campaign": lambda stage, row: {"CAMPAIGN": stage.campaign(f"Bench {row}")},
    "a campaign sold out": _sold_out,
    "coupons of its buyers": lambda stage, row: stage.issue(f"Bench {row}", stage.size.accounts),
    "accounts with a page of coupons": _page_of_coupons,
    "staff": lambda stage, row: {"TOKENS": stage.tokens_of([{"access": stage.shop.token}])},
}
"""The settings of a load by what its row needs."""
