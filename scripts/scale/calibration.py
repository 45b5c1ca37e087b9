"""From measured runs of one process to what a batch costs, and what each request in it."""

from collections.abc import Mapping, Sequence

import numpy

from scripts.scale.model import Work

Run = Mapping[str, float]
"""What `scripts.scale.driver` prints."""
MOST_IN_BATCH = 256


def work_from(runs: Sequence[Run], *, commit: float, handover: float) -> Work:
    """The costs of one kind of request, from runs of one process with batches of different sizes.

    Each time is a line over the number of requests in a batch: so much for the batch, so much for each
    request. The transaction's time less the database's processor and its commit is the leader's Python, as
    far as the process used that much, and round trips. What the process used besides is the edge.
    """
    seconds = _line(runs, [run["transaction_seconds"] for run in runs])
    python = _line(runs, [run["python_seconds"] for run in runs])
    database = _line(runs, [run["database_seconds"] for run in runs])
    before = min(max(0.0, run["batch_seconds"] - run["transaction_seconds"]) for run in runs)
    for_batch = max(0.0, seconds[0] - database[0] - commit)
    for_request = min(max(0.0, seconds[1] - database[1]), python[1])
    python_batch = min(python[0], for_batch)
    return Work(
        before=before,
        python_batch=python_batch,
        python_request=for_request,
        database_batch=database[0],
        database_request=database[1],
        idle=for_batch - python_batch,
        commit=commit,
        handover=handover,
        edge=python[1] - for_request,
        interval=runs[0]["interval"],
        most_in_batch=MOST_IN_BATCH,
    )


def _line(runs: Sequence[Run], values: Sequence[float]) -> tuple[float, float]:
    """What a batch costs and what each request adds, neither below 0; relative errors weigh the same."""
    sizes = [run["per_batch"] for run in runs]
    weights = [1 / max(value, 1e-9) for value in values]
    slope, start = numpy.polyfit(sizes, values, 1, w=weights)
    return max(0.0, float(start)), max(0.0, float(slope))
