"""The circuit breaker of the gateway, one in each process: while the gateway is not reachable, calls fail
without waiting. Only missing replies count: any HTTP answer, even a 500, shows that it is reachable.
"""

from shop.outbound.circuit_breaker import CircuitBreaker

FAILURES_TO_OPEN = 10
"""In a row: a single card may make a gateway time out, and the next answer resets the count."""
OPEN_SECONDS = 2


class NoAnswer(Exception):
    """The gateway gave no usable answer. The text says what came instead, and contains no card's token."""


breaker = CircuitBreaker("gateway", failures=FAILURES_TO_OPEN, seconds=OPEN_SECONDS)
forget = breaker.record_success
