"""`make scale`: coupons and orders a second for more nodes, lanes and slower commits, into docs/scale.md.

Simulates from the measured inputs in docs/scale.json (`make scale-measure`), prints the error of the
simulation against each measured point, and writes the tables and the plot.
"""

import argparse
import multiprocessing
import sys
from collections.abc import Iterator
from itertools import product

from scripts.scale import page, results
from scripts.scale.model import Layout, Work, simulate
from scripts.scale.page import Cell, Checked, Grid
from scripts.scale.results import KINDS, Measurement
from scripts.stack import children

NODES = (1, 2, 4, 8, 16, 32, 64, 100)
LANES = (1, 4, 16, 64)
LATENCIES = (0.001, 0.005, 0.020)
BUYERS = 600
"""On each node, with one request under way at any time."""
DATABASE_PROCESSORS = 32
AT_ONCE = 2


def main() -> int:
    argparse.ArgumentParser(prog="make scale", description=__doc__.splitlines()[0]).parse_args()
    return children.run_command("make scale: failed", _run)


def _run() -> int:
    measured = results.read()
    cells = list(grid_cells())
    with multiprocessing.get_context("spawn").Pool(AT_ONCE) as pool:
        checked = pool.starmap(Checked.of, [(measured, point) for point in measured.points])
        simulated = pool.starmap(
            simulate, [(work_by_http(measured, cell), layout_of(cell)) for cell in cells]
        )
    grid: Grid = dict(zip(cells, simulated, strict=True))
    page.write(measured, grid, checked)
    page.draw(grid)
    worst = max(checked, key=lambda one: abs(one.error))
    print(page.printed(grid))
    print(f"\n{len(checked)} measured points; the simulation is off by {worst.error:+.0%} at most.")
    return 0


def grid_cells() -> Iterator[Cell]:
    """All that is simulated: kind, added latency, lanes, nodes."""
    return (Cell(*one) for one in product(KINDS, LATENCIES, LANES, NODES))


def work_by_http(measured: Measurement, cell: Cell) -> Work:
    """The measured costs, with the processor that HTTP takes."""
    return page.with_edge(measured.work[cell.kind], measured.http_edge[cell.kind])


def layout_of(cell: Cell) -> Layout:
    """Nodes with a processor each, and a database of its own."""
    return Layout(
        nodes=cell.nodes,
        lanes=cell.lanes,
        latency=cell.latency,
        buyers=BUYERS,
        processors=DATABASE_PROCESSORS,
    )


if __name__ == "__main__":
    sys.exit(main())
