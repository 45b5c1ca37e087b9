"""The circuit breaker of the gateway: while the gateway is not reachable, calls fail without waiting.

Each process has its own. Only missing replies count: no connection, no reply in time, a broken connection.
Any HTTP answer, even a 500, shows that the gateway is reachable.
"""

from shop.outbound.circuit_breaker import CircuitBreaker

FAILURES_TO_OPEN = 10
"""In a row: a single card may make a gateway time out, and the next answer resets the count."""
OPEN_SECONDS = 2


class NoAnswer(Exception):
    """The gateway gave no usable answer. The text says what came instead, and contains no card's token."""


breaker = CircuitBreaker("gateway", failures=FAILURES_TO_OPEN, seconds=OPEN_SECONDS)
forget = breaker.record_success
