"""What measures the rows, by the part that rows.toml says: loads of k6, and what no single load measures."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from statistics import median
from typing import Any

from lab import filling, load, stage as stages
from lab.bench import loads
from lab.bench.loads import QUERIES
from lab.bench.rows import ROWS, Measured
from lab.calls import signed_in
from lab.load import ratio
from lab.stack import database
from lab.stage import Stage
from scripts.stack import children, own_stack, waiting, welcome

OF_K6 = ("beside null", "once")
"""The parts whose rows are a load each."""
OF_SALE = {"admitted_for_seconds": 3_600}


def run_once(stage: Stage, row: str) -> Measured:
    """One run of the row by itself."""
    if ROWS[row].part in OF_K6:
        return loads.measure(stage, row)
    return next(one for one in PARTS[ROWS[row].part](stage, [row]) if one.row == row)


def growth(stage: Stage, rows: Sequence[str]) -> Iterator[Measured]:
    """Fill the tables step by step, and measure coupons at each. Shares of null are compared, because the
    machine is quicker in one half hour than in the next."""
    steps, findings = [], list[str]()
    for coupons in (0, *stage.size.tables):
        stages.say(f"coupons with {max(coupons, stage.number(QUERIES.coupons)):,} in the table …")
        if coupons:
            orders = stage.size.filled_orders if coupons == stage.size.tables[-1] else 0
            missing = max(coupons - stage.number(QUERIES.coupons), 0)
            filling.fill(stage.instance, coupons=missing, orders=orders)
            children.printed(own_stack.manage(stage.instance, "rebuild_product_days"))
            # This writes the pages that are only in memory: the size is measured, and not a bulk load's end.
            stage.rows(f"FLUSH TABLES {stage.rows(QUERIES.tables)[0][0]} FOR EXPORT")
        mine = [run for run in loads.beside_null(stage, ["coupon"]) if run.row == "coupon"]
        findings += [finding for run in mine for finding in run.findings]
        names = ("per_second", "p95_ms", "of_null", "of_null_processor", "processor_us")
        medians = {name: median(run.figures[name] for run in mine) for name in names}
        steps.append({"coupons": stage.number(QUERIES.coupons), **medians})
    first, last = steps[0], steps[-1]
    figures = {**last, "of_empty": ratio(last["of_null"], first["of_null"])}
    now, before = (
        f"{one['processor_us']:.0f} ({one['of_null_processor']:.2f} of null's)" for one in (last, first)
    )
    says = f"{now} µs of processor a coupon, beside {before} with {first['coupons']:,.0f} in the table"
    yield Measured(row="growth", figures=figures, findings=findings, says=says, steps=steps)


def recovery(stage: Stage, rows: Sequence[str]) -> Iterator[Measured]:
    """How late payments are tried again whose first calls failed, while more arrive than are settled."""
    for _ in range(stage.size.rounds):
        [(since,)] = stage.rows(QUERIES.now)
        last, due, waiting_new = since, dict[tuple[Any, int], datetime](), [0]
        with ThreadPoolExecutor(1) as threads:
            arriving = threads.submit(loads.measure, stage, "recovery")
            while not arriving.done():
                found = stage.rows(QUERIES.unleased_sagas, since)
                for saga, attempts, at, _ in found:
                    if attempts:  # an attempt that is put off was due at first
                        due.setdefault((saga, attempts), at)
                if new := [created_at for _, attempts, _, created_at in found if not attempts]:
                    waiting_new.append(len(new))
                    last = max(last, *new)
                time.sleep(0.1)
        arrived, [(now,)] = arriving.result(), stage.rows(QUERIES.now)
        sagas = [saga for saga, _ in due] or [""]
        done = {(saga, attempt): at for saga, attempt, at in stage.rows(QUERIES.charge_attempts, sagas)}
        late = sorted(
            (done.get((saga, attempt + 1)) or done.get((saga, 0)) or now) - at
            for (saga, attempt), at in due.items()
            if at <= last  # while others arrived
        )
        lacks = [] if late else ["recovery: no payment was to be tried again"]
        seconds = [one.total_seconds() for one in late] or [0.0]
        figures = {name: arrived.figures[name] for name in ("per_second", "overloaded")}
        figures |= {"waiting": median(waiting_new), "retries": len(late), "late_p50_seconds": median(seconds)}
        figures |= {"late_p95_seconds": seconds[len(seconds) * 95 // 100], "late_max_seconds": seconds[-1]}
        yield Measured(row="recovery", figures=figures, findings=[*lacks, *arrived.findings])


def refunds(stage: Stage, rows: Sequence[str]) -> Iterator[Measured]:
    """What refunds asked for at once cost buyers who wait, and how soon they are settled."""
    row, staff = ROWS["refunds"], {"access": stage.shop.token}
    for _ in range(stage.size.rounds):
        [(since,)] = stage.rows(QUERIES.now)
        quiet = loads.measure(stage, "refunds")
        orders = [str(id) for (id,) in stage.rows(QUERIES.paid_orders, since, stage.size.refunds)]
        own = {
            "ORDERS": stage.write("orders", orders),
            "TOKENS": stage.tokens_of([staff] * len(orders), "staff"),
        }
        own |= {"VUS": min(row.k6["VUS"], len(orders)), "SECONDS": row.asked_within_seconds}
        with ThreadPoolExecutor(1) as threads:
            buying = threads.submit(loads.measure, stage, "refunds")
            time.sleep(row.begun_before_seconds)
            within = row.asked_within_seconds + row.grace_seconds
            run = f"refunds-{time.time_ns()}"
            asked = load.run("refunds", stage.instance, within_seconds=within, RUN=run, **own)
            beside = buying.result()
        [(settled, seconds)] = stage.rows(QUERIES.refunds, since)
        ends = asked.succeeded, len(orders), settled
        lacks = [] if len({*ends}) == 1 else ["refunds: {} of {} are accepted, and {} settled".format(*ends)]
        figures = {"refunds": settled, "refunds_per_second": ratio(settled, float(seconds))}
        for name, key in (("rate_of_quiet", "per_second"), ("p95_of_quiet", "p95_ms")):
            now, before = beside.figures[key], quiet.figures[key]
            figures |= {name: ratio(now, before), key: now, f"quiet_{key}": before}
        findings = [*lacks, *quiet.findings, *beside.findings]
        yield Measured(row="refunds", figures=figures, findings=findings)


def board(stage: Stage, rows: Sequence[str]) -> Iterator[Measured]:
    """The processor time of more viewers of the board."""
    staff = signed_in(stage.instance.url, welcome.STAFF_USER, welcome.STAFF_PASSWORD)
    shown = staff.get(f"{stage.instance.url}{ROWS['board'].k6['LIST']}", timeout=60).text
    lacks = [] if shown.startswith('{"snapshot":') else [f"board: no snapshot, but {shown[:200]}"]
    own = {"TOKENS": stage.tokens_of([{"access": staff.cookies["sessionid"]}], "board"), "SESSIONS": 1}
    few, many = (loads.measure(stage, "board", VUS=viewers, **own) for viewers in ROWS["board"].viewers)
    before, after = (run.figures["web_us"] * run.figures["per_second"] / 1e6 for run in (few, many))
    least, most = ROWS["board"].viewers
    says = f"{most - least} beside {least}, with whom web takes {before:.3f} cores"
    findings = [*lacks, *few.findings, *many.findings]
    yield Measured(row="board", figures={"viewers_cores": after - before}, findings=findings, says=says)


def idle(stage: Stage, rows: Sequence[str]) -> Iterator[Measured]:
    """What each process takes while nobody calls, once the worker has nothing left."""
    database.wait_until_worked_off(stage.instance)
    cores = cores_of(stage, stage.size.idle_seconds)
    total = sum(cores.values())
    yield Measured(row="idle", figures={"cores": total, "processor_us": 1e6 * total, **cores})


def cores_of(stage: Stage, seconds: float) -> dict[str, float]:
    """What each process takes of a core in the next seconds."""
    before, began_at = stages.spent(stage.instance), time.monotonic()
    time.sleep(seconds)
    after, seconds = stages.spent(stage.instance), time.monotonic() - began_at
    return {f"{name}_cores": (after[name] - before[name]) / seconds for name in after}


def audit(stage: Stage, rows: Sequence[str]) -> Iterator[Measured]:
    """Every law over all that was made, as an operator would audit it; a broken one is a finding."""
    counts = {"coupons": stage.number(QUERIES.coupons), "orders": stage.number(QUERIES.made["orders"])}
    began_at = time.monotonic()
    laws = own_stack.audit(stage.instance, within_seconds=ROWS["audit"].within_seconds)
    figures, broken = {"seconds": time.monotonic() - began_at, **counts}, own_stack.broken(laws)
    says = f"{sum(law['holds'] for law in laws)} of {len(laws)} laws hold"
    yield Measured(row="audit", figures=figures, findings=broken, says=says)


def memory(stage: Stage, rows: Sequence[str]) -> Iterator[Measured]:
    """The peak of web processes and connections since the stack was started: no row restarts one."""
    connections = stage.number(QUERIES.status, "Max_used_connections")
    allowed = stage.number(QUERIES.most_connections)
    peak = stages.peak_mib(stages.processes(stage.instance, "web"))
    figures = {"peak_mib": peak, "connections_share": connections / allowed}
    says = f"{connections} of {allowed} connections to the database"
    yield Measured(row="memory", figures=figures, says=says)


def buyers_waiting(stage: Stage, rows: Sequence[str]) -> Iterator[Measured]:
    """How many buyers wait for their payment at once, and what that takes above an idle shop.

    The worker is stopped while orders with points, a card and `Prefer: wait` are sent on a connection each;
    web advances only those without points, so no payment settles. The worker goes on before the first has
    waited long enough to be answered 202.
    """
    instance, number, row = stage.instance, stage.size.connections, ROWS["waiting"]
    web, tokens = stages.processes(instance, "web"), stage.tokens_of(stage.users[:number], "waiting")

    def held_kib() -> float:
        """The memory of web (PSS): a page that several processes hold counts once."""
        return sum(stages.kib(web, "smaps_rollup", "Pss:"))

    def null_p95_ms() -> float:
        """Of calls by few buyers: how long another call takes while all those wait."""
        own = {"SECONDS": 2, "VUS": 4, "AGAIN": 1, "TOKENS": tokens}
        return load.run("null", instance, within_seconds=60, **own).number("http_req_duration", "p(95)")

    database.wait_until_worked_off(instance)
    alone_ms, idle_kib, [(since,)] = null_p95_ms(), held_kib(), stage.rows(QUERIES.now)
    open_orders = partial(stage.number, QUERIES.running_sagas, since)
    with ThreadPoolExecutor(1) as threads:
        with stages.frozen(children.group_of(instance.run, "worker")):
            # Until no saga has a live lease payments are refused, as the worker seems too slow.
            waiting.left(partial(stage.number, QUERIES.leased_sagas), within_seconds=row.unleased_seconds)
            each = number // row.k6["VUS"]
            sent = threads.submit(loads.measure, stage, "waiting", TOKENS=tokens, EACH=each)
            waiting.left(lambda: not open_orders(), within_seconds=row.placed_seconds)
            waiting.left(lambda: open_orders() < number, within_seconds=row.placed_seconds)
            figures = cores_of(stage, row.watched_seconds)
            kib, at_once, beside_ms = held_kib() - idle_kib, open_orders(), null_p95_ms()
        answered = sent.result()
    figures |= {"waiting_cores": sum(figures.values()), "waiting_kib": ratio(kib, at_once)}
    alone_ms = (alone_ms + null_p95_ms()) / 2
    figures |= {"waiting": at_once, "of_null_alone": ratio(beside_ms, alone_ms)}
    yield Measured(row="waiting", figures=figures, findings=answered.findings)


def sales(stage: Stage, rows: Sequence[str]) -> Iterator[Measured]:
    """Every row of sales; takes two minutes and the time in which the accounts join."""
    users, by_id = stage.users, {user["id"]: user for user in stage.users}
    joins, waits = ROWS["sale_entries"], ROWS["sale_poll_wait"]
    rate = min(joins.highest_rate, len(users) // joins.minutes)
    sale = stage.shop.create_sale(stage.product_ids[-1], in_seconds=3_600, rate_per_minute=rate, **OF_SALE)

    def entries(first: int, most: int) -> dict[str, Any]:
        """Settings of k6: entries from that position on, and the tokens of their accounts."""
        found = stage.rows(QUERIES.entries, sale, first, most)
        file = stage.write("entries", [str(entry) for entry, _ in found])
        return {"ENTRIES": file, "TOKENS": stage.tokens_of([by_id[account] for _, account in found])}

    stages.say(f"{len(users):,} accounts join …")
    yield loads.measure(stage, "sale_entries", SALE=sale)
    stage.shop.call("PATCH", f"/sales/{sale}", {"opens_at": datetime.now(UTC).isoformat()})
    is_drawn = partial(stage.number, QUERIES.sale, sale)
    waiting.until(is_drawn, f"sale {sale} isn't drawn after a minute", within_seconds=60)
    # The next entries, and for each the time from its admission to the answer of its poll.
    first = stage.rows(QUERIES.sale, sale)[0][0] + rate * waits.begun_before_seconds // 60
    own = entries(first, min(waits.entries, rate // 4)) | {"HOLD": OF_SALE["admitted_for_seconds"]}
    yield loads.measure(stage, "sale_poll_wait", **own)
    # Polls of the last third of the entries, which wait all the time, between null calls.
    polls = partial(loads.measure, stage, "sale_poll", **entries(2 * len(users) // 3, len(users)))
    yield from loads.between(stage, [polls], partial(loads.measure, stage, "null"))
    # Rounds of orders under admission between orders without, each round by other accounts.
    a_round = min(ROWS["sale_order"].orders_a_round, len(users) // stage.size.rounds)
    sale = stage.shop.create_sale(stage.product_ids[-2], rate_per_minute=10**6, **OF_SALE)
    buyers = users[: stage.size.rounds * a_round]
    firsts = iter(range(0, len(buyers), a_round))
    loads.measure(stage, "sale_entries", SALE=sale, TOKENS=stage.tokens_of(buyers))
    waiting.left(lambda: stage.rows(QUERIES.sale, sale)[0][1], within_seconds=60)

    def under() -> Measured:
        first = next(firsts)
        own = {"TOKENS": stage.tokens_of(buyers[first : first + a_round]), "SALE": sale}
        product = stage.write("sale-product", stage.product_ids[-2:-1])
        return loads.measure(stage, "sale_order", PRODUCTS=product, **own)

    own = {"ACCOUNTS": a_round, "SECONDS": ROWS["sale_order"].k6["SECONDS"]}
    for run in loads.between(stage, [under], partial(loads.measure, stage, "hot_orders", **own)):
        of_plain = {"of_plain_order": run.figures.get("of_null_processor", 1)}
        yield replace(run, figures={**run.figures, **of_plain})


def sign_ins(stage: Stage, rows: Sequence[str]) -> Iterator[Measured]:
    """Sign-ins at once beside readers, who read alone before."""
    row = ROWS["sign_ins"]
    # A cookie that names no session, and no token: anonymous.
    anonymous = {"TOKENS": stage.tokens_of([{"access": ""}], "anonymous"), "SESSIONS": 1, "AGAIN": 1}
    addresses = ",".join(f"127.7.{n // 250}.{n % 250 + 1}" for n in range(stage.size.signing_in))

    def readers_p95_ms(seconds: int) -> float:
        own = {"LIST": "/api/v1/products", "VUS": row.readers, "SECONDS": seconds}
        read = load.run("list", stage.instance, within_seconds=2 * seconds, **own, **anonymous)
        return read.number("http_req_duration", "p(95)")

    quiet_ms = readers_p95_ms(row.quiet_seconds)
    with ThreadPoolExecutor(1) as threads:
        beside_ms = threads.submit(readers_p95_ms, row.beside_seconds)
        own = {"PASSWORD": welcome.DEMO_PASSWORD, "K6_LOCAL_IPS": addresses}
        signed_in = loads.measure(stage, "sign_ins", **own)
    readers = {"readers_quiet_p95_ms": quiet_ms, "readers_p95_ms": beside_ms.result()}
    yield replace(signed_in, figures={**signed_in.figures, **readers})


def draw(stage: Stage, rows: Sequence[str]) -> Iterator[Measured]:
    """How long a large draw takes, and what it costs another sale and payments; accounts join by SQL."""
    row, size, own = ROWS["draw"], stage.size, OF_SALE | {"rate_per_minute": ROWS["draw"].rate}
    drawn = stage.shop.create_sale(stage.product_ids[-3], in_seconds=3_600, **own)
    other = stage.shop.create_sale(stage.product_ids[-4], **own)
    loads.measure(stage, "sale_entries", SALE=other, TOKENS=stage.tokens_of(stage.users[: row.admitted]))
    stages.say(f"{size.entrants:,} accounts join …")
    filling.join(stage.instance, drawn, count=size.entrants)
    own = {"VUS": 4, "SECONDS": size.draw_seconds, "PRODUCTS": stage.write("free", stage.product_ids[:-4])}
    figures, findings, watched = dict[str, float](), list[str](), list[tuple[float, float]]()
    for opening in ((), (("ordered_seconds", 2), ("admitted_seconds", 0))):
        with ThreadPoolExecutor(1) as threads:
            paying = threads.submit(loads.measure, stage, "paid_card", **own)
            time.sleep(row.begun_before_seconds)
            began_at, [(before, *_)] = time.monotonic(), stage.rows(QUERIES.sale, other)
            if opening:
                stage.shop.call("PATCH", f"/sales/{drawn}", {"opens_at": datetime.now(UTC).isoformat()})
            for name, column in opening:
                is_so = lambda column=column: stage.rows(QUERIES.sale, drawn)[0][column]  # noqa: E731
                waiting.until(is_so, f"draw: no {name}", within_seconds=row.within_seconds)
                figures[name] = time.monotonic() - began_at
            paid = paying.result()
        admitted = stage.rows(QUERIES.sale, other)[0][0] - before
        watched.append((paid.figures["p50_ms"], ratio(time.monotonic() - began_at, admitted)))
        findings += paid.findings
    for name, quiet, beside in zip(("payment", "admission"), *watched, strict=True):
        figures[f"of_quiet_{name}"] = ratio(beside, quiet)
    yield Measured(row="draw", figures=figures, findings=findings, says=f"{size.entrants:,} entrants")


PARTS: Mapping[str, Callable[[Stage, Sequence[str]], Iterable[Measured]]] = {
    "beside null": loads.beside_null,
    "once": lambda stage, rows: (loads.measure(stage, row) for row in rows),
    "recovery": recovery,
    "refunds": refunds,
    "growth": growth,
    "memory": memory,
    "board": board,
    "waiting": buyers_waiting,
    "sales": sales,
    "sign_ins": sign_ins,
    "draw": draw,
    "idle": idle,
    "audit": audit,
}
"""How each part measures some of its rows, or all."""
