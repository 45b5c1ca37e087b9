"""The Redis of simulated runs replies to the shop's scripts as a real server does, by the simulated clock."""

from collections.abc import Callable
from typing import Any

import redis

from coupons import gate, pool_list
from coupons.queue import stream
from scripts.simulation.redis_server import Server
from shop.redis import locks

QUEUE = ("t:counter", "t:stream", "t:waiting")
LEASE = ("t:lease", "t:stream")
GATE = ("t:terms", "t:members", "t:flight", "t:numbers")
POOL = tuple(f"t:{name}" for name in pool_list.NAMES)


def replies(client: "redis.Redis") -> list[Any]:
    """What the scripts reply, without what the server's clock decides."""

    def run(script: str, keys: tuple[str, ...], *arguments: Any) -> Any:
        return client.eval(script, len(keys), *keys, *arguments)

    return [*_of_queue(client, run), *_of_gate(client, run), *_of_pool(client, run)]


def _of_queue(client: "redis.Redis", run: Callable[..., Any]) -> list[Any]:
    def read(issuer: str) -> Any:
        state, *entries = run(stream.READ, LEASE, issuer, 5000, 2)
        return state, [[position for _, position in found] for found in entries]

    found = [run(stream.ENQUEUE, QUEUE, 1, "a", 100, 0), run(stream.APPEND, QUEUE, 100, 7, 1, "7 a")]
    found += [run(stream.ENQUEUE, QUEUE, account, "b", 100, 7) for account in (1, 2, 2, 3)]
    found += [run(stream.APPEND, QUEUE, 100, 9), run(stream.APPEND, QUEUE, 100, "", 3, "9 c", 4, "10 d")]
    found += [read("one"), read("one"), read("other")]
    _, entries = run(stream.READ, LEASE, "one", 5000, 2)
    found += [run(stream.REMOVE, QUEUE[1:], entries[0][0], 1, entries[0][1]), read("one")]
    found += [client.eval(locks.RELEASE_SCRIPT, 1, LEASE[0], name) for name in ("other", "one")]
    return [*found, read("other"), run(stream.ENQUEUE, QUEUE, 5, "e", 100, 99), client.exists(*QUEUE)]


def _of_gate(client: "redis.Redis", run: Callable[..., Any]) -> list[Any]:
    def admit(account: int) -> Any:
        says, *ticket = run(gate.ADMIT, GATE, account)
        return says, [one.partition(b":")[0] for one in ticket]

    terms = (100, 3, 2, 0, "", 200)
    found = [admit(1), run(gate.OPEN, GATE[:2], *terms, 1), client.sadd(GATE[1], 1)]
    found += [run(gate.OPEN, GATE[:2], *terms, 1), *map(admit, (1, 2, 2, 3))]
    [ticket] = client.hvals(GATE[2])
    found += [run(gate.RELEASE_SLOTS, GATE[2:3], 2, "other"), run(gate.RELEASE_SLOTS, GATE[2:3], 2, ticket)]
    published = [run(gate.PUBLISH_TERMS, GATE[:2], 100, version, 2, 0, "", 200) for version in (2, 3, 4)]
    return [*found, *published, admit(3), run(gate.PUBLISH_TERMS, GATE[:2], 100, 5, 9, 0, "", 200)]


def _of_pool(client: "redis.Redis", run: Callable[..., Any]) -> list[Any]:
    def claim(account: int) -> Any:
        return run(pool_list.CLAIM_CODE, POOL, account, 100)

    found = [claim(1), run(pool_list.FILL, POOL, 0, 2, 100, 60_000, "A", "B"), claim(1), claim(1), claim(2)]
    found += [
        claim(3),
        run(pool_list.FILL, POOL, 0, 9, 100, 60_000),
        run(pool_list.FILL, POOL, 2, 2, 100, 60_000),
    ]
    found += [
        claim(3),
        run(pool_list.FIND_ABANDONED, POOL, 30, 10),
        run(pool_list.FIND_ABANDONED, POOL, -1, 10),
    ]
    found += [run(pool_list.RESOLVE_CODE, POOL, 2, code, "back") for code in ("A", "B", "B")]
    found += [run(pool_list.RESOLVE_CODE, POOL, 1, "A", "spent"), client.lrange(POOL[0], 0, -1), claim(4)]
    return [*found, run(pool_list.PUT_ONE, POOL, "C"), client.lrange(POOL[0], 0, -1)]


def test_the_shops_scripts_get_the_replies_of_a_real_server(redis_server: redis.Redis) -> None:
    simulated = Server(note=lambda text: None)
    assert replies(simulated.client) == replies(redis_server)
