"""The cases of the scenarios, each from its campaign to its row of the report. A case has a load, perhaps in
steps, in `crash` faults meanwhile, a wall that it runs into, and wrong rows."""

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from lab import load, stage as stages
from lab.bench import loads
from lab.calls import Findings
from lab.compare import crash, published, walls
from lab.compare.scenarios import QUICK, SCENARIOS, Scenario, Variant
from lab.load import Figures, Numbers, Settings, ratio
from lab.stack import database
from lab.stage import Stage
from scripts.stack import Json, SetupError, own_stack, ports, supervision, waiting
from scripts.stack.instance import Instance
from scripts.stack.places import PROJECT

UNSAFE = "unsafe"
DEFAULT_INVENTORY = "group_commit"
# Callers finish in this time what they began: it is longer than their patience and one more request. A coupon
# of a caller that was cut off would be missing in the count of answers.
FINISH_SECONDS = 170
START_SECONDS = 180  # for k6 to read its accounts and to make its callers
CONFIRM_SECONDS = 60  # for the sweeper to get the answer of a partner that hadn't answered
PATIENCE_SECONDS = 100  # of a caller of coupons
QUICK_PATIENCE_SECONDS = 30
BUYER_PATIENCE_SECONDS = 60  # of a buyer in steps; others come once
MOST_FAILED = 0.01  # A larger share of buyers that get no order ends the steps
FOLDERS = {"coupons": "coupons/strategies", "orders": "orders/placement/strategies"}
# By what is bought: each module there is one, so that new ones join.
STRATEGIES = {
    sort: sorted(path.stem for path in (PROJECT / folder).glob("[a-z]*.py"))
    for sort, folder in FOLDERS.items()
}
# Answers after which an order has been placed, and after which it may have been, or not.
DONE = ("201", "202")
UNKNOWN = ("0", "503 unavailable")
# A line of the metrics, but of what counts every call, or each of its events: its name and its number.
COUNTERS = re.compile(
    r"^firstcome_(?!database_|processor_|\w*(?:requests|events|deliveries)_total)"
    r"(\w+)_total(?:\{[^}]*\})? (\S+)$",
    re.MULTILINE,
)
TIMES = {"avg_ms": "avg", "p50_ms": "med", "p95_ms": "p(95)", "p99_ms": "p(99)", "max_ms": "max"}
CONFIRMING = "SELECT COUNT(*) FROM coupons_confirmation WHERE campaign_id = %s"
CAMPAIGN = """
SELECT COUNT(coupon.id) AS coupons,
    GREATEST(COUNT(coupon.id) + campaign.confirming, campaign.quantity) - campaign.quantity AS over_quantity,
    GREATEST(COUNT(coupon.id), campaign.issued) - LEAST(COUNT(coupon.id), campaign.issued) AS not_counted
FROM coupons_campaign AS campaign LEFT JOIN coupons_coupon AS coupon ON coupon.campaign_id = campaign.id
WHERE campaign.id = %s GROUP BY campaign.id
"""
Row = Json  # What is measured of a case, as results.json keeps it
Measure = Callable[[Settings], Row]


class CampaignRows(NamedTuple):
    """A campaign's coupons, and those that are wrong; all else that the laws say of it is for the audit."""

    coupons: int
    over_quantity: int
    not_counted: int


@dataclass(frozen=True, kw_only=True)
class Case:
    """One row of the report: a strategy in a scenario, and the scenario's load."""

    load: Scenario
    variant: Variant
    strategy: str
    is_quick: bool

    @property
    def scenario(self) -> str:
        return self.load.name

    @property
    def name(self) -> str:
        return " ".join(word for word in (self.load.name, self.strategy, self.variant.name) if word)

    @property
    def is_control(self) -> bool:
        """The control is expected to break laws."""
        return self.strategy == UNSAFE

    @property
    def inventory(self) -> str:
        if self.load.sort == "orders":
            return self.strategy
        return DEFAULT_INVENTORY

    @property
    def quantity(self) -> int:
        return self.load.quantity or self.load.accounts

    def executors(self, vus: int) -> str:
        executor = {**self.load.k6, "gracefulStop": f"{FINISH_SECONDS}s"}
        if "stages" not in executor:
            executor["vus"] = vus
        return json.dumps({"all": executor})

    @property
    def settings(self) -> dict[str, str]:
        """Settings of the stack. No account is throttled, because callers that are refused retry without a
        pause and limits aren't compared."""
        own = {"INVENTORY_STRATEGY": self.inventory, **self.load.settings}
        return {**own, **stages.SETTINGS, **own_stack.NO_RATES}


def chosen_by(*, strategies: str, scenarios: str, is_quick: bool) -> list[Case]:
    """In the order in which they run: a stack's together, that of everything but orders last, and the control
    last of all. Raises SetupError for a name that there isn't."""
    known = set().union(*STRATEGIES.values())
    asked = {*strategies.split(",")} - {""}
    named = {*scenarios.split(",")} - {""}
    unknown = asked - known | named - {*SCENARIOS, published.NAME}
    if unknown:
        names = [*SCENARIOS, published.NAME]
        raise SetupError(f"there is no {unknown}: choose from {names} and {sorted(known)}")
    chosen: list[Case] = []
    meant = asked or known
    for load_of in (QUICK if is_quick else SCENARIOS).values():
        is_named = not named or bool({load_of.name, load_of.joins} & named)
        for strategy in STRATEGIES[load_of.sort]:
            is_published = published.NAME in named and (load_of.name, strategy) in published.CASES
            is_meant = strategy in meant and strategy in (load_of.strategies or meant)
            is_allowed = load_of.is_control or strategy != UNSAFE
            if (is_named or is_published) and is_meant and is_allowed:
                for variant in load_of.variants:
                    chosen.append(Case(load=load_of, variant=variant, strategy=strategy, is_quick=is_quick))
    return sorted(
        chosen, key=lambda case: (case.inventory == DEFAULT_INVENTORY, case.inventory, case.is_control)
    )


def run(stage: Stage, case: Case) -> Row:
    """Run the load and check its rows. Raises SetupError when it can't be run."""
    row: Row = {
        "scenario": case.scenario,
        "strategy": case.strategy,
        "variant": case.variant.name,
        "is_quick": case.is_quick,
        "is_control": case.is_control,
    }
    return row | SORTS[case.load.sort](stage, case, partial(measure, stage, case))


def measure(stage: Stage, case: Case, settings: Settings) -> Row:
    """Run k6 with these settings until the shop is ready again. Callers that left would slow the next case
    down, and this case's rows would go on growing."""
    instance = stage.instance
    database.wait_until_worked_off(instance)
    before = database.counters(instance)
    counted = _counted(instance)
    ended = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        striking = threads.submit(strike, stage, case, settings, ended)
        try:
            measured = ramp(stage, case, settings)
        finally:
            ended.set()
    waiting.left(partial(supervision.readiness_problem, instance.port), within_seconds=FINISH_SECONDS)
    more = database.since(counted, _counted(instance))
    nothing = [] if measured["asked"] else ["no request was answered"]
    statements = database.since(before, database.counters(instance))
    return {
        **measured,
        "counted": {name: number for name, number in more.items() if number},
        "database": statements,
        "faults": striking.result(),
        "wrong": {},
        "broken": [],
        "findings": nothing,
    }


def strike(stage: Stage, case: Case, settings: Settings, ended: threading.Event) -> str:
    if case.scenario != "crash":
        return ""
    return crash.strike(stage, settings["CAMPAIGN"], ended, has_issuer=case.strategy == "queue")


class Step(NamedTuple):
    """One step without its warm-up, until the callers knew; `too_much` says why it is the last."""

    vus: int
    per_second: float
    p95_ms: float
    too_much: str


def ramp(stage: Stage, case: Case, settings: Settings) -> Row:
    """The figures of the load, or of its best step within the bounds; all answers; its steps and its wall."""
    instance = stage.instance
    patience = START_SECONDS + case.load.seconds + 2 * FINISH_SECONDS
    accounts = case.load.accounts // len(case.load.vus)
    rows: list[Row] = []
    steps: list[Step] = []
    walls_met = {}
    if case.variant.slowest_p95_ms:
        walls_met["wall"] = f"none up to {case.load.vus[-1]:,} buyers"
    for index, vus in enumerate(case.load.vus):
        # Each step has accounts of its own.
        users = stage.users[index * accounts : (index + 1) * accounts]
        own = {
            **settings,
            "TOKENS": stage.tokens_of(users),
            "RUN": f"{settings.get('RUN')}-{vus}",
            "LOADS": case.executors(vus),
            "PAUSE": case.load.pause,
            "WARM_UP": case.load.warm_up,
        }
        before = walls.used(instance)
        figures = load.run(f"lab/{case.load.sort}", instance, within_seconds=patience, **own)
        rows.append(read(figures))
        steps.append(step(figures, case, vus))
        if steps[-1].too_much:
            taken = database.since(before, walls.used(instance))
            a_second = {name: seconds / max(figures.seconds, 1) for name, seconds in taken.items()}
            walls_met["wall"] = walls.wall(instance, vus, steps[-1].too_much, a_second)
            break
    if len(case.load.vus) == 1:
        return {**rows[0], "steps": []}
    # The most served a second, of the steps within the bounds if there are any.
    best = max(
        range(len(steps)), key=lambda index: (not steps[index].too_much, steps[index].per_second, index)
    )
    return {
        **rows[best],
        **sums_of(rows),
        "per_second": steps[best].per_second,
        "steps": [each._asdict() for each in steps],
        **walls_met,
    }


def sums_of(rows: Iterable[Row]) -> Row:
    """Of all steps: requests, and answers by their kind."""
    sums: Counter[str] = Counter()
    answers: Counter[str] = Counter()
    tickets: Counter[str] = Counter()
    for row in rows:
        sums.update({name: row[name] for name in ("asked", "coupons", "unsure")})
        answers.update(row["answers"])
        tickets.update(row["tickets"])
    return {**sums, "answers": dict(answers), "tickets": dict(tickets)}


def read(figures: Figures) -> Row:
    """The figures of one load: times of a call, and until the caller knew what its request came to."""
    # `answer_409_sold_out` counts the answers `409 sold_out`.
    counts = figures.counts("answer_").items()
    answers = {name.replace("_", " ", 1): count for name, count in counts}
    per_second = ratio(figures.count("iterations"), lasted(figures))
    times = {name: figures.number("took", sum_of) for name, sum_of in TIMES.items()}
    return {
        "answers": answers,
        "tickets": figures.counts("ticket_"),
        "asked": figures.count("answered"),
        "coupons": figures.count("coupons"),
        "unsure": figures.count("unsure"),
        "per_second": round(per_second, 1),
        **times,
        "settled_p95_ms": figures.number("settled", "p(95)"),
    }


def lasted(figures: Figures) -> float:
    """Seconds from the first call to the last answer."""
    return (figures.number("instants", "max") - figures.number("instants", "min")) / 1000


def step(figures: Figures, case: Case, vus: int) -> Step:
    """It ends before its time if it has used all of its accounts."""
    seconds = max(min(case.load.seconds, lasted(figures)) - case.load.warm_up, 0)
    served = figures.count("served")
    failed = figures.count("failed")
    share = ratio(failed, served + failed)
    p95_ms = figures.number("settled", "p(95)")
    slowest_ms = case.variant.slowest_p95_ms
    too_much = ""
    if slowest_ms and not served:
        too_much = "no buyer gets an order"
    elif slowest_ms and share > MOST_FAILED:
        too_much = f"{share:.1%} of the buyers don't get their order"
    elif slowest_ms and p95_ms > slowest_ms:
        too_much = f"p95 is over {slowest_ms:,} ms"
    return Step(vus, round(ratio(served, seconds), 1), p95_ms, too_much)


def _counted(instance: Instance) -> Numbers:
    """The shop's own counters, over all processes and labels. Beat and issuer may still be starting."""
    sums: Counter[str] = Counter()
    for (target,) in instance.metrics_targets().values():
        with suppress(OSError):
            _, text = ports.ask(int(target.rpartition(":")[2]), "GET", "/metrics")
            for name, number in COUNTERS.findall(text):
                sums[name] += round(float(number))
    return dict(sums)


def coupons(stage: Stage, case: Case, measure: Measure) -> Row:
    """The case on a campaign of its own: what was measured, wrong rows by kind, and the findings."""
    terms = dict(case.variant.terms)
    if case.strategy == "code_pool":
        terms["code_source"] = "pool"
    quantity = case.quantity
    campaign = stage.campaign(f"Lab {case.name}", strategy=case.strategy, quantity=quantity, **terms)
    patience = PATIENCE_SECONDS
    if case.is_quick:
        patience = QUICK_PATIENCE_SECONDS
    measured = measure({"CAMPAIGN": campaign, "PATIENCE": patience, "PERSISTS": int(case.load.persists)})
    left = waiting.left(partial(stage.number, CONFIRMING, campaign), within_seconds=CONFIRM_SECONDS)
    if left:
        late = f"{CONFIRM_SECONDS} s after the last answer"
        measured["findings"].append(f"{left} slots are still being confirmed {late}")
    [rows] = stage.read(CampaignRows, CAMPAIGN, campaign)
    made = int(rows.coupons)
    measured["findings"] += differences(quantity, made, measured, sells_out=case.load.sells_out)
    measured |= {"campaign": campaign, "coupons": made}
    if rows.over_quantity:
        measured["wrong"]["coupons over the quantity"] = int(rows.over_quantity)
    if rows.not_counted:
        measured["wrong"]["coupons not counted"] = int(rows.not_counted)
    if not case.is_control:
        for kind, number in measured["wrong"].items():
            measured["findings"].append(f"{number} {kind}")
    return measured


def differences(quantity: int, coupons: int, answers: Settings, *, sells_out: bool) -> Findings:
    """Rows = answers; a caller without a definite answer may have one or not."""
    if not answers["coupons"] <= coupons <= answers["coupons"] + answers["unsure"]:
        told = f"{answers['coupons']} callers have theirs, {answers['unsure']} are unsure"
        yield f"{coupons} coupons are there, {told}"
    if sells_out and coupons < quantity:
        yield f"{coupons} of {quantity} coupons are issued after {answers['asked']} requests"


def orders(stage: Stage, case: Case, measure: Measure) -> Row:
    """The same of orders, once every order has ended. Where there are no steps every buyer of the case is
    issued a coupon before."""
    since = stage.now()
    pays = case.variant.pays
    has_coupon = case.variant.has_coupon and len(case.load.vus) == 1
    settings = {"PRODUCTS": stage.files["PRODUCTS"], "RUN": f"lab-{time.time_ns()}", "PAYS": int(pays)}
    settings["PATIENCE"] = BUYER_PATIENCE_SECONDS
    if len(case.load.vus) == 1:
        settings["PATIENCE"] = 0
    if has_coupon:
        settings |= stage.issue(f"Lab {case.name}", case.load.accounts)
    measured = measure(settings)
    made = loads.settled(stage, since)
    answers = measured["answers"]
    done = sum(answers.get(answer, 0) for answer in DONE)
    unknown = sum(answers.get(answer, 0) for answer in UNKNOWN)
    measured["findings"] += loads.wrong_orders(
        case.name, made, answered=done, most=done + unknown, pays=pays, has_coupon=has_coupon
    )
    measured |= {"placed": made.placed, "paid": made.paid}
    if has_coupon:
        measured["settled_per_second"] = round(ratio(made.paid, made.seconds), 1)
    return measured


SORTS: Mapping[str, Callable[[Stage, Case, Measure], Row]] = {"coupons": coupons, "orders": orders}
