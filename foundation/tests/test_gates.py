"""What gates have in common, on a real Redis."""

from foundation.redis import gates

KEY = "firstcome:{a gate of tests}:in-flight"
NOW, SECONDS = 5_000.0, 2.5


def test_overdue_requests_are_found_whose_clock_was_behind_or_ahead_and_so_many_at_once(redis_server):
    late = {f"late {number}": "4997.4" for number in range(gates.AT_ONCE)}
    punctual = {"recent": "4997.6", "now": "5000", "a little ahead": "5002.4"}
    redis_server.hset(KEY, mapping=late | punctual | {"ahead": "5002.6"})

    found = list(gates.overdue(redis_server, KEY, admitted_at=float, now=NOW, seconds=SECONDS))

    assert [len(some) for some in found] == [gates.AT_ONCE, 1]
    assert found[0] | found[1] == late | {"ahead": "5002.6"}


def test_records_may_be_deleted_while_they_are_walked(redis_server):
    redis_server.hset(KEY, mapping={f"late {number}": "1" for number in range(3 * gates.AT_ONCE)})

    for some in gates.overdue(redis_server, KEY, admitted_at=float, now=NOW, seconds=SECONDS):
        redis_server.hdel(KEY, *some)

    assert not redis_server.exists(KEY)


def test_a_gate_is_asked_again_as_long_as_it_was_filled_but_not_forever():
    replies = iter(["empty", "empty", "in"])
    assert gates.ask(lambda: next(replies), fill=lambda reply: reply == "empty") == "in"

    asked = list[str]()
    assert gates.ask(lambda: asked.append("empty") or "empty", fill=lambda _reply: True) == "empty"
    assert len(asked) == gates.ATTEMPTS

    asked.clear()
    assert gates.ask(lambda: asked.append("empty") or "empty", fill=lambda _reply: False) == "empty"
    assert len(asked) == 1
