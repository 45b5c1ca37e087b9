"""What the servers in ops/kubernetes have to bear when the most pods run: connections and memory."""

import math
import re

import pytest
from django.conf import settings

from accounts.signing_in.password_hashing import HASHING_POOL
from coupons.queue import worker as queue_worker
from orders.saga import run
from scripts.tests import manifests
from shop.concurrency.thread_pool import ACCOUNTS_POOL, LOOKUP_POOL, PROBE_POOL, WELCOME_POOL
from shop.operations import dispatch, health

pytestmark = pytest.mark.boots("kubectl")

MIB, GIB = 2**20, 2**30
UNITS = {"M": MIB, "G": GIB, "Mi": MIB, "Gi": GIB}
POD_STARTS_SECONDS = 20
"""How soon a new pod is available: then the next old one begins to end."""
WATCHERS = 4
"""Threads of every process: the clock, the database's watch, stuck rows, lost COMMITs."""
WAITING_ROOMS = 1
"""The thread of a web process that advances them."""
SCRAPE = 2
OUTSIDE_CALLS = {"outside_call", "recovery"}
"""Threads of the saga executor that use no connection."""
SAGA_EXECUTOR = sum(size for pool, size in run.POOL_SIZES.items() if pool not in OUTSIDE_CALLS) + 1
"""And the thread that renews leases."""
WORK_IN_PLACE_OF_WORKERS = dispatch.THREADS + SAGA_EXECUTOR
"""In a process that dispatches, while the broker is away."""
OTHERS = 40
"""Migrations and their checks, the exporter, the operator, commands and people."""

POOL_OVERHEAD = 1.1
"""MySQL allocates about a tenth more than innodb_buffer_pool_size, for its control structures."""
MESSAGE_CACHE_STRUCTURES = 50 * MIB
"""Beside group_replication_message_cache_size, by MySQL's manual."""
CONNECTION = MIB
"""Its thread, buffers, caches of the binary log and rows of the performance schema: an estimate."""
PERFORMANCE_SCHEMA = 400 * MIB
SERVER = 512 * MIB
"""Code, log buffer, cached tables, appliers and what certification remembers."""
ROUTER, ROUTER_CONNECTION = 100 * MIB, 200 * 1024
USED = 0.95
"""Of a limit, at most."""


def test_the_database_and_its_routers_accept_the_connections_of_all_pods():
    needed = sum(pods * connections for pods, connections in _pods_and_connections().values()) + OTHERS
    assert int(manifests.mycnf()["max_connections"]) >= needed
    # Either Router may be alone.
    assert _router_connections() >= needed


def test_the_memory_of_mysql_holds_its_caches_and_the_connections_that_it_accepts():
    mycnf = manifests.mycnf()
    used = (
        _bytes(mycnf["innodb_buffer_pool_size"]) * POOL_OVERHEAD
        + _bytes(mycnf["loose_group_replication_message_cache_size"])
        + MESSAGE_CACHE_STRUCTURES
        + _bytes(mycnf["temptable_max_ram"])
        + int(mycnf["max_connections"]) * CONNECTION
        + PERFORMANCE_SCHEMA
        + SERVER
    )
    [mysql] = manifests.mysql()["podSpec"]["containers"]
    assert used <= USED * _bytes(mysql["resources"]["limits"]["memory"])
    # A node must have it all: a member that is killed for want of memory is a failover.
    assert mysql["resources"]["requests"]["memory"] == mysql["resources"]["limits"]["memory"]


def test_the_message_cache_is_no_smaller_than_mysql_allows_and_than_a_transaction():
    # group_replication_transaction_size_limit is 150 MB by default.
    cache = _bytes(manifests.mycnf()["loose_group_replication_message_cache_size"])
    assert cache >= max(128 * MIB, 150_000_000)


def test_the_memory_of_a_router_holds_the_connections_that_it_accepts():
    [router] = manifests.mysql()["router"]["podSpec"]["containers"]
    used = ROUTER + _router_connections() * ROUTER_CONNECTION
    assert used <= USED * _bytes(router["resources"]["limits"]["memory"])


def _pods_and_connections() -> dict[str, tuple[int, int]]:
    """Of each process: how many pods there are at once, and how many connections each has, at most."""
    variables = manifests.environment(manifests.PRODUCTION, _container("web"))
    of_web_process = (
        int(variables["WEB_THREADS"])
        + LOOKUP_POOL._max_threads
        + HASHING_POOL._max_threads
        + ACCOUNTS_POOL._max_threads
        + WELCOME_POOL._max_threads
        + PROBE_POOL._max_threads * SCRAPE
        + len(health.CHECKS)
        + WATCHERS
        + WAITING_ROOMS
        + WORK_IN_PLACE_OF_WORKERS
    )
    worker_command = _container("worker")["command"]
    of_worker = int(worker_command[worker_command.index("--concurrency") + 1]) + WORK_IN_PLACE_OF_WORKERS
    partners = queue_worker.QUEUES_AT_ONCE[queue_worker.BATCH_WITH_PARTNER] * queue_worker.PARTNER_THREADS
    of_issuer = 1 + sum(queue_worker.QUEUES_AT_ONCE.values()) + partners + dispatch.THREADS
    of_beat = 1 + len(settings.CELERY_BEAT_SCHEDULE) + WORK_IN_PLACE_OF_WORKERS
    connections = {
        "web": int(variables["WEB_WORKERS"]) * of_web_process,
        "worker": of_worker + WATCHERS + SCRAPE,
        "issuer": of_issuer + WATCHERS + SCRAPE,
        "beat": of_beat + WATCHERS + SCRAPE,
    }
    return {name: (_pods(name), most) for name, most in connections.items()}


def _pods(name: str) -> int:
    """In an update: all of its pods, the one more, and the old ones that are still ending."""
    workload = manifests.of_the_shop(manifests.PRODUCTION)[name]
    replicas = workload["spec"].get("replicas") or manifests.autoscaler()["maxReplicas"]
    surge = workload["spec"]["strategy"]["rollingUpdate"]["maxSurge"]
    ending = math.ceil(manifests.pod(workload)["terminationGracePeriodSeconds"] / POD_STARTS_SECONDS)
    # There are no more old pods, and no more new ones, than replicas.
    return int(min(replicas + surge + ending, 2 * replicas))


def _container(name: str) -> manifests.Manifest:
    return manifests.container(manifests.of_the_shop(manifests.PRODUCTION)[name])


def _router_connections() -> int:
    [most] = [
        option.rpartition("=")[2]
        for option in manifests.mysql()["router"]["bootstrapOptions"]
        if "max_total_connections" in option
    ]
    return int(most)


def _bytes(quantity: str) -> int:
    number, unit = re.findall(r"^(\d+)([A-Z]i?)$", quantity)[0]
    return int(number) * UNITS[unit]
