"""The measured inputs of the simulation, the points that it is checked by, and what requests cost.

`make scale-measure` writes them to docs/scale.json, and `make scale` computes from them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.bench.report import documents
from scripts.scale.model import Layout, Work, simulate
from scripts.stack import SetupError, places

FILE = places.PROJECT / "docs" / "scale.json"
COUPON, ORDER = "coupon", "order"
KINDS = (COUPON, ORDER)
TOLERANCE = 0.35
"""How far the simulation may be from a measured point, as a share of it."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """Requests a second of one hot row, measured with this many processes on one machine."""

    kind: str
    processes: int
    waiting: int
    latency: float
    per_second: float
    per_batch: float

    def layout(self, processors: int) -> Layout:
        """What the simulation has to take for this point."""
        return Layout(
            nodes=self.processes,
            lanes=1,
            latency=self.latency,
            buyers=self.waiting,
            processors=processors,
            is_one_machine=True,
        )

    def simulated(self, measured: "Measurement") -> float:
        """The requests a second that the simulation has for this point."""
        return simulate(measured.work[self.kind], self.layout(measured.processors)).per_second

    def error(self, measured: "Measurement") -> float:
        """By which share of the measured figure the simulated one is higher, or lower if negative."""
        return self.simulated(measured) / self.per_second - 1


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One run of `make scale-measure`.

    `http_edge` is the processor of a request in a web process outside its batch when it comes by HTTP;
    `costs` are the figures of docs/scale.md's table of costs.
    """

    measured_at: str
    commit: str
    circumstances: Mapping[str, Any]
    work: Mapping[str, Work]
    http_edge: Mapping[str, float]
    points: Sequence[Point]
    costs: Mapping[str, Any]

    @property
    def processors(self) -> int:
        """Those of the machine that measured."""
        return int(self.circumstances["cores"])


def read(file: Path = FILE) -> Measurement:
    """The last measurement. Raises SetupError when there is none."""
    found: Measurement | None = documents.read(file, _from_json, without=None)
    if found is None:
        raise SetupError(f"{file} is missing: `make scale-measure` writes it")
    return found


def write(measured: Measurement, file: Path = FILE) -> None:
    """Keep the measurement in the place of the one before."""
    content = vars(measured) | {
        "work": {kind: vars(work) for kind, work in measured.work.items()},
        "points": [vars(point) for point in measured.points],
    }
    documents.write(file, content)


def _from_json(content: Mapping[str, Any]) -> Measurement:
    work = {kind: Work(**found) for kind, found in content["work"].items()}
    points = [Point(**found) for found in content["points"]]
    return Measurement(**{**content, "work": work, "points": points})
