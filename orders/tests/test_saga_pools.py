"""The pools of the saga executor in the metrics: how many threads they may have, are busy, and what waits."""

import threading

from prometheus_client import REGISTRY

from orders.saga.pools import ThreadPools
from shop.tests.racing import wait_until


def sampled(pools: ThreadPools, pool: str) -> tuple[float | None, ...]:
    pools.sample()
    names = ("threads", "busy", "waiting")
    return tuple(
        REGISTRY.get_sample_value(f"firstcome_pool_{name}", {"pool": f"saga_{pool}"}) for name in names
    )


def test_tasks_are_busy_or_wait_until_they_end_also_by_an_error() -> None:
    pools, may_end = ThreadPools({"test": 2}), threading.Event()

    def wait() -> None:
        assert may_end.wait(30)
        raise ValueError("logged")

    for _ in range(5):
        pools.submit("test", wait)
    assert sampled(pools, "test") == (2, 2, 3)
    may_end.set()
    wait_until(lambda: sampled(pools, "test") == (2, 0, 0))
