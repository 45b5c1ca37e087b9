"""Checks of how the processes are started: unsafe settings, pending migrations, and clocks: processes use the
database's, and refuse to start if the host's differs too much.
"""

import time
from collections.abc import Iterator
from contextlib import suppress

from django.conf import settings
from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor
from redis.exceptions import RedisError

from shop import clock, configuration
from shop.operations.doctor.findings import Finding, judge
from shop.redis import redis_client


def examine() -> list[Finding]:
    debug, hosts, proxies = settings.DEBUG, settings.ALLOWED_HOSTS, settings.TRUSTED_PROXIES
    of_events, webhook = settings.EVENT_SECRET, f"WEBHOOK_SECRET_{settings.PAYMENT_GATEWAY.upper()}"
    of_webhooks = getattr(settings, webhook)
    return [
        judge("DEBUG", _on(debug), debug),
        *_keys(),
        judge("EVENT_SECRET", "set" if of_events else "empty", not (of_events or debug)),
        judge(webhook, "set" if of_webhooks else "empty", not of_webhooks, "webhook secret"),
        judge("ALLOWED_HOSTS", ", ".join(hosts), "*" in hosts),
        judge("TRUSTED_PROXIES", proxies, settings.HTTPS and proxies < 1),
        judge("DEMO", _on(settings.DEMO), settings.DEMO and not settings.IS_MAKE_RUN),
        judge("LAB", _on(settings.LAB), settings.LAB),
        migrations(),
        *clocks(),
    ]


def _keys() -> Iterator[Finding]:
    """Whether the keys can be guessed; which key signs tokens, and which others are valid."""
    key, former = settings.SECRET_KEY, len(settings.SECRET_KEY_FALLBACKS)
    weakness = configuration.secret_key_weakness(key)
    found = f"{len(key)} characters" + f", and {former} former valid too" * bool(former)
    yield judge("SECRET_KEY", weakness or found, bool(weakness))
    name, signing = "TOKEN_SIGNING_KEYS", settings.TOKEN_SIGNING_KEYS
    fewest = configuration.FEWEST_DISTINCT_CHARACTERS
    if weak := [key_id for key_id, key in signing if key_id and len(set(key)) < fewest]:
        yield judge(name, f"guessable: {', '.join(weak)}", True, "guessable token key")
        return
    first, *others = (key_id or "SECRET_KEY" for key_id, _ in signing)
    found = f"{first} signs" + (f"; also valid: {', '.join(others)}" if others else "")
    yield judge(name, found, first == "SECRET_KEY")


def migrations() -> Finding:
    try:
        executor = MigrationExecutor(connection)
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except Error as error:
        return judge("migrations", f"can't be read: {error}", True, "unreadable migrations")
    names = ", ".join(str(migration) for migration, _ in plan[:5])
    return judge("migrations", f"{len(plan)} pending: {names}" if plan else "all applied", bool(plan))


def _on(value: bool) -> str:
    return "on" if value else "off"


def clocks() -> Iterator[Finding]:
    """How far servers' clocks differ from the host's; one that can't be reached has its own findings."""
    if connection.vendor == "mysql":
        with suppress(Error):
            # The measurement that the processes themselves use.
            yield clock_finding("database clock", -clock.measure().host_offset_seconds)
    with suppress(RedisError):
        _redis_seconds()  # connects
        started_at = time.time()
        theirs = _redis_seconds()
        # Redis read its clock half a round trip before the reply.
        yield clock_finding("Redis clock", theirs - (started_at + time.time()) / 2)


def clock_finding(check: str, ahead_seconds: float) -> Finding:
    """The finding for a server whose clock is this far ahead of the host's."""
    skew, limit = abs(ahead_seconds), settings.CLOCK_SKEW_SECONDS
    problem = "clock" if skew > limit else "clock, slightly"
    return judge(check, f"{ahead_seconds:+.3f} s from this machine's", skew > limit / 2, problem)


def _redis_seconds() -> float:
    seconds, microseconds = redis_client.client().time()
    return float(seconds) + float(microseconds) / 1_000_000
