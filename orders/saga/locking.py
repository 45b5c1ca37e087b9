"""Locks the sagas of a batch with the rows that precede them in the lock order, and reads them again."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from orders.saga import log
from orders.saga.definitions import LockedSaga, SagaRow, SagaRun, type_of
from orders.saga.step_results import WITHOUT_PARENT


@dataclass(frozen=True, slots=True)
class LockedRuns:
    """The sagas that are locked, and the runs of those that another transaction holds or that don't exist."""

    sagas: list[LockedSaga] = field(default_factory=list)
    locked_elsewhere: list[SagaRun] = field(default_factory=list)
    missing: list[SagaRun] = field(default_factory=list)


def lock_sagas(runs: Sequence[SagaRun], *, token: str, is_single: bool) -> LockedRuns:
    """Lock the sagas of these runs for the executor of this token.

    A single batch (`is_single`) waits for rows that are locked, and reads everything again; any other leaves
    out the sagas whose rows are locked, and trusts the copies of those whose lease it holds.
    """
    unread = [run.saga_id for run in runs if run.saga is None or is_single]
    sagas = log.read_sagas(unread)
    sagas |= {run.saga_id: run.saga for run in runs if run.saga_id not in sagas and run.saga}
    parents = _lock_parents(sagas, is_single=is_single)
    # A single batch waits for locked rows: a row that it has not locked doesn't exist.
    locked = log.read_sagas(sagas if is_single else parents, is_locked=True)
    # The lease holder's copy is current; the final results of other sagas are read.
    known = {
        run.saga_id: run.saga.final
        for run in runs
        if run.saga
        and not is_single
        and run.saga.lease_token == token
        and _is_leased(locked.get(run.saga_id), token)
    }
    final = log.final_results([saga_id for saga_id in locked if saga_id not in known]) | known
    found = LockedRuns()
    for run in runs:
        saga = locked.get(run.saga_id)
        if saga:
            saga.final, saga.parent = dict(final.get(saga.id, {})), parents.get(saga.id)
            failure = run.failure if saga.id in parents else WITHOUT_PARENT
            found.sagas.append(
                LockedSaga(run, saga, type_of(saga), run.step, run.direction, run.result, failure)
            )
        elif run.saga_id in sagas and run.saga_id not in parents:
            found.locked_elsewhere.append(run)
        else:
            found.missing.append(run)
    return found


def _lock_parents(sagas: Mapping[UUID, SagaRow], *, is_single: bool) -> dict[UUID, Any]:
    by_type: dict[str, list[SagaRow]] = defaultdict(list)
    for saga in sagas.values():
        by_type[saga.kind].append(saga)
    parents: dict[UUID, Any] = {}
    for name in sorted(by_type):
        parents |= type_of(by_type[name][0]).lock(by_type[name], not is_single)
    return parents


def _is_leased(saga: SagaRow | None, token: str) -> bool:
    return saga is not None and saga.lease_token == token
