"""Checks of how the processes are started: unsafe settings, and pending migrations."""

from django.conf import settings
from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor

from shop import configuration
from shop.accounts import demo_accounts, second_factor
from shop.operations.doctor.findings import Finding, Row, danger, judge, judge_all, ok, warning


def examine() -> list[Finding]:
    return [debug(), *keys(), *judge_all(_rows()), staff_otp(), lab(), migrations(), *demo()]


def debug() -> Finding:
    advice = "Set DEBUG=0: error pages would show internals, and each process would keep all its queries."
    return judge("DEBUG", _on(settings.DEBUG), settings.DEBUG, "danger", advice)


def lab() -> Finding:
    advice = "Set LAB=0 where coupons are worth something: the strategy `unsafe` issues too many."
    return judge("LAB", _on(settings.LAB), settings.LAB, "warning", advice)


def keys() -> list[Finding]:
    """Whether the keys can be guessed; which key signs tokens, and which others are valid."""
    key, former = settings.SECRET_KEY, len(settings.SECRET_KEY_FALLBACKS)
    weakness = configuration.secret_key_weakness(key)
    found = f"{len(key)} characters" + f", and {former} former valid too" * bool(former)
    advice = (
        "An attacker who guesses it can sign in as any account: set it to 50 random characters, and keep it "
        "secret."
    )
    name, signing = "TOKEN_SIGNING_KEYS", settings.TOKEN_SIGNING_KEYS
    of_sessions = judge("SECRET_KEY", weakness or found, bool(weakness), "danger", advice)
    fewest = configuration.FEWEST_DISTINCT_CHARACTERS
    if weak := [key_id for key_id, key in signing if key_id and len(set(key)) < fewest]:
        advice = "Tokens of such a key can be forged for any account: remove it at once, and make another."
        return [of_sessions, danger(name, f"guessable: {', '.join(weak)}", advice)]
    first, *others = (key_id or "SECRET_KEY" for key_id, _ in signing)
    found = f"{first} signs" + (f"; also valid: {', '.join(others)}" if others else "")
    advice = (
        "Give tokens a key of their own, which can be changed without signing accounts out: "
        "docs/operations.md, Tokens and their keys, has the steps."
    )
    return [of_sessions, judge(name, found, first == "SECRET_KEY", "warning", advice)]


def _rows() -> list[Row]:
    webhook_secret = f"WEBHOOK_SECRET_{settings.PAYMENT_GATEWAY.upper()}"
    return [
        (
            "EVENT_SECRET",
            _set(settings.EVENT_SECRET),
            not (settings.EVENT_SECRET or settings.DEBUG),
            "danger",
            "Events are unsigned, so anyone could send events to the data platform: set it on both sides.",
        ),
        (
            webhook_secret,
            _set(getattr(settings, webhook_secret)),
            not getattr(settings, webhook_secret),
            "warning",
            "No webhook is accepted, so late payment results are noticed late: set it on both sides.",
        ),
        (
            "ALLOWED_HOSTS",
            ", ".join(settings.ALLOWED_HOSTS),
            "*" in settings.ALLOWED_HOSTS,
            "warning",
            "Name the hosts: a forged Host header would end up in the links of responses.",
        ),
        (
            "TRUSTED_PROXIES",
            settings.TRUSTED_PROXIES,
            settings.HTTPS and settings.TRUSTED_PROXIES < 1,
            "warning",
            "HTTPS=1 says that a proxy is in front: set TRUSTED_PROXIES to how many there are, or clients "
            "share its address and its limits. Proxies must drop headers whose names have underscores.",
        ),
        (
            "DEMO",
            _on(settings.DEMO),
            settings.DEMO and not settings.IS_MAKE_RUN,
            "warning",
            "Set DEMO=0 where customers buy: /demo/ offers the demo's accounts and the simulator's cards.",
        ),
    ]


def staff_otp() -> Finding:
    """Whether staff need one-time codes, and how many accounts have set them up."""
    found = _on(settings.STAFF_OTP_REQUIRED)
    try:
        staff, enrolled = second_factor.count_staff()
        found += f"; {enrolled} of {staff} staff accounts have set up one-time codes"
    except Error:
        found += "; how many accounts have set up one-time codes is unknown"
    is_open = not (settings.STAFF_OTP_REQUIRED or settings.DEBUG)
    advice = "Set STAFF_OTP_REQUIRED=1: for accounts without codes a password alone opens the admin."
    return judge("STAFF_OTP_REQUIRED", found, is_open, "warning", advice)


def migrations() -> Finding:
    try:
        executor = MigrationExecutor(connection)
        plan = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except Error as error:
        return danger("migrations", f"can't be read: {error}", "See the database's own finding.")
    if plan:
        names = ", ".join(str(migration) for migration, _ in plan[:5])
        return danger("migrations", f"{len(plan)} pending: {names}", "Run `manage.py migrate`.")
    return ok("migrations", "all applied")


def demo() -> list[Finding]:
    """Demo accounts with published passwords; none while the database is unreachable."""
    try:
        names, superusers = (
            demo_accounts.accounts_with_published_password(),
            demo_accounts.superusers_with_published_password(),
        )
    except Error:
        return []
    if superusers and not settings.IS_MAKE_RUN:
        advice = "Their passwords are public, and they have all permissions: disable these accounts at once."
        return [danger("demo accounts", f"superusers: {', '.join(superusers)}", advice)]
    if names:
        advice = "Disable these accounts in production: their passwords are public."
        return [warning("demo accounts", ", ".join(names), advice)]
    return [ok("demo accounts", "none with a published password")]


def _on(value: bool) -> str:
    return "on" if value else "off"


def _set(value: str) -> str:
    return "set" if value else "empty"
