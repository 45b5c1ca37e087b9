"""The measured inputs of the simulation, the points that it is checked by, and what requests cost.

`make scale-measure` writes them to docs/scale.json, and `make scale` computes from them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from scripts.bench.report import documents
from scripts.scale import calibration
from scripts.scale.model import Layout, Work, simulate
from scripts.stack import SetupError, places

FILE = places.PROJECT / "docs" / "scale.json"
COUPON, ORDER = "coupon", "order"
KINDS = (COUPON, ORDER)
HTTP_LOADS = {COUPON: "coupon", ORDER: "hot_order"}
"""The load by HTTP of each kind, by its name in the costs."""
MILLION = 1_000_000
TOLERANCE = 0.45
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
class Inputs:
    """What the costs of a batch are computed from: a commit, a hand-over, and runs of one process."""

    commit: float
    handover: float
    runs: Mapping[str, Sequence[calibration.Run]]


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One run of `make scale-measure`; `costs` are the figures of docs/scale.md's table of costs."""

    measured_at: str
    commit: str
    circumstances: Mapping[str, Any]
    inputs: Inputs
    points: Sequence[Point]
    costs: Mapping[str, Any]

    @cached_property
    def work(self) -> Mapping[str, Work]:
        """What each kind of request costs, without HTTP."""
        one = self.inputs
        return {
            kind: calibration.work_from(runs, commit=one.commit, handover=one.handover)
            for kind, runs in one.runs.items()
        }

    @cached_property
    def http_edge(self) -> Mapping[str, float]:
        """The processor of a web process for a request by HTTP, less that of its batch's leader."""
        spent = self.costs["processor_seconds"]
        web = {kind: spent[load]["web"] / MILLION for kind, load in HTTP_LOADS.items()}
        return {kind: max(work.edge, web[kind] - work.leader_request) for kind, work in self.work.items()}

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
    kept = {field.name: getattr(measured, field.name) for field in fields(measured)}
    content = kept | {
        "inputs": vars(measured.inputs),
        "points": [vars(point) for point in measured.points],
    }
    documents.write(file, content)


def _from_json(content: Mapping[str, Any]) -> Measurement:
    inputs = Inputs(**content["inputs"])
    points = [Point(**found) for found in content["points"]]
    return Measurement(**{**content, "inputs": inputs, "points": points})
