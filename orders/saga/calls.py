"""Makes the calls of sagas to other systems, in pools: sagas at one step may share calls."""

import threading
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack
from functools import partial

from structlog import get_logger

from orders.saga import observation
from orders.saga.definitions import (
    DO,
    RECOVERY,
    Attempt,
    OutsideCall,
    OutsideStep,
    SagaRun,
    StepResult,
    call_name,
    slot_of,
    unexpected_failure,
)
from orders.saga.pools import Pools

logger = get_logger(__name__)
Releasing = Callable[[Sequence[SagaRun]], AbstractContextManager[ExitStack]]
"""Releases the runs when the block ends, unless it has passed them on and called `pop_all`."""


class OutsideCalls:
    """The calls of an executor's sagas; `return_runs` takes the runs back with the results of their calls."""

    def __init__(
        self,
        *,
        pools: Pools,
        failpoint: Callable[[str], None],
        releasing: Releasing,
        return_runs: Callable[[Sequence[SagaRun]], None],
    ) -> None:
        self._pools = pools
        self._failpoint = failpoint
        self._releasing = releasing
        self._return_runs = return_runs
        self._mutex = threading.Lock()
        self._gathering: dict[OutsideStep, list[tuple[SagaRun, Attempt]]] = defaultdict(list)

    def make(self, step: OutsideStep, direction: str, attempts: Sequence[tuple[SagaRun, Attempt]]) -> None:
        """Make the calls of these sagas, which have slots; where the step gathers, with those that follow."""
        if step.gather_seconds and direction == DO:
            self._gather(step, attempts)
        else:
            self._prepare(step, direction, attempts)

    def _gather(self, step: OutsideStep, attempts: Sequence[tuple[SagaRun, Attempt]]) -> None:
        """Collect sagas at this step for `gather_seconds`, so that they share calls."""
        with self._mutex:
            is_first = not self._gathering[step]
            self._gathering[step] += attempts
        if is_first:
            try:
                self._pools.submit_later(step.gather_seconds, step.pool, partial(self._call_gathered, step))
            except RuntimeError:
                # No timer thread can be started: call without gathering.
                self._call_gathered(step)

    def _call_gathered(self, step: OutsideStep) -> None:
        with self._mutex:
            attempts = self._gathering.pop(step)
        self._prepare(step, DO, attempts)

    def _prepare(
        self, step: OutsideStep, direction: str, attempts: Sequence[tuple[SagaRun, Attempt]]
    ) -> None:
        """Submit the calls of these sagas; if preparing them together fails, prepare them one by one."""
        prepare = step.do if direction == DO else step.undo
        assert prepare
        runs = {run.saga_id: run for run, _ in attempts}
        repeats = {attempt.saga.id for _, attempt in attempts if attempt.is_repeat}
        try:
            calls = prepare([attempt for _, attempt in attempts])
        except Exception as error:
            logger.warning("calls could not be prepared", step=step.name, exc_info=error)
            if len(attempts) > 1:
                for single in attempts:
                    self._pools.submit("single", partial(self._prepare, step, direction, [single]))
            else:
                results = [unexpected_failure(error)] * len(runs)
                self._return_results(step, direction, list(runs.values()), results)
            return
        for call in calls:
            called = [runs[saga.id] for saga in call.sagas]
            is_repeat = any(saga.id in repeats for saga in call.sagas)
            pool = "recovery" if slot_of(step, direction, is_repeat=is_repeat) == RECOVERY else step.pool
            self._pools.submit(pool, partial(self._call, step, direction, call, called))

    def _call(self, step: OutsideStep, direction: str, call: OutsideCall, runs: Sequence[SagaRun]) -> None:
        name = call_name(step.name, direction)
        with self._releasing(runs) as stack, observation.observe_runs(f"saga step {name}", runs):
            self._failpoint(f"{name} calling")
            try:
                with observation.measured(step.name):
                    results: Sequence[StepResult] = call.make()
            except Exception as error:
                logger.warning("call outside failed", call=name, exc_info=error)
                results = [unexpected_failure(error)] * len(runs)
            self._failpoint(f"{name} called")
            self._return_results(step, direction, runs, results)
            stack.pop_all()

    def _return_results(
        self, step: OutsideStep, direction: str, runs: Sequence[SagaRun], results: Sequence[StepResult]
    ) -> None:
        """Give these runs the results of their calls, which their next batch records."""
        for run, result in zip(runs, results, strict=True):
            run.step, run.direction, run.result = step.name, direction, result
        self._return_runs(runs)
