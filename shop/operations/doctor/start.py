"""Checks of how the processes are started: unsafe settings, and pending migrations."""

from django.conf import settings
from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor

from shop import configuration
from shop.accounts import demo_accounts, second_factor
from shop.operations.doctor.findings import Finding, danger, ok, warning


def examine() -> list[Finding]:
    return [
        debug(),
        secret_key(),
        signing_keys(),
        event_secret(),
        webhook_secret(),
        hosts(),
        proxies(),
        staff_otp(),
        lab(),
        storefront(),
        migrations(),
        *demo(),
    ]


def debug() -> Finding:
    if settings.DEBUG:
        return danger(
            "DEBUG",
            "on",
            "Set DEBUG=0: error pages would show internals, and each process would keep all its queries.",
        )
    return ok("DEBUG", "off")


def secret_key() -> Finding:
    key = settings.SECRET_KEY
    weakness = configuration.secret_key_weakness(key)
    if weakness:
        return danger(
            "SECRET_KEY",
            weakness,
            "An attacker who guesses it can sign in as any account: set it to 50 random characters, and keep "
            "it secret.",
        )
    former = len(settings.SECRET_KEY_FALLBACKS)
    return ok("SECRET_KEY", f"{len(key)} characters" + f", and {former} former valid too" * bool(former))


def signing_keys() -> Finding:
    """Which key signs tokens, and which others are valid; `secret_key` checks `SECRET_KEY`."""
    name, keys = "TOKEN_SIGNING_KEYS", settings.TOKEN_SIGNING_KEYS
    weak = [
        key_id for key_id, key in keys if key_id and len(set(key)) < configuration.FEWEST_DISTINCT_CHARACTERS
    ]
    if weak:
        advice = "Tokens of such a key can be forged for any account: remove it at once, and make another."
        return danger(name, f"guessable: {', '.join(weak)}", advice)
    first, *others = (key_id or "SECRET_KEY" for key_id, _ in keys)
    found = f"{first} signs" + (f"; also valid: {', '.join(others)}" if others else "")
    if first == "SECRET_KEY":
        advice = "Give tokens a key of their own, which can be changed without signing accounts out: "
        return warning(name, found, f"{advice}docs/operations.md, Tokens and their keys, has the steps.")
    return ok(name, found)


def event_secret() -> Finding:
    if not settings.EVENT_SECRET and not settings.DEBUG:
        return danger(
            "EVENT_SECRET",
            "empty",
            "Events are unsigned, so anyone could send events to the data platform: set it on both sides.",
        )
    return ok("EVENT_SECRET", "set" if settings.EVENT_SECRET else "empty, which is fine for development")


def webhook_secret() -> Finding:
    name = f"WEBHOOK_SECRET_{settings.PAYMENT_GATEWAY.upper()}"
    if not getattr(settings, name):
        advice = "No webhook is accepted, so late payment results are noticed late: set it on both sides."
        return warning(name, "empty", advice)
    return ok(name, "set")


def hosts() -> Finding:
    named = ", ".join(settings.ALLOWED_HOSTS)
    if "*" in settings.ALLOWED_HOSTS:
        return warning(
            "ALLOWED_HOSTS",
            named,
            "Name the hosts: a forged Host header would end up in the links of responses.",
        )
    return ok("ALLOWED_HOSTS", named)


def proxies() -> Finding:
    count = settings.TRUSTED_PROXIES
    if settings.HTTPS and count < 1:
        advice = (
            "HTTPS=1 says that a proxy is in front: set TRUSTED_PROXIES to how many there are, or clients "
            "share its address and its limits. Proxies must drop headers whose names have underscores."
        )
        return warning("TRUSTED_PROXIES", count, advice)
    return ok("TRUSTED_PROXIES", count)


def staff_otp() -> Finding:
    """Whether staff need one-time codes, and how many accounts have set them up."""
    name, found = "STAFF_OTP_REQUIRED", "on" if settings.STAFF_OTP_REQUIRED else "off"
    try:
        staff, enrolled = second_factor.count_staff()
        found += f"; {enrolled} of {staff} staff accounts have set up one-time codes"
    except Error:
        found += "; how many accounts have set up one-time codes is unknown"
    if settings.STAFF_OTP_REQUIRED or settings.DEBUG:
        return ok(name, found)
    advice = "Set STAFF_OTP_REQUIRED=1: for accounts without codes a password alone opens the admin."
    return warning(name, found, advice)


def lab() -> Finding:
    if settings.LAB:
        return warning(
            "LAB", "on", "Set LAB=0 where coupons are worth something: the strategy `unsafe` issues too many."
        )
    return ok("LAB", "off")


def storefront() -> Finding:
    if settings.DEMO and not settings.IS_MAKE_RUN:
        advice = (
            "Set DEMO=0 where customers buy: /demo/ offers the demo's accounts and the simulator's cards."
        )
        return warning("DEMO", "on", advice)
    return ok("DEMO", "on" if settings.DEMO else "off")


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
