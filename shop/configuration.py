"""Reading one setting: the environment's word, checked, or one line that says what is wrong with it."""

import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import environ
from django.core.exceptions import ImproperlyConfigured

Number = TypeVar("Number", int, float)
BASE_DIR = Path(__file__).resolve().parent.parent
DATABASE_SCHEMES = {"sqlite", "mysql"}
REDIS_SCHEMES = ("redis", "rediss", "unix")
BROKER_SCHEMES = ("redis", "rediss", "redis+socket", "amqp", "amqps", "memory")
HTTP_SCHEMES = ("http", "https")
STRIPE_KEYS = ("sk_", "rk_")
STRIPE_NONSTANDARD_CURRENCIES = {"ISK", "UGX"}
"""Without a minor unit in ISO 4217, and yet in hundredths at Stripe."""
STRIPE_KEY_RETENTION_SECONDS = 82_800
"""An hour less than the day that Stripe keeps idempotency keys for."""
SIGNING_KEY_ID_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,32}")
SHORTEST_SIGNING_KEY_LENGTH = 32
"""HMAC with SHA-256 needs a key that is no shorter than its result (RFC 7518)."""

SHORTEST_SECRET_KEY_LENGTH = 50
FEWEST_DISTINCT_CHARACTERS = 10
DEBUG_SECRET_KEY = "only-for-debug-" * 4
KNOWN_SECRET_KEYS = (
    "only-for-debug",
    "django-insecure-",
    "changeme",
    "change-me",
    "replace-me",
    "your-secret-key",
)
"""How keys begin that stand in documentation, templates and this repository."""

WINDOW_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
"""The units of a rate's window, in seconds."""
LARGEST_RATE_TIMES = 10_000
"""A window keeps the instant of each of its calls."""


class UploadPage(NamedTuple):
    """A page of the operators that takes larger bodies, from staff with all of these permissions."""

    path: str
    most_bytes: int
    permissions: tuple[str, ...]


class Rate(NamedTuple):
    """At most so many times within any window of so many seconds."""

    times: int
    seconds: int


env = environ.Env()
env.read_env(BASE_DIR / ".env")


def one_of(name: str, *choices: str) -> str:
    """A word out of `choices`, the first of them where it is not set."""
    value: str = env.str(name, default=choices[0])
    if value not in choices:
        raise ImproperlyConfigured(f"{name} is {value!r}: choose from {', '.join(choices)}.")
    return value


def flag(name: str, *, default: bool = False) -> bool:
    """1 or 0, and the usual words for them; an empty value is 0."""
    value = env.str(name, default=str(int(default))).lower()
    if value not in {"1", "0", "true", "false", "yes", "no", "on", "off", ""}:
        raise ImproperlyConfigured(f"{name} is {value!r}: say 1 or 0.")
    return bool(env.bool(name, default=default))


def number(name: str, default: Number, *, least: float, most: float = math.inf) -> Number:
    """A number of the default's type, no less than `least` and no more than `most`."""
    read: Callable[..., Any] = env.int if isinstance(default, int) else env.float
    try:
        value: Number = read(name, default=default)
    except ValueError:
        raise ImproperlyConfigured(f"{name} is {env.str(name)!r}: it must be a number.") from None
    if value < least:
        raise ImproperlyConfigured(f"{name} is {value}: it must be {least:g} or more.")
    if value > most:
        raise ImproperlyConfigured(f"{name} is {value}: it must be {most:g} or less.")
    return value


def rate(name: str, default: str) -> Rate | None:
    """A rate such as `60/m` or `10/10m`: so many times within a window; None where it is empty."""
    value: str = env.str(name, default=default)
    if not value:
        return None
    found = re.fullmatch(r"([1-9]\d{0,4})/([1-9]\d{0,3})?([smhd])", value)
    if found is None or int(found[1]) > LARGEST_RATE_TIMES:
        raise ImproperlyConfigured(
            f"{name} is {value!r}: say how often in which time, such as 60/m, 10/10m or 5/h, "
            f"{LARGEST_RATE_TIMES} times at most; empty: no limit."
        )
    return Rate(int(found[1]), int(found[2] or 1) * WINDOW_UNIT_SECONDS[found[3]])


def url(name: str, default: str, schemes: tuple[str, ...]) -> str:
    """A URL with one of these schemes; empty only where the default is."""
    value: str = env.str(name, default=default)
    if not value and not default:
        return value
    scheme, separator, rest = value.partition("://")
    if scheme not in schemes or not separator or not rest:
        known = ", ".join(f"{one}://" for one in schemes)
        raise ImproperlyConfigured(f"{name} is {value!r}: it must be an address that begins with {known}.")
    return value


def secret_key(*, is_debug: bool) -> str:
    """`SECRET_KEY`, which signs tokens and sessions; only with `DEBUG` may it be one that can be guessed."""
    key: str = env.str("SECRET_KEY", default=DEBUG_SECRET_KEY if is_debug else env.NOTSET)
    weakness = secret_key_weakness(key)
    if weakness and not is_debug:
        raise ImproperlyConfigured(
            f"SECRET_KEY {weakness}: a token for any account could be forged. Set it to the output of "
            'python3 -c "import secrets; print(secrets.token_urlsafe(48))"'
        )
    return key


def secret_key_weakness(key: str) -> str:
    """What makes this a secret key that can be guessed; nothing when it is a good one."""
    if key.lower().startswith(KNOWN_SECRET_KEYS):
        return "is a known default"
    if len(key) < SHORTEST_SECRET_KEY_LENGTH:
        return f"has {len(key)} characters, fewer than {SHORTEST_SECRET_KEY_LENGTH}"
    if len(set(key)) < FEWEST_DISTINCT_CHARACTERS:
        return f"has {len(set(key))} different characters, fewer than {FEWEST_DISTINCT_CHARACTERS}"
    return ""


def database(name: str, default: str) -> dict[str, Any]:
    """Django's settings of the database at this URL."""
    scheme = env.str(name, default=default).partition(":")[0]
    if scheme not in DATABASE_SCHEMES:
        raise ImproperlyConfigured(f"{name} begins with {scheme!r}: it must be sqlite:/// or mysql://.")
    found: dict[str, Any] = env.db(name, default=default)
    return found


def signing_keys(entries: Sequence[str], secret_key: str) -> tuple[tuple[str, str], ...]:
    """The ids and keys of the entries of TOKEN_SIGNING_KEYS.

    `SECRET_KEY` stands for that setting: the key of tokens that name none, whose id is empty.
    """
    keys = [("", secret_key) if entry == "SECRET_KEY" else _signing_key(entry) for entry in entries]
    if len({key_id for key_id, _ in keys}) < len(keys) or not keys:
        raise ImproperlyConfigured("TOKEN_SIGNING_KEYS must name one or more keys, each id once.")
    return tuple(keys)


def _signing_key(entry: str) -> tuple[str, str]:
    """What is wrong with an entry is said without the key, for messages end in logs."""
    key_id, _, key = entry.partition(":")
    if not SIGNING_KEY_ID_PATTERN.fullmatch(key_id):
        raise ImproperlyConfigured(
            "TOKEN_SIGNING_KEYS has an entry that is neither `SECRET_KEY` nor `id:key`; "
            "an id is 1 to 32 letters, digits, `.`, `_` and `-`."
        )
    if len(key) < SHORTEST_SIGNING_KEY_LENGTH:
        raise ImproperlyConfigured(
            f"TOKEN_SIGNING_KEYS: the key {key_id} must have {SHORTEST_SIGNING_KEY_LENGTH} "
            "characters or more."
        )
    return key_id, key


def require_stripe_compatibility(api_key: str, *, currency: str, give_up_seconds: int) -> None:
    """Return when the shop can keep its word on payments through Stripe with these settings."""
    if not api_key.startswith(STRIPE_KEYS):
        known = " or ".join(f"{prefix}…" for prefix in STRIPE_KEYS)
        raise ImproperlyConfigured(
            f"PAYMENT_GATEWAY is 'stripe': STRIPE_API_KEY must be a secret key, {known}."
        )
    if currency in STRIPE_NONSTANDARD_CURRENCIES:
        raise ImproperlyConfigured(
            f"CURRENCY is {currency!r}: Stripe counts it in another unit than ISO 4217; choose another."
        )
    if give_up_seconds > STRIPE_KEY_RETENTION_SECONDS:
        raise ImproperlyConfigured(
            f"PAYMENT_GIVE_UP_SECONDS is {give_up_seconds}: it must be "
            f"{STRIPE_KEY_RETENTION_SECONDS} or less, because Stripe forgets a key after a day."
        )
