"""Runs of sagas in an executor, and the result of a batch."""

import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from orders.saga.definitions import (
    DO,
    UNDO,
    Attempt,
    LocalStep,
    OutsideStep,
    SagaRow,
    SagaType,
    Step,
    StepResult,
)

# The slot of repeated calls and compensations.
RECOVERY = "recovery"


@dataclass(slots=True, eq=False)
class SagaRun:
    """A saga that an executor is advancing.

    `saga` is its row after the last batch, None before the first. `result` is the result of a call of `step`
    in `direction` that is not recorded yet. `failure` is what a single batch raised, to be recorded as an
    attempt at the saga's current step. `is_found`: the executor found the saga by polling. `accepted` is set
    after its first batch, `released` once the executor has nothing left to do for it now.
    """

    saga_id: UUID
    saga: SagaRow | None = None
    step: str = ""
    direction: str = DO
    result: StepResult | None = None
    failure: StepResult | None = None
    is_found: bool = False
    accepted: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)


@dataclass(slots=True)
class BatchResult:
    """The result of a batch: the runs that continue in another batch, the calls to make by step and
    direction, the runs `locked_elsewhere`, and those `released`. `done` are the local steps that were done,
    `compensated` the sagas that ended compensated, by type, `postponed` those to be retried; `committed`
    names the final lines that were written, in order.
    """

    to_continue: list[SagaRun] = field(default_factory=list)
    calls: dict[tuple[OutsideStep, str], list[tuple[SagaRun, Attempt]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    locked_elsewhere: list[SagaRun] = field(default_factory=list)
    released: list[SagaRun] = field(default_factory=list)
    done: list[tuple[LocalStep, list[SagaRow]]] = field(default_factory=list)
    compensated: dict[str, list[SagaRow]] = field(default_factory=lambda: defaultdict(list))
    postponed: dict[str, list[SagaRow]] = field(default_factory=lambda: defaultdict(list))
    committed: list[str] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class LockedSaga:
    """A saga whose row is locked; mutated during the batch."""

    run: SagaRun
    saga: SagaRow
    type: SagaType
    # The result of its run, then its next call. The run itself changes only after the commit, because the
    # transaction may be retried.
    step: str
    direction: str
    result: StepResult | None
    failure: StepResult | None
    is_repeat: bool = False

    @property
    def next_step(self) -> Step | None:
        direction = self.saga.direction
        return self.type.next_step(direction, [step for step, way in self.saga.final if way == direction])


FreeSlots = Mapping[str, int]
"""How many more calls may be made now, by `slot_of`."""


def slot_of(step: OutsideStep, direction: str, *, is_repeat: bool) -> str:
    """The kind of slot that a call takes: repeats and compensations never take those of first calls."""
    is_recovery = step.pool == "outside_call" and (is_repeat or direction == UNDO)
    return RECOVERY if is_recovery else step.name
