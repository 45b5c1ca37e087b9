"""The cases of the scenarios, which `scenarios.toml` declares; and one from its campaign to its row of the
report: its load, perhaps in steps; in `crash` the faults meanwhile; what it runs into; and its wrong rows."""

import json
import os
import re
import resource
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from redis import Redis

from lab import load, stage as stages
from lab.bench import loads
from lab.load import Figures, ratio
from lab.stack import database
from lab.stage import TICKS, Stage, processes, spent, web_workers
from lab.tables import declared
from scripts.stack import SetupError, children, own_stack, ports, supervision, waiting
from scripts.stack.instance import Instance
from scripts.stack.places import PROJECT

UNSAFE, DEFAULT_INVENTORY = "unsafe", "group_commit"
FINISH_SECONDS = 170
"""For callers to finish what they began: longer than their patience and one more request. A coupon of a
caller that was cut off would be missing in the count of answers."""
FOLDERS = {"coupons": "coupons/issuing/strategies", "orders": "orders/placement/strategies"}
STRATEGIES = {
    sort: sorted(path.stem for path in (PROJECT / folder).glob("[a-z]*.py"))
    for sort, folder in FOLDERS.items()
}
"""By what is bought: each module there is one, so that new ones join."""
HERE = Path(__file__).parent
SCENARIOS: dict[str, dict[str, Any]] = declared("lab/compare/scenarios.toml")
QUERIES = SimpleNamespace(**declared("lab/compare/queries.toml"))
USUAL = SCENARIOS.pop("usual")
NEARLY_ALL = 0.9
DONE, UNKNOWN = ("201", "202"), ("0", "503 unavailable")
"""Answers after which an order has been placed, and after which it may have been, or not."""
Measure = Callable[[Mapping[str, Any]], dict[str, Any]]


class Case(SimpleNamespace):
    """One row of the report: a strategy in a scenario, and the scenario's load as `scenarios.toml` says."""

    def executors(self, vus: int) -> str:
        """As k6 takes them."""
        callers = {} if "stages" in self.k6 else {"vus": vus}
        return json.dumps({"all": {**self.k6, **callers, "gracefulStop": f"{FINISH_SECONDS}s"}})

    @property
    def settings(self) -> dict[str, str]:
        """Of the stack. No account is throttled: callers that are refused retry without a pause, for limits
        aren't compared."""
        return {"INVENTORY_STRATEGY": self.inventory, **stages.SETTINGS, **own_stack.NO_RATES}


def chosen_by(*, strategies: str, scenarios: str, is_quick: bool) -> list[Case]:
    """In the order in which they run: a stack's together, that of everything but orders last, and the control
    last of all. Raises SetupError for a name that there isn't."""
    known, chosen = {name for each in STRATEGIES.values() for name in each}, list[Case]()
    asked, named = ({*text.split(",")} - {""} for text in (strategies, scenarios))
    if unknown := asked - known | named - SCENARIOS.keys():
        raise SetupError(f"there is no {unknown}: choose from {[*SCENARIOS]} and {sorted(known)}")
    for scenario, words in SCENARIOS.items():
        if named and not {scenario, words.get("joins")} & named:
            continue
        load = {**USUAL, **words} | (words["quick"] if is_quick else {}) | {"is_quick": is_quick}
        # The control is expected to break laws.
        some = (asked or known) & {*words.get("strategies", known)}
        some -= set() if "control" in words else {UNSAFE}
        for strategy in (one for one in STRATEGIES[load["sort"]] if one in some):
            load |= {"scenario": scenario, "strategy": strategy, "is_control": strategy == UNSAFE}
            load["inventory"] = strategy if load["sort"] == "orders" else DEFAULT_INVENTORY
            for variant, own in load["variants"].items():
                name = " ".join(filter(None, (scenario, strategy, variant)))
                chosen.append(Case(**load | own, variant=variant, name=name))
    return sorted(chosen, key=lambda one: (one.inventory == DEFAULT_INVENTORY, one.inventory, one.is_control))


def run(stage: Stage, case: Case) -> dict[str, Any]:
    """Run the load and check its rows. Raises SetupError when it can't be run."""
    instance, names = stage.instance, ("scenario", "strategy", "variant", "is_quick", "is_control")

    def measure(settings: Mapping[str, Any]) -> dict[str, Any]:
        """With these settings of k6, until the shop is ready again: callers that left would slow the next
        case down, and this one's rows would go on growing."""
        database.wait_until_worked_off(instance)
        before, counted, ended = database.counters(instance), _counted(instance), threading.Event()
        with ThreadPoolExecutor(1) as threads:
            striking = threads.submit(strike, stage, case, settings, ended)
            try:
                measured = ramp(stage, case, settings)
            finally:
                ended.set()
        is_busy = partial(supervision.readiness_problem, instance.port)
        waiting.left(is_busy, within_seconds=FINISH_SECONDS)
        more = database.since(counted, _counted(instance))
        measured["counted"] = {name: number for name, number in more.items() if number}
        measured["database"] = database.since(before, database.counters(instance))
        found = [] if measured["asked"] else ["no request was answered"]
        return measured | {"faults": striking.result(), "wrong": {}, "broken": [], "findings": found}

    return {name: getattr(case, name) for name in names} | SORTS[case.sort](stage, case, measure)


def ramp(stage: Stage, case: Case, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of the load, or of its best step within the bounds; all answers; its steps and its wall."""
    a_step, found, steps = case.accounts // len(case.vus), list[dict[str, Any]](), list[dict[str, Any]]()
    walls = {"wall": f"none up to {case.vus[-1]:,} buyers"} if case.slowest_p95_ms else {}
    for index, vus in enumerate(case.vus):
        tokens = stage.tokens_of(stage.users[index * a_step : (index + 1) * a_step])
        own = {**settings, "TOKENS": tokens, "RUN": f"{settings.get('RUN')}-{vus}"}
        own |= {"LOADS": case.executors(vus), "PAUSE": case.pause, "WARM_UP": case.warm_up}
        patience, before = case.start_seconds + case.seconds + 2 * FINISH_SECONDS, used(stage.instance)
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
    _, _, best = max((not one["too_much"], one["per_second"], index) for index, one in enumerate(steps))
    sums = {name: sum(one[name] for one in found) for name in ("asked", "coupons", "unsure")}
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
        **{name: figures.count(name) for name in ("coupons", "unsure")},
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
    share, slowest_ms, why = ratio(failed, served + failed), case.slowest_p95_ms, ""
    if slowest_ms and not served:
        why = "no buyer gets an order"
    elif slowest_ms and share > case.most_failed:
        why = f"{share:.1%} of the buyers don't get their order"
    elif slowest_ms and p95 > slowest_ms:
        why = f"p95 is over {slowest_ms:,} ms"
    return {"vus": vus, "per_second": round(ratio(served, seconds), 1), "p95_ms": p95, "too_much": why}


def _counted(instance: Instance) -> dict[str, float]:
    """The shop's own counters, over all processes and labels. Beat and issuer may still be starting."""
    sums: Counter[str] = Counter()
    for (target,) in instance.metrics_targets().values():
        with suppress(OSError):
            text = ports.ask(int(target.rpartition(":")[2]), "GET", "/metrics")[1]
            for name, number in re.findall(QUERIES.counters, text):
                sums[name] += round(float(number))
    return dict(sums)


# --- what it runs into ---


def used(instance: Instance) -> dict[str, float]:
    """Seconds so far: of processor by process and of the whole machine, and of waiting for locks of rows."""
    # Of /proc/stat: all but idle and waiting for a disk.
    user, nice, system, _idle, _waiting, *others = map(int, Path("/proc/stat").read_text().split()[1:9])
    busy, waited = (user + nice + system + sum(others)) / TICKS, database.counters(instance)["row_lock_ms"]
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)  # k6 is the only one in a step
    of = {**spent(instance), "k6": ended.ru_utime + ended.ru_stime}
    return {**of, "the machine": busy, "lock waits": waited / 1000}


def wall(instance: Instance, step: Mapping[str, Any], taken: Mapping[str, float]) -> str:
    """What these callers ran into who were too many: the first rule that fits what was taken in each second.
    The processor comes first: while it is used up, more threads or fewer locks bring nothing."""
    cores, [(_, sessions)] = os.cpu_count() or 1, database.rows(instance, QUERIES.sessions)
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
    says += f"; also full: {', '.join(also)}" if also else ""
    return f"{name}, at {step['vus']:,} buyers: {step['too_much']} ({says})"


# --- the faults of `crash` ---


def strike(stage: Stage, case: Case, settings: Mapping[str, Any], ended: threading.Event) -> str:
    """In `crash` fault after fault until all is sent, each once all processes of web serve: its cost isn't
    that of the one before. The longest wait for a coupon after each kind."""
    if case.scenario != "crash":
        return ""
    instance, whole, waits = stage.instance, len(web_workers(stage.instance)), dict[str, list[float]]()
    issued = partial(stage.number, QUERIES.coupons, settings["CAMPAIGN"])
    pause = partial(ended.wait, case.poll_seconds)

    def serves() -> bool:
        """Whether many answers in a row come: the kernel deals connections out among all processes of web,
        also to one that is only starting."""
        looks = (
            len(web_workers(instance)) == whole and not supervision.readiness_problem(instance.port)
            for _ in range(case.answers_in_a_row)
            if not pause()
        )
        return all(looks)

    # Only the tickets of `queue` need the issuer.
    for name in cycle(name for name in FAULTS if name != "issuer killed" or case.strategy == "queue"):
        ended.wait(case.pause_seconds)
        while not serves():
            pass
        if ended.is_set():
            break
        began_at = time.monotonic()
        FAULTS[name](instance)
        each, before = waits.setdefault(name, []), issued()
        while issued() == before and not pause():
            pass
        each += [] if ended.is_set() else [time.monotonic() - began_at]
    supervision.wait_for_shop(instance)
    longest = ((name, len(each), f"{max(each):.2f}\u00a0s" if each else "–") for name, each in waits.items())
    return ", ".join(f"{name} ({times} ×) {most}" for name, times, most in longest)


FAULTS: Mapping[str, Callable[[Instance], Any]] = {
    "web killed": lambda instance: children.kill({max(web_workers(instance))}),
    "redis killed": lambda instance: children.kill(processes(instance, "redis")),
    "redis emptied": lambda instance: Redis(unix_socket_path=str(instance.redis_socket)).flushall(),
    "issuer killed": lambda instance: children.kill(processes(instance, "issuer")),
}


def coupons(stage: Stage, case: Case, measure: Measure) -> dict[str, Any]:
    """The case on a campaign of its own: what was measured, wrong rows by kind, and the findings."""
    quantity, patience = case.quantity or case.accounts, 30 if case.is_quick else 100
    terms = case.terms | ({"code_source": "pool"} if case.strategy == "code_pool" else {})
    campaign = stage.campaign(f"Lab {case.name}", strategy=case.strategy, quantity=quantity, **terms)
    measured = measure({"CAMPAIGN": campaign, "PATIENCE": patience, "PERSISTS": int(case.persists)})
    late = case.confirm_seconds
    if left := waiting.left(partial(stage.number, QUERIES.confirming, campaign), within_seconds=late):
        measured["findings"] += [f"{left} slots are still being confirmed {late} s after the last answer"]
    counted = database.row(stage.instance, QUERIES.campaign, campaign)
    found = {name: int(number) for name, number in counted.items()}
    made = found.pop("coupons")
    measured["findings"] += differences(quantity, made, measured, sells_out=case.sells_out)
    measured |= {"campaign": campaign, "coupons": made}
    measured["wrong"] = {kind: number for kind, number in found.items() if number}
    wrong = {} if case.is_control else measured["wrong"]
    measured["findings"] += [f"{number} {kind}" for kind, number in wrong.items()]
    return measured


def differences(quantity: int, coupons: int, answers: Mapping[str, Any], *, sells_out: bool) -> Iterator[str]:
    """Rows = answers; a caller without a definite answer may have one or not."""
    if not answers["coupons"] <= coupons <= answers["coupons"] + answers["unsure"]:
        told = f"{answers['coupons']} callers have theirs, {answers['unsure']} are unsure"
        yield f"{coupons} coupons are there, {told}"
    if sells_out and coupons < quantity:
        yield f"{coupons} of {quantity} coupons are issued after {answers['asked']} requests"


def orders(stage: Stage, case: Case, measure: Measure) -> dict[str, Any]:
    """The same of orders, once every order has ended. Where there are no steps every buyer of the case is
    issued a coupon before."""
    [(since,)] = stage.rows(loads.QUERIES.now)
    settings = {"PRODUCTS": stage.files["PRODUCTS"], "RUN": f"lab-{time.time_ns()}"}
    has_coupon, pays = len(case.vus) == 1, case.pays
    settings |= stage.issue(f"Lab {case.name}", case.accounts) if has_coupon else {}
    measured = measure(settings | {"PAYS": int(pays), "PATIENCE": 0 if has_coupon else 60})
    made = loads.settled(stage, since)
    told, unknown = (sum(measured["answers"].get(one, 0) for one in some) for some in (DONE, UNKNOWN))
    bounds = {"answered": told, "most": told + unknown}
    measured["findings"] += loads.wrong_orders(case.name, made, **bounds, pays=pays, has_coupon=has_coupon)
    rate = {"settled_per_second": round(ratio(made["paid"], made["seconds"]), 1)} if has_coupon else {}
    return measured | {"placed": made["placed"], "paid": made["paid"]} | rate


SORTS: Mapping[str, Callable[[Stage, Case, Measure], dict[str, Any]]] = {"coupons": coupons, "orders": orders}
