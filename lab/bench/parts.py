"""What measures the rows, by their part: loads of k6, and what no single load measures."""

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from statistics import median

from lab import filling, load, stage as stages
from lab.bench import loads, payments, sales
from lab.bench.judging import Measured, Runs
from lab.bench.loads import BenchStage
from lab.bench.rows import BOARD, ORDERS_MADE, ROWS, STAFF_HOME, STAFF_LIST, Part
from lab.calls import signed_in
from lab.load import Numbers, ratio
from lab.stack import database
from scripts.stack import Lines, Words, children, own_stack, welcome

OF_K6 = ("beside null", "once")  # The parts whose rows are a load each
GROWTH_FIGURES = ("per_second", "p95_ms", "of_null", "of_null_processor", "processor_us")
BOARD_VIEWERS = (8, 48)  # Those who make both web processes read, and those that are to cost little more
READERS = 16
QUIET_SECONDS = 5
BESIDE_SECONDS = 30
AUDIT_SECONDS = 1_800
COUPONS = "SELECT COUNT(*) FROM coupons_coupon"
TABLES = "SELECT GROUP_CONCAT(table_name) FROM information_schema.tables WHERE table_schema = DATABASE()"
MOST_CONNECTIONS = "SELECT @@max_connections"


def run_once(stage: BenchStage, row: str) -> Measured:
    part = ROWS[row].part
    if part in OF_K6:
        return loads.measure(stage, row)
    return next(run for run in PARTS[part](stage) if run.row == row)


def measure(stage: BenchStage, part: Part, rows: Words) -> Runs:
    """These rows of the part, or more of them."""
    match part:
        case "beside null":
            yield from loads.beside_null(stage, rows)
        case "once":
            for row in rows:
                yield loads.measure(stage, row)
        case _:
            yield from PARTS[part](stage)


def growth(stage: BenchStage) -> Runs:
    """Fill the tables step by step, with orders at the last, and measure coupons at each. Shares of null are
    compared, because the machine is quicker in one half hour than in the next."""
    steps = []
    findings: Lines = []
    for coupons in (0, *stage.size.tables):
        stages.say(f"coupons with {max(coupons, stage.number(COUPONS)):,} in the table …")
        if coupons:
            missing = max(coupons - stage.number(COUPONS), 0)
            orders = stage.size.filled_orders * (coupons == stage.size.tables[-1])
            filling.fill(stage.instance, coupons=missing, orders=orders)
            children.printed(own_stack.manage(stage.instance, "rebuild_product_days"))
            # This writes the pages that are only in memory: the size is measured, and not a bulk load's end.
            stage.rows(f"FLUSH TABLES {database.value(stage.instance, TABLES)} FOR EXPORT")
        runs = [run for run in loads.beside_null(stage, ["coupon"]) if run.row == "coupon"]
        figures = {name: median(run.figures[name] for run in runs) for name in GROWTH_FIGURES}
        steps.append({"coupons": stage.number(COUPONS), **figures})
        for run in runs:
            findings += run.findings
    first, *_, last = steps
    figures = {**last, "of_empty": ratio(last["of_null"], first["of_null"])}
    says = f"{_processor(last)} µs of processor a coupon, beside {_processor(first)}"
    says += f" with {first['coupons']:,.0f} in the table"
    yield Measured(row="growth", figures=figures, findings=findings, says=says, steps=steps)


def _processor(step: Numbers) -> str:
    return f"{step['processor_us']:.0f} ({step['of_null_processor']:.2f} of null's)"


def board(stage: BenchStage) -> Runs:
    staff = signed_in(stage.instance.url, welcome.STAFF_USER, welcome.STAFF_PASSWORD)
    shown = staff.get(f"{stage.instance.url}{BOARD.k6['LIST']}", timeout=60).text
    findings = []
    if not shown.startswith('{"snapshot":'):
        findings.append(f"board: no snapshot, but {shown[:200]}")
    tokens = stage.tokens_of([{"access": staff.cookies["sessionid"]}], "board")
    cores = []
    for viewers in BOARD_VIEWERS:
        run = loads.measure(stage, "board", VUS=viewers, TOKENS=tokens, SESSIONS=1)
        cores.append(run.figures["web_us"] * run.figures["per_second"] / 1e6)
        findings += run.findings
    few, many = BOARD_VIEWERS
    before, after = cores
    yield Measured(
        row="board",
        figures={"viewers_cores": after - before},
        findings=findings,
        says=f"{many - few} beside {few}, with whom web takes {before:.3f} cores",
    )


def staff_pages(stage: BenchStage) -> Runs:
    staff = signed_in(stage.instance.url, welcome.STAFF_USER, welcome.STAFF_PASSWORD)
    tokens = stage.tokens_of([{"access": staff.cookies["sessionid"]}], "staff")
    for row in (STAFF_LIST, STAFF_HOME):
        yield loads.measure(stage, row.name, TOKENS=tokens, SESSIONS=1)


def idle(stage: BenchStage) -> Runs:
    """What each process takes while nobody calls, once the worker has nothing left."""
    database.wait_until_worked_off(stage.instance)
    cores = loads.cores_of(stage, stage.size.idle_seconds)
    total = sum(cores.values())
    yield Measured(row="idle", figures={"cores": total, "processor_us": 1e6 * total, **cores})


def audit(stage: BenchStage) -> Runs:
    """Every law over all that was made, as an operator would audit it; a broken one is a finding."""
    coupons = stage.number(COUPONS)
    orders = stage.number(ORDERS_MADE)
    began_at = time.monotonic()
    laws = own_stack.audit(stage.instance, within_seconds=AUDIT_SECONDS)
    figures = {"seconds": time.monotonic() - began_at, "coupons": coupons, "orders": orders}
    yield Measured(
        row="audit",
        figures=figures,
        findings=own_stack.broken(laws),
        says=f"{sum(law['holds'] for law in laws)} of {len(laws)} laws hold",
    )


def memory(stage: BenchStage) -> Runs:
    """The peak of web processes and connections since the stack was started: no row restarts one."""
    connections = database.status(stage.instance, "Max_used_connections")
    allowed = stage.number(MOST_CONNECTIONS)
    peak = stages.peak_mib(stages.processes(stage.instance, "web"))
    figures = {"peak_mib": peak, "connections_share": connections / allowed}
    yield Measured(
        row="memory", figures=figures, says=f"{connections} of {allowed} connections to the database"
    )


def sign_ins(stage: BenchStage) -> Runs:
    # A cookie that names no session, and no token: anonymous.
    anonymous = stage.tokens_of([{"access": ""}], "anonymous")
    addresses = [f"127.7.{number // 250}.{number % 250 + 1}" for number in range(stage.size.signing_in)]

    def readers_p95_ms(seconds: int) -> float:
        read = load.run(
            "list",
            stage.instance,
            within_seconds=2 * seconds,
            LIST="/api/v1/products",
            VUS=READERS,
            SECONDS=seconds,
            TOKENS=anonymous,
            SESSIONS=1,
            AGAIN=1,
        )
        return read.number("http_req_duration", "p(95)")

    quiet_ms = readers_p95_ms(QUIET_SECONDS)
    with ThreadPoolExecutor(1) as threads:
        beside_ms = threads.submit(readers_p95_ms, BESIDE_SECONDS)
        signed = loads.measure(
            stage, "sign_ins", PASSWORD=welcome.DEMO_PASSWORD, K6_LOCAL_IPS=",".join(addresses)
        )
    readers = {"readers_quiet_p95_ms": quiet_ms, "readers_p95_ms": beside_ms.result()}
    yield replace(signed, figures={**signed.figures, **readers})


# What measures the rows of each part that are no load by themselves.
PARTS: Mapping[Part, Callable[[BenchStage], Runs]] = {
    "recovery": payments.recovery,
    "refunds": payments.refunds,
    "growth": growth,
    "memory": memory,
    "board": board,
    "staff_pages": staff_pages,
    "waiting": payments.buyers_waiting,
    "sales": sales.sales,
    "sign_ins": sign_ins,
    "draw": sales.draw,
    "idle": idle,
    "audit": audit,
}
