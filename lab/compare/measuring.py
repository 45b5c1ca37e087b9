"""One case from its campaign to its row of the report: its load, in steps where it has several; what it runs
into; and in `crash` the faults meanwhile."""

import os
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import cycle
from pathlib import Path
from typing import Any

from redis import Redis

from lab import load
from lab.compare import checks
from lab.compare.scenarios import FINISH_SECONDS, Case
from lab.load import Figures, ratio
from lab.stack import database
from lab.stage import TICKS, Stage, processes, spent, wait_until, web_workers
from scripts.stack import process_identity, readiness
from scripts.stack.instance import Instance

SORTS = {
    "coupons": (checks.prepare_coupons, checks.check_coupons),
    "orders": (checks.prepare_orders, checks.check_orders),
}
START_SECONDS, IDLE_SECONDS = 180, 1
"""For k6 to read its accounts and to make its callers; in the second an idle shop says that it is ready."""
MOST_FAILED, NEARLY_ALL = 0.01, 0.9
SESSIONS = "SHOW GLOBAL STATUS WHERE Variable_name = 'Threads_connected'"
COUNTED = re.compile(
    r"^firstcome_(?!database_|processor_|\w*(?:requests|events|deliveries)_total)"
    r"(\w+)_total(?:\{[^}]*\})? (\S+)$",
    re.MULTILINE,
)
"""The shop's counters but for those that count every call, or each of its events."""
PAUSE_SECONDS, POLL_SECONDS, ANSWERS_IN_A_ROW = 0.8, 0.02, 10
"""Of plain load before each fault; and answers after which all processes of web serve: the kernel deals new
connections out among them, also to one that is only starting."""
COUPONS = "SELECT COUNT(*) FROM coupons_coupon WHERE campaign_id = %s"


def run(stage: Stage, case: Case) -> dict[str, Any]:
    """Run the load and check its rows. Raises SetupError when it can't be run."""
    prepare, check = SORTS[case.scenario.sort]
    settings = prepare(stage, case)
    database.wait_until_worked_off(stage.instance)
    before, counted = database.counters(stage.instance), _counted(stage.instance)
    with _faults(stage, case, settings) as faults:
        measured = measure(stage, case, settings)
    # What callers no longer wait for would slow the next case down, and this one's rows would go on growing.
    wait_until(lambda: _is_idle(stage.instance), within_seconds=FINISH_SECONDS)
    checked = check(stage, case, settings, measured)
    return {
        **{name: getattr(case, name) for name in ("strategy", "variant", "is_quick", "is_control")},
        "scenario": case.scenario.name,
        **measured,
        "database": database.since(before, database.counters(stage.instance)),
        "counted": {name: n for name, n in database.since(counted, _counted(stage.instance)).items() if n},
        "faults": faults,
        **checked,
    }


def measure(stage: Stage, case: Case, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of the load, or of its best step within the bounds; all answers; its steps and its wall."""
    of, steps, found = case.load, list[dict[str, Any]](), list[dict[str, Any]]()
    slowest_ms = case.scenario.slowest_p95_ms.get(case.variant, 0)
    a_step, found_wall = of.accounts // len(of.vus), dict[str, Any]()
    for index, vus in enumerate(of.vus):
        tokens = stage.tokens_of(stage.users[index * a_step : (index + 1) * a_step])
        own = {**settings, "TOKENS": tokens, "RUN": f"{settings.get('RUN')}-{vus}"}
        own |= {"LOADS": of.executors(vus), "PAUSE": of.pause, "WARM_UP": of.warm_up}
        patience = START_SECONDS + of.seconds + 2 * FINISH_SECONDS
        before = used(stage.instance)
        figures = load.run(f"lab/{case.scenario.sort}", stage.instance, within_seconds=patience, **own)
        found.append(read(figures))
        steps.append(judged(figures, vus, seconds=of.seconds, warm_up=of.warm_up, slowest_ms=slowest_ms))
        taken = database.since(before, used(stage.instance))
        if why := steps[-1]["too_much"]:
            seconds = max(steps[-1]["to"] - steps[-1]["from"] + of.warm_up, 1)
            taken = {name: one / seconds for name, one in taken.items()} | {"k6": figures.k6_cores}
            found_wall = wall(stage.instance, why, vus, taken)
            break
    if len(of.vus) == 1:
        return {**found[0], "steps": []}
    _, _, best = max((not one["too_much"], one["per_second"], index) for index, one in enumerate(steps))
    sums = {name: sum(one[name] for one in found) for name in ("asked", "coupons", "unsure", "polls")}
    sums |= {
        name: dict(sum(map(Counter, (one[name] for one in found)), Counter()))
        for name in ("answers", "tickets")
    }
    walls = {"wall": found_wall} if slowest_ms else {}
    return {**found[best], **sums, "per_second": steps[best]["per_second"], "steps": steps, **walls}


def read(figures: Figures) -> dict[str, Any]:
    """The figures of one load: times of a call, and until the caller knew what its request came to."""
    instants = figures.metrics.get("instants", {"min": 0, "max": 0})
    seconds = max((instants["max"] - instants["min"]) / 1000, 0.001)
    times = {"p50": "med", "p95": "p(95)", "p99": "p(99)", "max": "max"}
    return {
        # `answer_409_sold_out` counts the answers `409 sold_out`.
        "answers": {name.replace("_", " ", 1): n for name, n in figures.counts("answer_").items()},
        "tickets": figures.counts("ticket_"),
        "asked": figures.count("answered"),
        **{name: figures.count(name) for name in ("coupons", "unsure", "polls")},
        "per_second": round(figures.count("iterations") / seconds, 1),
        **{f"{name}_ms": figures.ms("took", of) for name, of in times.items()},
        "settled_p95_ms": figures.ms("settled", "p(95)"),
    }


def judged(figures: Figures, vus: int, *, seconds: float, warm_up: float, slowest_ms: int) -> dict[str, Any]:
    """One step without its warm-up, until the callers knew: `from` and `to` are seconds since 1970, and
    `too_much` says why it is the last. It ends before its time if it has used all of its accounts."""
    instants = figures.metrics.get("instants", {"min": 0, "max": 0})
    began_at, ended_at = instants["min"] / 1000, instants["max"] / 1000
    start, end = began_at + warm_up, min(began_at + seconds, ended_at)
    served, failed = figures.count("served"), figures.count("failed")
    share, p95 = ratio(failed, served + failed), figures.ms("settled", "p(95)")
    rules = {
        "no buyer gets an order": not served,
        f"{share:.1%} of the buyers don't get their order": share > MOST_FAILED,
        f"p95 is over {slowest_ms:,} ms": p95 > slowest_ms,
    }
    return {
        "vus": vus,
        "from": start,
        "to": max(start, end),
        "per_second": round(ratio(served, max(end - start, 0)), 1),
        "failed": round(share, 4),
        "p95_ms": p95,
        "max_ms": figures.ms("settled", "max"),
        "too_much": next((why for why, holds in rules.items() if holds and slowest_ms), ""),
    }


# --- the wall ---


def used(instance: Instance) -> dict[str, float]:
    """Seconds so far: of processor by process and of the whole machine, and of waiting for locks of rows."""
    # Of /proc/stat: all but idle and waiting for a disk.
    user, nice, system, _idle, _waiting, *others = map(int, Path("/proc/stat").read_text().split()[1:9])
    busy, waiting = (user + nice + system + sum(others)) / TICKS, database.counters(instance)["row_lock_ms"]
    return {**spent(instance), "the machine": busy, "lock waits": waiting / 1000}


def wall(instance: Instance, why: str, vus: int, taken: Mapping[str, float]) -> dict[str, Any]:
    """What these callers ran into who were too many: the first rule that fits what was taken in each second.
    The processor comes first: while it is used up, more threads or fewer locks bring nothing."""
    cores, [(_, sessions)] = os.cpu_count() or 1, database.rows(instance, SESSIONS)
    of = {name: seconds for name, seconds in taken.items() if name not in ("the machine", "lock waits")}
    is_busy, largest = taken["the machine"] > NEARLY_ALL * cores, max(of.values())
    rules = {
        "other programs of the machine": is_busy and taken["the machine"] - sum(of.values()) > largest,
        "the processor": is_busy,
        "one core of web": of["web"] > NEARLY_ALL * len(web_workers(instance)),
        "one core of the worker": of["worker"] > NEARLY_ALL,
        "one core of redis": of["redis"] > NEARLY_ALL,
        "lock waits": taken["lock waits"] > int(sessions) / 2,
    }
    name, *also = [name for name, holds in rules.items() if holds] or ["not named"]
    says = ", ".join(f"{one} {number:.2f}" for one, number in taken.items())
    return {"vus": vus, "why": why, "name": name, "says": says, "also": also}


def _counted(instance: Instance) -> dict[str, float]:
    """The shop's own counters, over all processes and labels. Beat and issuer may still be starting."""
    sums: Counter[str] = Counter()
    for (target,) in instance.metrics_targets().values():
        with suppress(OSError):
            text = readiness.ask(int(target.rpartition(":")[2]), "GET", "/metrics")[1]
            for name, number in COUNTED.findall(text):
                sums[name] += round(float(number))
    return dict(sums)


def _is_idle(instance: Instance) -> bool:
    asked_at = time.monotonic()
    return _answers(instance, "/readyz") and time.monotonic() - asked_at < IDLE_SECONDS


# --- the faults of `crash` ---


@contextmanager
def _faults(stage: Stage, case: Case, settings: Mapping[str, Any]) -> Iterator[list[dict[str, Any]]]:
    """In `crash` one fault after the other beside the block; then the longest wait for a coupon after each
    kind."""
    found: list[dict[str, Any]] = []
    if case.scenario.name != "crash":
        yield found
        return
    waits, ended, instance = dict[str, list[float]](), threading.Event(), stage.instance
    with ThreadPoolExecutor(1) as threads:
        striking = threads.submit(_strike_again, instance, case, settings["CAMPAIGN"], ended, waits)
        try:
            yield found
        finally:
            ended.set()
    striking.result()
    readiness.wait_for_shop(instance)
    for name, each in waits.items():
        found.append({"fault": name, "times": len(each), "seconds": max(each, default=None)})


def _strike_again(
    instance: Instance, case: Case, campaign: int, ended: threading.Event, waits: dict[str, list[float]]
) -> None:
    """Fault after fault, each once all processes of web serve: its cost isn't that of the one before."""
    whole = len(web_workers(instance))
    # Only the tickets of `queue` need the issuer.
    for name in cycle(name for name in FAULTS if name != "issuer killed" or case.strategy == "queue"):
        ended.wait(PAUSE_SECONDS)
        in_a_row = 0
        while in_a_row < ANSWERS_IN_A_ROW and not ended.wait(POLL_SECONDS):
            in_a_row = (
                in_a_row + 1 if len(web_workers(instance)) >= whole and _answers(instance, "/healthz") else 0
            )
        if ended.is_set():
            return
        began_at = time.monotonic()
        FAULTS[name](instance)
        before, each = database.rows(instance, COUPONS, campaign), waits.setdefault(name, [])
        while database.rows(instance, COUPONS, campaign) == before:
            if ended.wait(POLL_SECONDS):
                return
        each.append(round(time.monotonic() - began_at, 2))


def _answers(instance: Instance, path: str) -> bool:
    with suppress(OSError):
        return readiness.ask(instance.port, "GET", path)[0] == 200
    return False


def _empty_redis(instance: Instance) -> None:
    with Redis(unix_socket_path=str(instance.redis_socket)) as redis:
        redis.flushall()


FAULTS: Mapping[str, Callable[[Instance], None]] = {
    "web killed": lambda instance: process_identity.kill({max(web_workers(instance))}),
    "redis killed": lambda instance: process_identity.kill(processes(instance, "redis")),
    "redis emptied": _empty_redis,
    "issuer killed": lambda instance: process_identity.kill(processes(instance, "issuer")),
}
