"""Causes in processes: stopped, frozen, with a wrong clock, or without their queue."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from lab.alerts.stage import Stage, undone
from lab.chaos import faults
from lab.chaos.faults import Fault
from scripts.stack import children, process_identity, readiness, supervision
from scripts.stack.programs import faketime

AHEAD_SECONDS = 300
QUEUE = "celery"
CONTROL_SECONDS = 60


def frozen(name: str) -> Callable[[Stage], AbstractContextManager[None]]:
    """The process gets no processor time."""
    return lambda stage: faults.lasting(Fault("freeze", name, 0), stage.instance)


def stopped(name: str) -> Callable[[Stage], AbstractContextManager[None]]:
    """The process is down; afterwards the shop is ready again."""

    @contextmanager
    def make(stage: Stage) -> Iterator[None]:
        with faults.lasting(Fault("down", name, 0), stage.instance):
            yield
        readiness.wait_for_shop(stage.instance)

    return make


def exporter_stopped(stage: Stage) -> AbstractContextManager[None]:
    stage.watchers.stop_redis_exporter()
    return undone(stage.watchers.restart_redis_exporter)


def clock_ahead(stage: Stage) -> AbstractContextManager[None]:
    faketime.set_offset(stage.offset_file, AHEAD_SECONDS)
    return undone(lambda: faketime.set_offset(stage.offset_file, 0))


@contextmanager
def issuers_frozen(stage: Stage) -> Iterator[None]:
    with frozen("issuer")(stage), process_identity.frozen({stage.issuer.pid}):
        yield


def broker_stopped(stage: Stage) -> AbstractContextManager[None]:
    stage.stop_broker()
    return undone(stage.restart_broker)


def consumer_cancelled(stage: Stage) -> AbstractContextManager[None]:
    """By Celery's own remote control, as an operator may do it and forget it."""
    _control(stage, "cancel_consumer")
    return undone(lambda: _control(stage, "add_consumer"))


def _control(stage: Stage, what: str) -> None:
    """Raises SetupError when the worker does not confirm it."""
    command = [sys.executable, "-m", "celery", "-A", "shop", "control", what, QUEUE]
    own = supervision.environment(stage.instance)
    children.printed(children.run(command, within_seconds=CONTROL_SECONDS, environment=own))
