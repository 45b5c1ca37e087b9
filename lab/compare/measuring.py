"""One case: its load, in steps where it has several; what it runs into; what the shop counts meanwhile."""

import os
import re
import resource
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from lab import load
from lab.compare import checks, faults
from lab.compare.scenarios import FINISH_SECONDS, Case
from lab.load import Figures, ratio
from lab.stack import database
from lab.stage import TICKS, Stage, spent, web_workers
from scripts.stack import readiness, waiting
from scripts.stack.instance import Instance

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


def run(stage: Stage, case: Case) -> dict[str, Any]:
    """Run the load and check its rows. Raises SetupError when it can't be run."""
    prepare, check = checks.SORTS[case.sort]
    settings, instance = prepare(stage, case), stage.instance
    database.wait_until_worked_off(instance)
    before, counted = database.counters(instance), _counted(instance)
    with faults.struck(stage, case, settings) as struck:
        measured = ramp(stage, case, settings)
    # What callers no longer wait for would slow the next case down, and this one's rows would go on growing.
    waiting.left(lambda: not _is_idle(instance), within_seconds=FINISH_SECONDS)
    checked = check(stage, case, settings, measured)
    names = ("scenario", "strategy", "variant", "is_quick", "is_control")
    return {
        **{name: getattr(case, name) for name in names},
        **measured,
        "database": database.since(before, database.counters(instance)),
        "counted": {name: n for name, n in database.since(counted, _counted(instance)).items() if n},
        "faults": struck,
        **checked,
    }


def ramp(stage: Stage, case: Case, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of the load, or of its best step within the bounds; all answers; its steps and its wall."""
    a_step, found, steps = case.accounts // len(case.vus), list[dict[str, Any]](), list[dict[str, Any]]()
    walls = {"wall": dict[str, Any]()} if case.slowest_p95_ms else {}
    for index, vus in enumerate(case.vus):
        tokens = stage.tokens_of(stage.users[index * a_step : (index + 1) * a_step])
        own = {**settings, "TOKENS": tokens, "RUN": f"{settings.get('RUN')}-{vus}"}
        own |= {"LOADS": case.executors(vus), "PAUSE": case.pause, "WARM_UP": case.warm_up}
        patience, before = START_SECONDS + case.seconds + 2 * FINISH_SECONDS, used(stage.instance)
        figures = load.run(f"lab/{case.sort}", stage.instance, within_seconds=patience, **own)
        found.append(read(figures))
        steps.append(step(figures, case, vus))
        if steps[-1]["too_much"]:
            taken = database.since(before, used(stage.instance))
            a_second = {name: one / max(figures.seconds, 1) for name, one in taken.items()}
            walls = {"wall": wall(stage.instance, steps[-1], a_second)}
            break
    if len(case.vus) == 1:
        return {**found[0], "steps": []}
    best = max(
        range(len(steps)), key=lambda index: (not steps[index]["too_much"], steps[index]["per_second"])
    )
    sums = {name: sum(one[name] for one in found) for name in ("asked", "coupons", "unsure", "polls")}
    for name in ("answers", "tickets"):
        sums[name] = dict(sum((Counter(one[name]) for one in found), Counter()))
    return {**found[best], **sums, "per_second": steps[best]["per_second"], "steps": steps, **walls}


def read(figures: Figures) -> dict[str, Any]:
    """The figures of one load: times of a call, and until the caller knew what its request came to."""
    times = {"p50": "med", "p95": "p(95)", "p99": "p(99)", "max": "max"}
    return {
        # `answer_409_sold_out` counts the answers `409 sold_out`.
        "answers": {name.replace("_", " ", 1): n for name, n in figures.counts("answer_").items()},
        "tickets": figures.counts("ticket_"),
        "asked": figures.count("answered"),
        **{name: figures.count(name) for name in ("coupons", "unsure", "polls")},
        "per_second": round(ratio(figures.count("iterations"), lasted(figures)), 1),
        **{f"{name}_ms": figures.number("took", of) for name, of in times.items()},
        "settled_p95_ms": figures.number("settled", "p(95)"),
    }


def lasted(figures: Figures) -> float:
    """Seconds from the first call to the last answer."""
    return (figures.number("instants", "max") - figures.number("instants", "min")) / 1000


def step(figures: Figures, case: Case, vus: int) -> dict[str, Any]:
    """One step without its warm-up, until the callers knew; `too_much` says why it is the last. It ends
    before its time if it has used all of its accounts."""
    seconds = max(min(case.seconds, lasted(figures)) - case.warm_up, 0)
    served, failed, p95 = figures.count("served"), figures.count("failed"), figures.number("settled", "p(95)")
    share, slowest_ms = ratio(failed, served + failed), case.slowest_p95_ms.get(case.variant)
    rules = {
        "no buyer gets an order": not served,
        f"{share:.1%} of the buyers don't get their order": share > MOST_FAILED,
        f"p95 is over {slowest_ms or 0:,} ms": p95 > (slowest_ms or 0),
    }
    why = next((why for why, holds in rules.items() if holds and slowest_ms), "")
    return {"vus": vus, "per_second": round(ratio(served, seconds), 1), "p95_ms": p95, "too_much": why}


def used(instance: Instance) -> dict[str, float]:
    """Seconds so far: of processor by process and of the whole machine, and of waiting for locks of rows."""
    # Of /proc/stat: all but idle and waiting for a disk.
    user, nice, system, _idle, _waiting, *others = map(int, Path("/proc/stat").read_text().split()[1:9])
    busy, waited = (user + nice + system + sum(others)) / TICKS, database.counters(instance)["row_lock_ms"]
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)  # k6 is the only one in a step
    of = {**spent(instance), "k6": ended.ru_utime + ended.ru_stime}
    return {**of, "the machine": busy, "lock waits": waited / 1000}


def wall(instance: Instance, step: Mapping[str, Any], taken: Mapping[str, float]) -> dict[str, Any]:
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
    return {"vus": step["vus"], "why": step["too_much"], "name": name, "says": says, "also": also}


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
    return not readiness.readiness_problem(instance.port) and time.monotonic() - asked_at < IDLE_SECONDS
