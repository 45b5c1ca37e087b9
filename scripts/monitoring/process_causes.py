"""Causes in processes: stopped, frozen, with a wrong clock, or without their queue."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from scripts.chaos import faults
from scripts.chaos.faults import Fault
from scripts.monitoring.stage import Stage
from scripts.stack import SetupError, places, readiness, supervision
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


@contextmanager
def exporter_stopped(stage: Stage) -> Iterator[None]:
    stage.watchers.stop_redis_exporter()
    try:
        yield
    finally:
        stage.watchers.restart_redis_exporter()


@contextmanager
def clock_ahead(stage: Stage) -> Iterator[None]:
    faketime.set_offset(stage.offset_file, AHEAD_SECONDS)
    try:
        yield
    finally:
        faketime.set_offset(stage.offset_file, 0)


@contextmanager
def issuers_frozen(stage: Stage) -> Iterator[None]:
    with frozen("issuer")(stage):
        os.kill(stage.issuer.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(stage.issuer.pid, signal.SIGCONT)


@contextmanager
def broker_stopped(stage: Stage) -> Iterator[None]:
    stage.stop_broker()
    try:
        yield
    finally:
        stage.restart_broker()


@contextmanager
def consumer_cancelled(stage: Stage) -> Iterator[None]:
    """By Celery's own remote control, as an operator may do it and forget it."""
    _control(stage, "cancel_consumer")
    try:
        yield
    finally:
        _control(stage, "add_consumer")


def _control(stage: Stage, what: str) -> None:
    """Raises SetupError when the worker does not confirm it."""
    ran = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "shop", "control", what, QUEUE],
        cwd=places.PROJECT,
        env=supervision.environment(stage.instance),
        capture_output=True,
        text=True,
        timeout=CONTROL_SECONDS,
    )
    if ran.returncode != 0:
        raise SetupError(f"celery control {what} ended with {ran.returncode}: {ran.stdout}{ran.stderr}")
