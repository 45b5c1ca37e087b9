"""What a process keeps between requests, and how a test has it begin anew."""

from typing import Any

from foundation import clock, journal
from foundation.concurrency import shared_read, thread_pool
from foundation.concurrency.thread_pool import ThreadPool
from foundation.db import secondary
from foundation.outbound import http_client
from foundation.rates import rate_limits, throttling


def follow_host():
    """Stop measuring the database's clock, and use the host's wall clock from now on."""
    with clock._mutex:
        if clock._measuring is not None:
            clock._measuring.stop(within_seconds=60)
        clock._has_begun, clock._measuring, clock._base = True, None, None


def forget_shared_reads():
    for one in list(shared_read._all):
        one.forget()


def age(shared: shared_read.SharedRead[Any], seconds: float):
    """As if the last reading had been made so many seconds earlier."""
    last = shared._last
    shared._last = last._replace(began_at=last.began_at - seconds, is_due_at=last.is_due_at - seconds)


def forget_secondary():
    secondary._rest_until = 0.0


def forget_attempts():
    """Empty the windows that are in memory while Redis is away."""
    with throttling._mutex:
        throttling._windows.clear()


def forget_calls():
    """Drop everything that this process has counted of accounts' calls."""
    for limit in (*rate_limits.LIMITS, *rate_limits.OTHER_LIMITS):
        limit._calls.clear()
        limit._unsent.clear()


def renew_threads(*pools: ThreadPool):
    """Have the threads of these pools, or of all, end once they have no task, and close their connections."""
    for pool in pools or list(thread_pool._pools):
        with pool._mutex:
            pool._threads.clear()
            for signal in pool._idle:
                signal.release()
            pool._idle.clear()


def forget_connections():
    """Close the connections that are kept to other systems: a later test's may be given the port of one."""
    with http_client._mutex:
        http_client._idle.clear()


def forget_actor():
    """Attribute what a test does outside of a call to the system, whoever an earlier test acted for."""
    journal._current_actor.set(journal.SYSTEM)
