"""From measured runs of one process to what a batch costs, and what each request in it."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy

from scripts.scale.model import Work

Run = Mapping[str, float]
"""What `scripts.scale.driver` prints."""
MOST_IN_BATCH = 256


def work_from(runs: Sequence[Run], *, commit: float, handover: float) -> Work:
    """The costs of one kind of request, from runs of one process with batches of different sizes.

    Each time is a line over the number of requests in a batch: so much for the batch, so much for each
    request. What a batch waits is its wall time less the processor's; the part that grows with its requests
    is left out, because it is a wait for the interpreter or for a processor, which the simulation has itself.
    """
    wall, python = _line(runs, "transaction_seconds"), _line(runs, "transaction_python_seconds")
    batch, leader = _line(runs, "batch_seconds"), _line(runs, "batch_python_seconds")
    database, process = _line(runs, "database_seconds"), _line(runs, "python_seconds")
    outside = leader.less(python)
    return Work(
        outside_batch=outside.batch,
        outside_request=outside.request,
        outside_idle=batch.less(wall).less(outside).batch,
        python_batch=python.batch,
        python_request=python.request,
        database_batch=database.batch,
        database_request=database.request,
        idle=max(0.0, wall.less(python).less(database).batch - commit),
        commit=commit,
        handover=handover,
        edge=process.less(leader).request,
        interval=runs[0]["interval"],
        most_in_batch=MOST_IN_BATCH,
    )


class Line(NamedTuple):
    """Seconds for a batch, and for each request in it; never below 0."""

    batch: float
    request: float

    def less(self, part: "Line") -> "Line":
        return Line(max(0.0, self.batch - part.batch), max(0.0, self.request - part.request))


def _line(runs: Sequence[Run], name: str) -> Line:
    """The line through these times; relative errors weigh the same."""
    values = [run[name] for run in runs]
    weights = [1 / max(value, 1e-9) for value in values]
    slope, start = numpy.polyfit([run["per_batch"] for run in runs], values, 1, w=weights)
    return Line(max(0.0, float(start)), max(0.0, float(slope)))
