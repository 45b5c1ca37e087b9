"""What a saga is made of: its row, its type and steps, and the results of attempts at them.

The functions of a local step take many sagas at once; a single saga is a sequence of one.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from datetime import UTC, datetime
from functools import cached_property
from itertools import takewhile
from typing import Any, NamedTuple
from uuid import UUID

from django.conf import settings
from django.utils.translation import gettext_noop

from foundation import clock
from foundation.errors import Invalid, NotFound, Rejected
from foundation.lazy_texts import mark
from foundation.outbound import backoff
from foundation.values import Values
from orders.models import Saga, SagaLog

DO = Saga.Direction.DO.value
UNDO = Saga.Direction.UNDO.value
Event = SagaLog.Event
WorkClass = Saga.WorkClass
# Final, and the step has taken effect: it was done, or an operator confirmed it.
APPLIED = (Event.DONE, Event.FORCED)
GAVE_UP = "gave_up"
"""The failure code of a saga that is compensated because its deadline passed."""
ACTION_EXPIRED = "action_expired"
"""The failure code of a saga that is compensated because a person did not act in time."""
UNFINISHED = (Saga.State.RUNNING, Saga.State.STUCK)

# A crashed worker delays its sagas by so long. Leases are renewed every third of it, so that a step may make
# any number of calls.
LEASE_SECONDS = max(10.0, 3 * settings.GATEWAY_TIMEOUT_SECONDS)
LONGEST_REST_SECONDS = max(backoff.LONGEST_SECONDS, settings.PAYMENT_ACTION_SECONDS) + LEASE_SECONDS
"""The longest time until the next attempt of a saga."""
OF_WEB = "web-"
"""How the tokens of web processes' leases begin: they don't show that a worker is alive."""
AT_ONCE = datetime(2000, 1, 1, tzinfo=UTC)
"""The next attempt of a new saga: it is due whatever the clock of who began it."""


class RequiredAction(NamedTuple):
    """What a person must do at `url` before a step has a result; `deadline_at` moves the saga's deadline."""

    url: str
    expires_at: datetime
    deadline_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class StepResult:
    """The result of an attempt at a step: `done`, `refused` for good, `failed` this time with its outcome
    unknown, `pending` while the other system works on it, or `requires_action` while it waits for a person,
    with the `action`. `reference` is that system's id of it, `amount` what it moved there, and `answer` what
    else it said, for `on_result`. A `code` of one that is done is why the saga is compensated all the same,
    of one that failed why the other system refused it, or the gateways' `NOT_CALLED`. One that failed and
    `needs_operator` is stuck at once, and not compensated at the deadline.
    """

    event: Event
    detail: str = ""
    code: str = ""
    reference: str = ""
    action: RequiredAction | None = None
    answer: Any = None
    needs_operator: bool = False
    amount: int | None = None


# Of another system that can't be asked, or can't tell.
NOT_KNOWN = StepResult(Event.FAILED)
# What the engine itself gives: for errors, for lost leases, past the deadline, and where nothing was done.
WITHOUT_PARENT = StepResult(Event.FAILED, gettext_noop("The saga's order or payment is missing."))
LEASE_LOST = StepResult(Event.FAILED, gettext_noop("The worker stopped before it recorded a result."))
NO_PLACE = StepResult(Event.FAILED, gettext_noop("No worker had a place for it before its deadline."))
OUTCOME_UNKNOWN = (GAVE_UP, gettext_noop("The outcome stayed unknown until the deadline."))
NOT_CONFIRMED = (ACTION_EXPIRED, gettext_noop("The payment was not confirmed in time."))
# Customers see it, and never the operator's reason.
FORCED_DETAIL = gettext_noop("An operator confirmed this step.")
TOO_LATE = (GAVE_UP, gettext_noop("The deadline passed before it was tried."))
NEVER_RAN = StepResult(Event.VOID)
SKIPPED = StepResult(Event.SKIPPED)


def refusal_or_failure(error: Exception) -> StepResult:
    """The result of a local step that raised this."""
    if isinstance(error, Rejected | Invalid | NotFound):
        return StepResult(Event.REFUSED, str(error), code=error.code)
    return unexpected_failure(error)


def unexpected_failure(error: Exception) -> StepResult:
    return StepResult(Event.FAILED, f"{type(error).__name__}: {error}")


FinalResults = dict[tuple[str, str], StepResult]


@dataclass(slots=True, eq=False)
class SagaRow:
    """A saga as the engine reads and changes it: columns of its row, and what a transaction knows of it.

    `final` has its final results by step and direction, `parent` the row that its type's `lock` has locked.
    `result` is what is to be recorded: of the call of one that `is_calling` or, without one, what a single
    batch raised. With `is_repeat` an earlier call may have reached the other system, so its outcome is looked
    up first; with `is_overdue` the saga was past its deadline, so nothing new is started. `changes` are the
    columns to save. An executor found it at the monotonic instant `found_at`, and gave it a place of the
    class `found_as`. `begun` is what began it, if this process did: what its first steps need not read.
    """

    id: UUID
    kind: str
    subject_id: UUID
    about_id: UUID | None
    request_id: str
    traceparent: str
    state: str
    direction: str
    attempts: int
    failure_code: str
    failure_detail: str
    open_call: str
    is_irreversible: bool
    lease_token: str
    leased_until: datetime | None
    next_attempt_at: datetime | None
    work_class: str
    key_number: int
    deadline_at: datetime
    final: FinalResults = field(default_factory=dict)
    parent: Any = None
    result: StepResult | None = None
    is_calling: bool = False
    is_repeat: bool = False
    is_overdue: bool = False
    changes: Values = field(default_factory=dict)
    found_at: float = field(default_factory=lambda: time.monotonic())
    found_as: str = ""
    begun: Any = None

    @property
    def type(self) -> "SagaType":
        """Its type. Raises `Rejected` `saga_of_another_release`; no worker finds such a saga."""
        if self.kind not in SAGA_TYPES:
            text = mark(
                "Sagas of the kind {kind} are of another release, whose workers advance them.", kind=self.kind
            )
            raise Rejected(text, code="saga_of_another_release")
        return SAGA_TYPES[self.kind]

    def is_leased(self, now: datetime) -> bool:
        until = self.leased_until
        return until is not None and not clock.is_past(until, now, most_seconds=LEASE_SECONDS)

    @property
    def next_step(self) -> "Step | None":
        """The step of the call that is open, though another release may have put one before it; else the
        first that is left.
        """
        if self.open_call:
            for step in self.type.steps:
                if self.is_repeat_of(step) and (step.name, self.direction) not in self.final:
                    return step
        done = [step for step, direction in self.final if direction == self.direction]
        return self.type.next_step(self.direction, done, is_irreversible=self.is_irreversible)

    def change(self, **columns: Any) -> None:
        """Change columns; `orders.saga.rows.save` writes them."""
        self.changes |= columns
        for name in columns.keys() & SAGA_COLUMNS:
            setattr(self, name, columns[name])

    def start_compensation(self, code: str, detail: str) -> None:
        """Turn the saga to compensation, because of `code`."""
        self.change(direction=UNDO, failure_code=code[:64] or "refused", failure_detail=detail[:255])

    def can_compensate(self, step: "Step | None") -> bool:
        """Whether the saga may be compensated at this step, its next one."""
        return self.direction == DO and not self.is_irreversible and step in self.type.reversible

    def is_repeat_of(self, step: "Step") -> bool:
        """Whether a call of the step may have been made in the saga's direction: one was opened."""
        return self.open_call == call_name(step.name, self.direction)

    def may_have_done(self, step: "Step") -> bool:
        """Whether the step may have an effect: it was done, or a call of it was opened."""
        done = self.final.get((step.name, DO))
        if done is None:
            return self.open_call == call_name(step.name, DO)
        return done.event not in (Event.REFUSED, Event.SKIPPED)

    def result_for(self, saga: "SagaRow") -> StepResult | None:
        """The result that this copy brings, if it is one of what the saga does next."""
        step = saga.next_step
        is_due = step is not None and self.open_call == call_name(step.name, saga.direction)
        return self.result if is_due or not self.is_calling else None


Sagas = Sequence[SagaRow]
SAGA_COLUMNS = tuple(each.name for each in fields(SagaRow) if each.default is each.default_factory is MISSING)


@dataclass(frozen=True, slots=True)
class LocalStep:
    """A step in our own database. `do` and `undo` run in the transaction that logs them, and lock what they
    change in the project's lock order.

    `do` returns a detail for the log, or the refusal that starts the compensation; it writes nothing for a
    saga that it refuses. `undo` returns a detail, or the result where that is not `done`. A step without
    `undo` is the point of no return: it and those after it are only retried.
    """

    name: str
    do: Callable[[Sagas], Sequence[str | Rejected]]
    undo: Callable[[Sagas], Sequence[str | StepResult]] | None = None


Call = Callable[[], StepResult]
"""An exchange with another system for a saga. It blocks, and uses no database."""
PrepareCalls = Callable[[Sagas], Sequence[Call]]
"""Reads from the database what the calls need, and returns one for each saga, in their order."""


class LookUp(NamedTuple):
    """Asks the other system whether a step was done, or undone, as an operator says of a stuck saga.

    `expect` reads what must be true there, `ask` asks, outside any transaction, for the direction. `ask`
    returns the final result, or one that is `failed` where that system can't tell, or can't do it; it raises
    `Rejected` if the system says otherwise, and `Unavailable` without an answer. `note_retry` asks what an
    operator's retry must remember of that system, and returns what writes that in the retry's transaction.
    """

    expect: Callable[[SagaRow], Any]
    ask: Callable[[Any, str], StepResult]
    note_retry: Callable[[SagaRow, Any], Callable[[], object]] | None = None


@dataclass(frozen=True, slots=True)
class OutsideStep:
    """A step at another system, called outside any transaction with an idempotency key derived from the saga.

    `on_result` runs in the transaction that records the result of `do`, a forced one too. Without a
    `look_up`, or where that failed, it takes two operators to confirm the step. `give_up_seconds` is its own
    deadline, from its first call on; without it the saga's holds.
    """

    name: str
    do: PrepareCalls
    undo: PrepareCalls | None = None
    on_result: Callable[[SagaRow, StepResult], None] | None = None
    look_up: LookUp | None = None
    give_up_seconds: float | None = None


Step = LocalStep | OutsideStep


def _do_nothing(changed: Any) -> None:
    """The default of the hooks below."""


@dataclass(frozen=True)
class SagaType:
    """A saga type: its steps and hooks.

    `lock` locks the rows with the ids that its sagas are about, or else of their subjects, which precede
    sagas in the lock order, and returns them by id: all of them, or with `skip_locked` those that no other
    transaction holds. Without it these are orders. The hooks `on_…` run in the
    transaction that changes the saga: when it ends compensated, when it starts to need an operator, and when
    an operator resumes it. `notify` runs after the commits of which requests that wait for a saga must know:
    its point of no return, its end, and that it rests, until a retry or because it waits for a person.
    """

    steps: tuple[Step, ...]
    lock: Callable[[Collection[UUID], bool], Mapping[UUID, Any]] | None = None
    on_compensated: Callable[[Sagas], None] = _do_nothing
    notify: Callable[[Sagas], None] | None = None
    on_stuck: Callable[[SagaRow], object] = _do_nothing
    on_resumed: Callable[[SagaRow], object] = _do_nothing
    # The class of all its work; without one it is new, due again, or recovery.
    work_class: str = ""

    def class_of(self, usual: str) -> str:
        """The class of a saga of this type, where it is usually this one."""
        return str(self.work_class or usual)

    @cached_property
    def reversible(self) -> tuple[Step, ...]:
        """The steps before the point of no return, which is the first step without an undo."""
        return tuple(takewhile(lambda step: step.undo is not None, self.steps))

    def next_step(self, direction: str, final: Collection[str], *, is_irreversible: bool) -> Step | None:
        """The next step to do or undo, after those named in `final`; None if none is left.

        Past the point of no return the steps before it are never done, though one may have been added since.
        Outside steps are undone first, the last one first: then all local ones, in one transaction.
        """
        path = self.steps[len(self.reversible) :] if is_irreversible else self.steps
        if direction == UNDO:
            undone = self.reversible[::-1]
            outside = [step for step in undone if isinstance(step, OutsideStep)]
            path = (*outside, *[step for step in undone if isinstance(step, LocalStep)])
        return next((step for step in path if step.name not in final), None)


SAGA_TYPES: dict[str, SagaType] = {}
"""Every saga type by name. Modules that define one register it; the app imports them."""


def call_name(step: str, direction: str) -> str:
    """How `Saga.open_call` names a call of the step."""
    return f"{step} {direction}"
