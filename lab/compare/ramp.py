"""A ramp: step after step with more buyers, up to the first that is too slow, with Prometheus beside it."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from lab.bench.stage import Staff
from lab.compare import figures, loads, monitoring, panels, wall
from lab.compare.figures import Figures
from lab.compare.scenarios import Case

MOST_FAILED = 0.01
FIRST_SCRAPES_SECONDS = 4
"""A rate needs so many seconds of samples."""


def climb(staff: Staff, case: Case, settings: Mapping[str, Any]) -> tuple[Figures, dict[str, Any]]:
    """The figures of the best step within the bounds, with all answers; and the `steps` of the ramp, its
    `series`, and its `wall`, which is empty if no step was too much."""
    ramp, slowest_ms = case.load, case.scenario.slowest_p95_ms[case.variant]
    measured: list[Figures] = []
    steps: list[dict[str, Any]] = []
    with monitoring.beside(staff.instance) as server:
        began_at = time.time()
        time.sleep(FIRST_SCRAPES_SECONDS)
        for vus in ramp.vus:
            metrics, took = _run_step(staff, case, settings, vus)
            measured.append(figures.read(metrics, processor_seconds=took))
            steps.append(figures.judged(metrics, vus, seconds=ramp.step_seconds, warm_up=ramp.warm_up))
            if too_much(steps[-1], slowest_ms):
                break
        series = panels.fetch(server, start=began_at, end=time.time())
    return best(measured, steps, slowest_ms), {
        "steps": steps,
        "series": panels.drawn(series),
        "slowest_p95_ms": slowest_ms,
        "wall": find_wall(steps[-1], series, slowest_ms, k6_cores=measured[-1].k6_cores),
    }


def _run_step(staff: Staff, case: Case, settings: Mapping[str, Any], vus: int) -> tuple[Any, float]:
    """Run one step with accounts of its own; what k6 measured, and the processor time it took."""
    step = loads.step(case.load, vus)
    first = case.load.vus.index(vus) * step.accounts
    accounts = staff.users[first : first + step.accounts]
    tokens = staff.write_tokens("step", [account["access"] for account in accounts])
    given = {**settings, "TOKENS": tokens, "RUN": f"{settings['RUN']}-{vus}"}
    return loads.run_k6(case.scenario.sort, step, staff.instance, **given)


def too_much(step: Mapping[str, Any], slowest_ms: int) -> str:
    """Why the step is the wall; nothing if it isn't."""
    if not step["per_second"]:
        return "no buyer gets an order"
    if step["failed"] > MOST_FAILED:
        return f"{step['failed']:.1%} of the buyers don't get their order"
    return f"p95 is over {slowest_ms:,} ms" if step["p95_ms"] > slowest_ms else ""


def best(measured: Sequence[Figures], steps: Sequence[Mapping[str, Any]], slowest_ms: int) -> Figures:
    """The figures of the step with most orders a second within the bounds, if any is, and all answers."""
    within = [index for index, step in enumerate(steps) if not too_much(step, slowest_ms)]
    chosen = max(within or [0], key=lambda index: steps[index]["per_second"])
    answers: dict[str, int] = {}
    for one in measured:
        answers |= {answer: answers.get(answer, 0) + count for answer, count in one.answers.items()}
    return replace(measured[chosen], answers=answers, per_second=steps[chosen]["per_second"])


def find_wall(
    step: Mapping[str, Any], series: Mapping[str, Any], slowest_ms: int, *, k6_cores: float
) -> dict[str, Any]:
    """What the last step ran into; empty if it didn't run into anything."""
    why = too_much(step, slowest_ms)
    if not why:
        return {}
    means = {**panels.means(series, start=step["from"], end=step["to"])}
    means["bounds"] = {**means.get("bounds", {}), "cores": os.cpu_count() or 1}
    shares = {**means.get("processor", {})}
    others = shares.pop(panels.OTHERS, 0) - k6_cores
    means["processor"] = {**shares, "k6": k6_cores, wall.OTHERS: max(others, 0)}
    return {"vus": step["vus"], "why": why, **wall.name_wall(means)}
