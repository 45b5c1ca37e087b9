"""A circuit breaker before the gateway: when it is away, workers hear so at once instead of waiting for it.

One process has one. Only silence counts: no connection, no reply in time, a broken connection. Any HTTP
answer, a 500 too, says that somebody is there.
"""

from shop.outbound.circuit import Circuit

FAILURES_TO_OPEN = 10
"""In a row: a single card may well make a gateway time out, and other cards then count it away again."""
OPEN_SECONDS = 2


class NoAnswer(Exception):
    """Nothing came back that says what happened. The text says what came instead, and names no card."""


class GatewayUnreachable(NoAnswer):
    """Nobody answered, as if nobody were there."""


circuit = Circuit(
    "gateway",
    failures=FAILURES_TO_OPEN,
    seconds=OPEN_SECONDS,
    counted=GatewayUnreachable,
    away=lambda: NoAnswer("the gateway is away; it is asked again soon"),
)
watched, forget = circuit.watched, circuit.forget
