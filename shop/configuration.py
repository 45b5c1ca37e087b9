"""Functions that read one setting from the environment, and raise `ImproperlyConfigured` if it is wrong."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
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
SIGNING_KEY_ID_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,32}")
SHORTEST_SIGNING_KEY_LENGTH = 32
"""HMAC with SHA-256 needs a key at least as long as its output (RFC 7518)."""

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
"""Prefixes of keys in documentation, templates and this repository."""

WINDOW_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
"""The units of a rate's window, in seconds."""
LARGEST_RATE_TIMES = 10_000
"""Bounded because a window stores the instant of each call."""


class UploadPage(NamedTuple):
    """An admin page that accepts larger bodies, from staff with all of these permissions."""

    path: str
    most_bytes: int
    permissions: tuple[str, ...]


class Rate(NamedTuple):
    """At most `times` calls within any window of `seconds`."""

    times: int
    seconds: int


env = environ.Env()
env.read_env(BASE_DIR / ".env")


def one_of(name: str, *choices: str) -> str:
    """One of `choices`; the first of them if it is not set."""
    value: str = env.str(name, default=choices[0])
    if value not in choices:
        raise ImproperlyConfigured(f"{name} is {value!r}: choose from {', '.join(choices)}.")
    return value


def text(name: str) -> str:
    """The setting as it is, or an empty string."""
    value: str = env.str(name, default="")
    return value


def flag(name: str, *, default: bool = False) -> bool:
    """1 or 0, and the usual words for them; an empty value is 0."""
    value = env.str(name, default=str(int(default))).lower()
    if value not in {"1", "0", "true", "false", "yes", "no", "on", "off", ""}:
        raise ImproperlyConfigured(f"{name} is {value!r}: it must be 1 or 0.")
    return bool(env.bool(name, default=default))


def number(name: str, default: Number, *, least: float, most: float = math.inf) -> Number:
    """A number of the default's type, from `least` to `most`."""
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
    """A rate such as `60/m` or `10/10m`: times per window; None if it is empty."""
    value: str = env.str(name, default=default)
    if not value:
        return None
    found = re.fullmatch(r"([1-9]\d{0,4})/([1-9]\d{0,3})?([smhd])", value)
    if found is None or int(found[1]) > LARGEST_RATE_TIMES:
        raise ImproperlyConfigured(
            f"{name} is {value!r}: it must be times per window, such as 60/m, 10/10m or 5/h, "
            f"{LARGEST_RATE_TIMES} times at most; empty for no limit."
        )
    return Rate(int(found[1]), int(found[2] or 1) * WINDOW_UNIT_SECONDS[found[3]])


def url(name: str, default: str, schemes: tuple[str, ...]) -> str:
    """A URL with one of these schemes; empty only if the default is empty."""
    value: str = env.str(name, default=default)
    if not value and not default:
        return value
    scheme, separator, rest = value.partition("://")
    if scheme not in schemes or not separator or not rest:
        known = ", ".join(f"{scheme}://" for scheme in schemes)
        raise ImproperlyConfigured(f"{name} is {value!r}: it must be a URL that begins with {known}.")
    return value


def page_url(name: str, placeholder: str) -> str:
    """The URL of a page that has this placeholder in it, or an empty string."""
    value = url(name, "", HTTP_SCHEMES)
    if value and placeholder not in value:
        raise ImproperlyConfigured(f"{name} is {value!r}: it must contain {placeholder}.")
    return value


def secret_key(*, is_debug: bool) -> str:
    """`SECRET_KEY`, which signs tokens and sessions; only with `DEBUG` may it be guessable."""
    key: str = env.str("SECRET_KEY", default=DEBUG_SECRET_KEY if is_debug else env.NOTSET)
    weakness = secret_key_weakness(key)
    if weakness and not is_debug:
        raise ImproperlyConfigured(
            f"SECRET_KEY {weakness}: a token for any account could be forged. Set it to the output of "
            'python3 -c "import secrets; print(secrets.token_urlsafe(48))"'
        )
    return key


def secret_key_weakness(key: str) -> str:
    """Why the secret key is guessable; empty if it isn't."""
    if key.lower().startswith(KNOWN_SECRET_KEYS):
        return "is a known default"
    if len(key) < SHORTEST_SECRET_KEY_LENGTH:
        return f"has {len(key)} characters, fewer than {SHORTEST_SECRET_KEY_LENGTH}"
    if len(set(key)) < FEWEST_DISTINCT_CHARACTERS:
        return f"has {len(set(key))} different characters, fewer than {FEWEST_DISTINCT_CHARACTERS}"
    return ""


def database(name: str, default: str) -> dict[str, Any]:
    """Django's settings for the database URL."""
    scheme = env.str(name, default=default).partition(":")[0]
    if scheme not in DATABASE_SCHEMES:
        raise ImproperlyConfigured(f"{name} begins with {scheme!r}: it must be sqlite:/// or mysql://.")
    found: dict[str, Any] = env.db(name, default=default)
    return found


def read_database(name: str, *, primary: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Django's settings for the URL of a secondary of `primary`, with these options of all connections."""
    if not primary["ENGINE"].startswith("shop.db.mysql"):
        raise ImproperlyConfigured(
            f"{name} is set, but DATABASE_URL is not mysql://: SQLite has no secondary."
        )
    found = database(name, "")
    if found["ENGINE"] != "django.db.backends.mysql":
        raise ImproperlyConfigured(f"{name} must be mysql://, as DATABASE_URL is.")
    return found | {
        "ENGINE": "shop.db.mysql.read_only",
        "OPTIONS": {**options} | found.get("OPTIONS", {}),
        "CONN_MAX_AGE": primary["CONN_MAX_AGE"],
        "CONN_HEALTH_CHECKS": True,
        "ATOMIC_REQUESTS": False,
        "TEST": {"MIRROR": "default"},
    }


def signing_keys(entries: Sequence[str], secret_key: str) -> tuple[tuple[str, str], ...]:
    """The ids and keys of the entries of `TOKEN_SIGNING_KEYS`.

    The entry `SECRET_KEY` stands for that setting, with an empty id: the key of tokens without a key id.
    """
    keys = [("", secret_key) if entry == "SECRET_KEY" else _signing_key(entry) for entry in entries]
    if len({key_id for key_id, _ in keys}) < len(keys) or not keys:
        raise ImproperlyConfigured("TOKEN_SIGNING_KEYS must name one or more keys, each id once.")
    return tuple(keys)


def _signing_key(entry: str) -> tuple[str, str]:
    """The id and key of an entry. Errors don't contain the key, because they may be logged."""
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
