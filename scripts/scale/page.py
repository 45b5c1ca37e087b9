"""What `make scale` writes into docs/scale.md: measured inputs, check, grid, costs, plot."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import NamedTuple

from scripts.bench.report import documents, drawing
from scripts.scale import costs
from scripts.scale.model import Outcome, Work
from scripts.scale.results import COUPON, KINDS, TOLERANCE, Measurement, Point
from scripts.stack import places

PAGE = places.PROJECT / "docs" / "scale.md"
PLOT = places.PROJECT / "docs" / "bench" / "scale.svg"
INPUTS = ("<!-- inputs of make scale -->\n", "<!-- end of inputs -->")
CHECK = ("<!-- check of make scale -->\n", "<!-- end of check -->")
GRID = ("<!-- grid of make scale -->\n", "<!-- end of grid -->")
COSTS = ("<!-- costs of make scale -->\n", "<!-- end of costs -->")
NAMES = {COUPON: "coupons", "order": "orders of one product"}
PLOTTED_LANES = (1, 16, 64)
GIB, MIB = 2**30, 2**20


class Cell(NamedTuple):
    """One combination that is simulated."""

    kind: str
    latency: float
    lanes: int
    nodes: int


@dataclass(frozen=True)
class Checked:
    """A measured point, and what the simulation has for it."""

    point: Point
    per_second: float

    @classmethod
    def of(cls, measured: Measurement, point: Point) -> "Checked":
        """Simulate the point."""
        return cls(point, point.simulated(measured))

    @property
    def error(self) -> float:
        return self.per_second / self.point.per_second - 1


Grid = Mapping[Cell, Outcome]


def with_edge(work: Work, edge: float) -> Work:
    """The same work with that much processor for a request outside its batch."""
    return replace(work, edge=edge)


def write(measured: Measurement, grid: Grid, checked: Sequence[Checked]) -> None:
    """Put all of it between the marks of the page."""
    documents.put_inside(PAGE, INPUTS, inputs(measured))
    documents.put_inside(PAGE, CHECK, check(checked))
    documents.put_inside(PAGE, GRID, tables(grid))
    documents.put_inside(PAGE, COSTS, cost_tables(measured))


def inputs(measured: Measurement) -> str:
    """What was measured, on which machine."""
    work, edges = measured.work, [measured.http_edge[kind] for kind in KINDS]
    lines: list[tuple[str, ...]] = [
        ("a COMMIT of one row", *(f"{work[kind].commit * 1e3:.2f} ms" for kind in KINDS)),
        ("hand-over of the row's lock to another process", *_each(work, "handover")),
        ("leader's Python outside the transaction, a batch", *_each(work, "outside_batch")),
        ("leader's Python outside the transaction, each request in it", *_each(work, "outside_request")),
        ("waits outside the transaction (Redis, for orders), a batch", *_each(work, "outside_idle")),
        ("leader's Python in the transaction, a batch", *_each(work, "python_batch")),
        ("leader's Python in the transaction, each request in it", *_each(work, "python_request")),
        ("MariaDB's processor, a batch", *_each(work, "database_batch")),
        ("MariaDB's processor, each request in it", *_each(work, "database_request")),
        ("waits for round trips in the transaction, a batch", *_each(work, "idle")),
        ("event loop without HTTP, each request", *_each(work, "edge")),
        ("web process without its leader, by HTTP, each request", *map(_micro, edges)),
        ("a full batch of 256 holds the row", *(_milli(work[kind], 256) for kind in KINDS)),
    ]
    table = documents.markdown(("input", *(NAMES[kind] for kind in KINDS)), lines)
    found, day = measured.circumstances, measured.measured_at[:10]
    return (
        f"`make scale-measure` on {day}, commit {measured.commit}: {documents.machine(found)}; load average "
        f"{found['load_before']:.1f} before. {documents.versions(found)}.\n\n{table}"
    )


def check(checked: Sequence[Checked]) -> str:
    """Measured beside simulated, and the errors summed up."""
    lines = [
        (
            NAMES[one.point.kind],
            f"{one.point.latency * 1000:.0f} ms",
            f"{one.point.processes}",
            f"{one.point.per_second:,.0f}",
            f"{one.per_second:,.0f}",
            percent(one.error),
        )
        for one in checked
    ]
    header = ("requests", "added to each commit", "processes", "measured/s", "simulated/s", "error")
    found = "; ".join(f"{NAMES[kind]} {_errors(checked, kind)}" for kind in KINDS)
    return f"Errors: {found}. The test allows {TOLERANCE:.0%}.\n\n{documents.markdown(header, lines)}"


def _errors(checked: Sequence[Checked], kind: str) -> str:
    errors = sorted(one.error for one in checked if one.point.kind == kind)
    return f"{percent(errors[0])} to {percent(errors[-1])}, median {percent(median(errors))}"


def percent(error: float) -> str:
    """The error with its sign; what rounds to zero is +0%, from either side."""
    return f"{error:+z.0%}"


def tables(grid: Grid) -> str:
    """Requests a second for each kind and latency: lanes below one another, nodes beside one another."""
    return "\n".join(
        f"**{NAMES[kind].capitalize()} a second, commits {latency * 1000:.0f} ms longer**\n\n"
        + documents.markdown(*_grid_table(grid, kind, latency))
        for kind in KINDS
        for latency in sorted({cell.latency for cell in grid})
    )


def printed(grid: Grid) -> str:
    """The tables for a terminal."""
    return "\n\n".join(
        f"{NAMES[kind]} a second, commits {latency * 1000:.0f} ms longer\n"
        + documents.printed(*_grid_table(grid, kind, latency))
        for kind in KINDS
        for latency in sorted({cell.latency for cell in grid})
    )


def _grid_table(grid: Grid, kind: str, latency: float) -> tuple[list[str], list[list[str]]]:
    nodes = sorted({cell.nodes for cell in grid})
    header = ["lanes", *(f"{number} node{'s' * (number > 1)}" for number in nodes)]
    lines = [
        [f"{lanes}", *(_rate(grid[Cell(kind, latency, lanes, number)]) for number in nodes)]
        for lanes in sorted({cell.lanes for cell in grid})
    ]
    return header, lines


def _rate(outcome: Outcome) -> str:
    """Two or three digits say all that the simulation knows."""
    number = outcome.per_second
    unit = 100 if number < 10_000 else 1_000
    return f"{round(number / unit) * unit:,}"


def cost_tables(measured: Measurement) -> str:
    """Seconds of processor and bytes for a million."""
    spent = measured.costs["processor_seconds"]
    names = ("web", "mariadb", "redis", "worker")
    header = ("a million", *(f"{name}, s" for name in names), "processor hours", "redo log")
    lines = [
        (
            costs.LOADS[load][0],
            *(f"{found[name]:,.0f}" for name in names),
            f"{sum(found[name] for name in names) / 3600:.2f}",
            _bytes(found["redo_bytes"]),
        )
        for load, found in spent.items()
    ]
    tables_of = measured.costs["table_bytes"]
    sizes = [
        (costs.LOADS[load][0], _bytes(sum(found.values())), _largest(found))
        for load, found in tables_of.items()
    ]
    return (
        f"{documents.markdown(header, lines)}\n"
        f"{documents.markdown(('a million', 'tables and indexes', 'of which'), sizes)}"
    )


def draw(grid: Grid) -> None:
    """Requests a second over nodes, at the shortest and the longest commit."""
    latencies = sorted({cell.latency for cell in grid})
    nodes = sorted({cell.nodes for cell in grid})
    titles = {
        f"at {latency}": f"{NAMES[COUPON]} a second, commits {latency * 1000:.0f} ms longer"
        for latency in (latencies[0], latencies[-1])
    }
    lines = {
        f"{lanes} lane{'s' * (lanes > 1)}": [
            {"nodes": number}
            | {
                f"at {latency}": grid[Cell(COUPON, latency, lanes, number)].per_second
                for latency in latencies
            }
            for number in nodes
        ]
        for lanes in PLOTTED_LANES
    }
    drawing.write(drawing.side_by_side(lines, "nodes", titles, height=3.0), PLOT)


def _largest(found: Mapping[str, float]) -> str:
    first = sorted(found.items(), key=lambda item: -item[1])[:5]
    return ", ".join(f"`{name}` {_bytes(size)}" for name, size in first)


def _bytes(number: float) -> str:
    return f"{number / GIB:.2f} GiB" if number >= GIB else f"{number / MIB:,.0f} MiB"


def _each(work: Mapping[str, Work], name: str) -> Iterator[str]:
    return (_micro(getattr(work[kind], name)) for kind in KINDS)


def _micro(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f} µs"


def _milli(work: Work, size: int) -> str:
    return f"{work.lane_seconds(size, latency=0) * 1e3:.1f} ms"
