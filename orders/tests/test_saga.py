"""The saga executor with recording steps: final lines, leases, retries, recovery."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from django.db.models import F

from foundation import clock
from foundation.db import transactions
from foundation.errors import Rejected
from foundation.tests.factories import reloaded, set_columns
from foundation.tests.instants import from_now
from foundation.tests.racing import race
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders.metrics import state
from orders.models import Saga, SagaLog
from orders.saga import batch, rows as saga_rows
from orders.saga.definitions import (
    DO,
    LEASE_SECONDS,
    SAGA_TYPES,
    UNDO,
    Event,
    LocalStep,
    OutsideStep,
    PrepareCalls,
    SagaRow,
    SagaType,
    StepResult,
)
from orders.tests import stepping

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("unlawful")]


class World:
    """The state that steps change: a counter in the database for local ones, a list for outside ones."""

    def __init__(self):
        self.product: Product = ProductFactory(on_hand=0)
        self.calls: list[str] = []
        self.attempts: list[SagaRow] = []
        self.result = StepResult(Event.DONE, reference="outside-1")
        self.refuses = False
        # Called while a call outside is under way.
        self.meanwhile: Callable[[], None] = lambda: None

    def count(self, by: int) -> Callable[[Sequence[SagaRow]], list[str]]:
        """A local step that adds to the counter for each saga."""

        def step(sagas):
            set_columns(self.product, on_hand=F("on_hand") + by * len(sagas))
            if self.refuses:
                raise Rejected("not today", code="not_today")
            return [f"{by:+d}"] * len(sagas)

        return step

    def call(self, word: str) -> PrepareCalls:
        """An outside step that records this word for each saga."""

        def prepare(sagas):
            self.attempts += sagas
            return [lambda: self.make(word) for _ in sagas]

        return prepare

    def make(self, word: str) -> StepResult:
        self.calls.append(word)
        self.meanwhile()
        return self.result

    @property
    def counted(self) -> int:
        self.product.refresh_from_db()
        return self.product.on_hand


def lock_nothing(ids: Collection[UUID], skip_locked: bool) -> dict[UUID, None]:
    return dict.fromkeys(ids)


@pytest.fixture
def world(monkeypatch):
    made = World()
    steps = (
        LocalStep("local", do=made.count(1), undo=made.count(-1)),
        OutsideStep("outside", do=made.call("do"), undo=made.call("undo")),
        LocalStep("pivot", do=made.count(10)),
        OutsideStep("tell", do=made.call("tell")),
    )
    monkeypatch.setitem(SAGA_TYPES, "test", SagaType(steps, lock=lock_nothing))
    return made


def started(*, kind="test", done: Sequence[str] = ()) -> Saga:
    row, lines = saga_rows.new_saga(kind=kind, subject_id=uuid4(), final=dict.fromkeys(done, Event.DONE))
    row.deadline_at = row.created_at + timedelta(minutes=1)
    transactions.run(lambda: saga_rows.insert_sagas([(row, lines)]), transactions.KEYED)
    return row


def copy_of(row: Saga, result: StepResult | None = None) -> SagaRow:
    """The saga as an executor finds it, or as one has it that called `outside`, with the result."""
    saga = saga_rows.read_sagas([row.id])[row.id]
    saga.lease_token = ""
    if result:
        saga.open_call, saga.is_calling, saga.result = f"outside {DO}", True, result
    return saga


def run_batch(*sagas: SagaRow, token="one") -> list[SagaRow]:
    """One batch of these sagas, by the executor of that token; returns them as it leaves them."""
    done = batch.advance(sagas, token=token, failpoint=print)
    return [*done.rows.values()]


def is_released(saga: SagaRow, *, token="one") -> bool:
    """Whether the executor of that token has nothing more to do for it."""
    return saga.lease_token != token


def called(row: Saga, result: StepResult | None = None, *, token="one") -> SagaRow:
    """The saga of an executor that has called `outside`, with the result."""
    saga = copy_of(row)
    while not saga.is_calling:
        [saga] = run_batch(saga, token=token)
    saga.result = result or StepResult(Event.DONE, reference="ch_1")
    return saga


def start_compensation(row: Saga, code: str, detail: str):
    saga = saga_rows.read_sagas([row.id])[row.id]
    saga.start_compensation(code, detail)
    transactions.run(lambda: saga_rows.save([saga]), transactions.KEYED)


def end_leases():
    """Let all leases lapse, as after a crash of their workers."""
    Saga.objects.filter(ended_at=None).update(leased_until=clock.now())


def again(saga_id: UUID) -> Saga:
    return Saga.objects.get(id=saga_id)


def final_lines(row: Saga) -> list[tuple[str, str, str]]:
    lines = SagaLog.objects.filter(saga=row, attempt=0).order_by("id")
    return list(lines.values_list("step", "direction", "event"))


def test_all_steps_are_done_in_order(world):
    row = started()
    assert stepping.advance(row.id) == Saga.State.DONE
    assert (world.counted, world.calls) == (11, ["do", "tell"])
    assert again(row.id).next_attempt_at is None
    assert [step for step, _, _ in final_lines(row)] == ["local", "outside", "pivot", "tell"]


def test_a_result_is_recorded_once(world):
    row = started()
    first = called(row)
    run_batch(first)
    late = copy_of(row, StepResult(Event.DONE, reference="ch_2"))
    run_batch(late, token="two")
    assert SagaLog.objects.get(saga=row, step="outside", attempt=0).reference == "ch_1"
    assert world.counted == 11


def test_the_same_saga_by_many_executors_at_once_happens_once(world):
    row = started()
    race([lambda: stepping.advance(row.id)] * 8)
    stepping.advance(row.id)
    assert (world.counted, world.calls) == (11, ["do", "tell"])


@pytest.mark.parametrize(("open_call", "calls"), [("", []), (f"outside {DO}", ["undo"])])
def test_an_undo_of_a_step_that_never_ran_calls_those_whose_call_was_opened(world, open_call, calls):
    row = started()
    start_compensation(row, "forced", "because " * 40)
    set_columns(row, open_call=open_call)
    assert stepping.advance(row.id) == Saga.State.COMPENSATED
    assert reloaded(row).failure_detail == ("because " * 40)[:255]
    assert (world.counted, world.calls) == (0, calls)
    assert ("outside", DO, Event.VOID) in final_lines(row)
    assert ("local", DO, Event.VOID) in final_lines(row)


def test_a_result_that_arrives_after_its_step_was_undone_is_rejected(world):
    row = started()
    late = called(row)
    end_leases()
    start_compensation(row, "forced", "")
    assert stepping.advance(row.id) == Saga.State.COMPENSATED
    [late] = run_batch(late)
    assert is_released(late)
    assert world.counted == 0


def test_a_result_that_arrives_while_its_step_is_undone_is_not_recorded_as_the_undo(world):
    row = started()
    late = called(row)
    start_compensation(row, "forced", "")
    run_batch(late)
    assert ("outside", UNDO, Event.DONE) not in final_lines(row)
    end_leases()
    assert stepping.advance(row.id) == Saga.State.COMPENSATED
    assert world.calls[-1] == "undo"


def test_the_result_of_one_step_is_not_recorded_for_another(world):
    row = started()
    wrong = called(row)
    wrong.open_call = f"tell {DO}"
    run_batch(wrong)
    assert [step for step, _, _ in final_lines(row)] == ["local"]


def test_a_local_step_that_refuses_leaves_nothing_of_its_earlier_writes(world):
    row = started()
    world.refuses = True
    assert stepping.advance(row.id) == Saga.State.COMPENSATED
    assert world.counted == 0
    assert again(row.id).failure_code == "not_today"


def test_a_call_without_a_reply_or_with_an_error_is_retried_later_and_its_lease_is_released(world):
    row = started()
    world.result = StepResult(Event.FAILED, "no answer")
    assert stepping.advance(row.id) == Saga.State.RUNNING
    waiting = again(row.id)
    assert (waiting.leased_until, waiting.attempts) == (None, 1)
    assert waiting.next_attempt_at > clock.now()
    world.result, world.meanwhile = StepResult(Event.DONE), lambda: 1 / 0  # type: ignore[return-value]
    assert stepping.advance(row.id) == Saga.State.RUNNING
    assert "ZeroDivisionError" in again(row.id).last_error
    world.meanwhile = lambda: None
    assert stepping.advance(row.id) == Saga.State.DONE
    assert [one.is_repeat for one in world.attempts] == [False, True, True, False]


def test_past_the_point_of_no_return_it_is_stuck_and_still_retried(world):
    row = started(done=["local", "outside", "pivot"])
    set_columns(row, deadline_at=row.created_at)
    world.result = StepResult(Event.FAILED, "no answer")
    assert stepping.advance(row.id) == Saga.State.STUCK
    world.result = StepResult(Event.DONE)
    assert stepping.advance(row.id) == Saga.State.DONE


def test_a_new_saga_is_due_though_the_clock_of_who_began_it_is_ahead(world):
    with clock.shifted(by=timedelta(minutes=15)):
        row = started()
    assert [saga.id for saga in stepping.due(limit=10)] == [row.id]
    assert state.oldest_due_seconds() == 0


def test_a_saga_is_due_at_its_start_and_when_its_lease_has_lapsed(world):
    row = started()
    assert [saga.id for saga in stepping.due(limit=10)] == [row.id]
    run_batch(copy_of(row))
    assert stepping.due(limit=10) == []
    set_columns(row, next_attempt_at=clock.now(), leased_until=clock.now())
    [found] = stepping.due(limit=10)
    assert (found.id, found.lease_token) == (row.id, "")


@pytest.fixture
def forward_only(world, monkeypatch):
    """A saga type whose first step has no undo: it can't be compensated."""
    steps = OutsideStep("outside", do=world.call("do")), LocalStep("local", do=world.count(1))
    never = {"on_compensated": lambda sagas: pytest.fail("it was undone")}
    monkeypatch.setitem(SAGA_TYPES, "forward", SagaType(steps, lock=lock_nothing, **never))
    return world


def test_without_compensation_an_outside_refusal_is_a_failed_attempt(forward_only):
    row = started(kind="forward")
    forward_only.result = StepResult(Event.REFUSED, "no", code="declined")
    assert stepping.advance(row.id) == Saga.State.RUNNING
    waiting = again(row.id)
    assert (waiting.direction, waiting.attempts, waiting.failure_code) == (DO, 1, "")
    assert waiting.last_error == "refused: no"
    set_columns(row, deadline_at=row.created_at)
    assert stepping.advance(row.id) == Saga.State.STUCK
    forward_only.result = StepResult(Event.DONE)
    assert stepping.advance(row.id) == Saga.State.DONE
    assert forward_only.counted == 1


@pytest.mark.parametrize(
    ("kind", "done", "counted", "calls"),
    [("forward", [], 1, ["do"]), ("test", ["local", "outside"], 10, ["tell"])],
    ids=["without compensation", "past the point of no return"],
)
def test_a_local_refusal_writes_nothing_and_is_retried(forward_only, kind, done, counted, calls):
    row = started(kind=kind, done=done)
    forward_only.refuses = True
    assert stepping.advance(row.id) == Saga.State.RUNNING
    assert (again(row.id).direction, forward_only.counted) == (DO, 0)
    forward_only.refuses = False
    assert stepping.advance(row.id) == Saga.State.DONE
    assert (forward_only.counted, forward_only.calls) == (counted, calls)


def test_a_local_step_is_undone_between_two_outside_ones(world):
    first = OutsideStep("first", do=world.call("do first"), undo=world.call("undo first"))
    SAGA_TYPES["test"] = replace(SAGA_TYPES["test"], steps=(first, *SAGA_TYPES["test"].steps[:2]))
    Product.objects.update(on_hand=1)
    row = started(done=["first", "local"])
    start_compensation(row, "forced", "")
    set_columns(row, open_call=f"outside {DO}")
    assert stepping.advance(row.id) == Saga.State.COMPENSATED
    assert (world.counted, world.calls) == (0, ["undo", "undo first"])


def test_a_call_that_is_open_is_looked_up_though_a_release_put_a_step_before_it(world):
    """The new step was called, and the one in doubt then repeated without a look-up."""
    row = started()
    world.result = StepResult(Event.FAILED, "no answer")
    stepping.advance(row.id)
    before = OutsideStep("before", do=world.call("do before"), undo=world.call("undo before"))
    local, outside, *others = SAGA_TYPES["test"].steps
    SAGA_TYPES["test"] = replace(SAGA_TYPES["test"], steps=(local, before, outside, *others))
    world.result = StepResult(Event.DONE)
    assert stepping.advance(row.id) == Saga.State.DONE
    assert world.calls == ["do", "do", "do before", "tell"]
    assert [one.is_repeat for one in world.attempts] == [False, True, False, False]


def test_a_lost_lease_counts_as_an_attempt(world):
    row = started()
    called(row)
    end_leases()
    world.result = StepResult(Event.PENDING)
    stepping.advance(row.id)
    assert again(row.id).attempts == 2
    lines = SagaLog.objects.filter(saga=row, attempt__gt=0).order_by("attempt")
    assert list(lines.values_list("event", flat=True)) == ["failed", "pending"]


def test_a_saga_whose_leases_are_always_lost_is_stuck_past_its_deadline(world):
    """Past the point of no return; before it the compensation would have started."""
    row = started(done=["local", "outside", "pivot"])
    run_batch(copy_of(row))
    end_leases()
    set_columns(row, deadline_at=row.created_at)
    run_batch(copy_of(row), token="two")
    assert again(row.id).state == Saga.State.STUCK


def test_a_final_result_counts_even_if_another_worker_has_the_lease(world):
    row = started()
    slow = called(row)
    end_leases()
    other = called(row, token="two")
    [after] = run_batch(slow)
    assert not is_released(after)
    assert ("outside", DO, Event.DONE) in final_lines(row)
    [after] = run_batch(other, token="two")
    assert is_released(after, token="two")
    assert world.counted == 11


def test_a_result_that_is_not_final_does_not_count_once_the_lease_is_lost(world):
    row = started()
    slow = called(row, StepResult(Event.FAILED, "no answer"))
    end_leases()
    called(row, token="two")
    before = again(row.id).attempts
    [slow] = run_batch(slow)
    assert is_released(slow)
    assert again(row.id).attempts == before


def test_a_saga_that_rests_since_it_was_found_is_left_alone_until_it_is_due(world):
    row = started()
    stale = copy_of(row)
    [rests] = run_batch(called(row, StepResult(Event.FAILED, "no answer"), token="two"), token="two")
    assert is_released(rests, token="two")
    [after] = run_batch(stale)
    assert is_released(after)
    assert again(row.id).attempts == 1


def test_sagas_end_even_if_the_calls_of_two_workers_outlast_the_lease(world):
    """The call takes longer than a lease that is not renewed: the other worker takes over each time."""
    row = started()
    executors = [stepping.SteppedExecutor(), stepping.SteppedExecutor()]

    def take_over():
        end_leases()
        if executors:
            executors.pop().advance(row.id)

    world.meanwhile = take_over
    executors.pop().advance(row.id)
    world.meanwhile = lambda: None
    end_leases()
    stepping.advance(row.id)
    assert again(row.id).state == Saga.State.DONE
    assert world.counted == 11


def test_a_lease_is_renewed_once_a_third_of_it_is_over(world):
    row, executor = started(), stepping.SteppedExecutor()
    half = from_now(seconds=LEASE_SECONDS / 2)
    renewed = []

    def renew():
        set_columns(row, leased_until=half)
        executor._sagas[row.id].leased_until = half
        executor.renew_leases()
        renewed.append(again(row.id).leased_until)

    world.meanwhile = renew
    executor.advance(row.id)
    assert renewed and min(renewed) > half


def test_a_lease_that_another_worker_has_taken_is_not_renewed(world):
    row, executor = started(), stepping.SteppedExecutor()
    theirs = from_now(seconds=3)

    def lose():
        set_columns(row, lease_token="other", leased_until=theirs)
        executor.renew_leases()

    world.meanwhile = lose
    executor.advance(row.id)
    assert again(row.id).state == Saga.State.DONE or again(row.id).leased_until == theirs
