"""Functions that read one setting from the environment, as `settings.toml` declares it, and raise
`ImproperlyConfigured` if it is wrong.
"""

import math
import re
import tomllib
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit
from zoneinfo import ZoneInfo

import environ
from django.core.exceptions import ImproperlyConfigured
from redis.backoff import NoBackoff
from redis.retry import Retry

from foundation import key_strength, literals
from foundation.rates.rate import Rate

Number = TypeVar("Number", int, float)
BASE_DIR = Path(__file__).resolve().parent.parent
REDIS_SCHEMES = ("redis", "rediss", "unix")
HTTP_SCHEMES = ("http", "https")
ORIGIN = re.compile(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(:[0-9]{1,5})?")
SIGNING_KEY_ID_PATTERN = re.compile(r"[A-Za-z0-9._-]{1,32}")
GATEWAY_NAME_PATTERN = re.compile(r"[a-z][a-z0-9_]{0,15}")
OF_A_GATEWAY = ("GATEWAY_URL", "GATEWAY_ACCOUNT", "GATEWAY_CHARGE_URL", "STRIPE_API_KEY", "WEBHOOK_SECRET")
"""What each gateway has of its own."""
SHORTEST_SIGNING_KEY_LENGTH = 32
"""HMAC with SHA-256 needs a key at least as long as its output (RFC 7518)."""

WINDOW_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
"""The units of a rate's window, in seconds."""
LARGEST_RATE_TIMES = 10_000
"""Bounded because a window stores the instant of each call."""

SENTINEL_SCHEME = "redis+sentinel"
SENTINEL_PORT = 26379
SENTINEL_TIMEOUT_SECONDS = 0.3
"""A Sentinel that is frozen delays each new connection by this, until another one has answered."""

BROKER_CONNECT_SECONDS = 1
"""For one node of the broker: a node that is frozen accepts connections, and doesn't answer on them."""
BROKER_HEARTBEAT_SECONDS = 5
"""Only a worker's connection has heartbeats. After two silent ones it goes to another node."""
QUEUE_TYPES = ("classic", "quorum")

Options = dict[str, Any]
"""Of a connection, or of a setting, by their names."""
_CONNECTION: Options = {
    "socket_timeout": 1,
    "socket_connect_timeout": 0.5,
    "max_connections": 1_024,
    "retry": None,
    "retry_on_error": [],
}
"""Redis accelerates and never decides, so calls are short and tried once."""


def read_toml(name: str) -> Options:
    return tomllib.loads((BASE_DIR / "shop" / name).read_text("utf-8"))


SECTIONS: dict[str, dict[str, Options]] = read_toml("settings.toml")
SETTINGS = {name: setting for settings in SECTIONS.values() for name, setting in settings.items()}
env = environ.Env()
env.read_env(BASE_DIR / ".env")


def text(name: str, default: str | None = None) -> str:
    """The setting as it is written; `default` is of those where that depends on more than `settings.toml`."""
    value: str = env.str(name, default=SETTINGS[name]["default"] if default is None else default)
    return value


def texts(name: str) -> list[str]:
    """What commas separate."""
    return [one for one in text(name).split(",") if one]


def origins(name: str) -> list[str]:
    """Origins as browsers send them: scheme, host and a port that is not the scheme's own."""
    found = texts(name)
    for one in found:
        if not ORIGIN.fullmatch(one):
            raise ImproperlyConfigured(
                f"{name} has {one!r}: an origin is https://host or https://host:port, in small letters."
            )
    return found


def one_of(name: str, *choices: str) -> str:
    value = text(name)
    if value not in choices:
        raise ImproperlyConfigured(f"{name} is {value!r}: choose from {', '.join(choices)}.")
    return value


def payment_gateways(name: str, kinds: Collection[str]) -> dict[str, str]:
    """The kinds of gateways by their names: `name=kind` between commas."""
    found: dict[str, str] = {}
    for pair in texts(name):
        own_name, _, kind = pair.partition("=")
        if kind not in kinds:
            raise ImproperlyConfigured(
                f"{name} has {pair!r}: it must be name=kind, with one of these kinds: {', '.join(kinds)}."
            )
        # The former secrets of all have the name WEBHOOK_SECRET_FALLBACKS.
        is_taken = own_name in found or own_name == "fallbacks" or (own_name in kinds and own_name != kind)
        if is_taken or not GATEWAY_NAME_PATTERN.fullmatch(own_name):
            raise ImproperlyConfigured(
                f"{name} has the name {own_name!r}: each is there once, has 1 to 16 small letters, digits "
                "and _, and is no kind's but its own, nor `fallbacks`."
            )
        found[own_name] = kind
    return found


def gateway_settings(name: str) -> dict[str, str]:
    """The settings of a gateway that has its own, by their names; empty where not set."""
    found = {setting: text(setting, "") for setting in (f"{one}_{name.upper()}" for one in OF_A_GATEWAY)}
    for setting, value in found.items():
        if value and "_URL_" in setting:
            _require_scheme(setting, value, HTTP_SCHEMES)
    return found


def flag(name: str, default: str | None = None) -> bool:
    """1 or 0, and the usual words for them; an empty value is 0."""
    value = text(name, default).lower()
    if value not in {"1", "0", "true", "false", "yes", "no", "on", "off", ""}:
        raise ImproperlyConfigured(f"{name} is {value!r}: it must be 1 or 0.")
    return value in {"1", "true", "yes", "on"}


def number(name: str, kind: type[Number] = int) -> Number:
    """A number between the setting's bounds."""
    written = text(name)
    setting = SETTINGS[name]
    least = setting["least"]
    most = setting.get("most", math.inf)
    read: Callable[[str], Any] = literals.whole_number if kind is int else literals.decimal_number
    try:
        value: Number = read(written)
    except literals.NotOfTheForm:
        raise ImproperlyConfigured(f"{name} is {written!r}: it must be a number.") from None
    if value < least:
        raise ImproperlyConfigured(f"{name} is {value}: it must be {least:g} or more.")
    if value > most:
        raise ImproperlyConfigured(f"{name} is {value}: it must be {most:g} or less.")
    return value


def optional_number(name: str) -> int | None:
    """A whole number between the setting's bounds; None if it is empty."""
    return number(name) if text(name) else None


def rate(name: str) -> Rate | None:
    """A rate such as `60/m` or `10/10m`: times per window; None if it is empty."""
    value = text(name)
    return _parse_rate(name, value) if value else None


def two_rates(name: str) -> tuple[Rate | None, Rate | None]:
    """Two rates such as `10/h,100/h`; no limits if it is empty."""
    value = text(name)
    if not value:
        return None, None
    if value.count(",") != 1:
        raise ImproperlyConfigured(
            f"{name} is {value!r}: it must be two rates, such as {SETTINGS[name]['default']}."
        )
    first, second = value.split(",")
    return _parse_rate(name, first.strip()), _parse_rate(name, second.strip())


def _parse_rate(name: str, value: str) -> Rate:
    found = re.fullmatch(r"([1-9]\d{0,4})/([1-9]\d{0,3})?([smhd])", value, re.ASCII)
    if found is None or int(found[1]) > LARGEST_RATE_TIMES:
        raise ImproperlyConfigured(
            f"{name} is {value!r}: it must be times per window, such as 60/m, 10/10m or 5/h, "
            f"{LARGEST_RATE_TIMES} times at most; empty for no limit."
        )
    return Rate(int(found[1]), int(found[2] or 1) * WINDOW_UNIT_SECONDS[found[3]])


def url(name: str, schemes: Sequence[str] = HTTP_SCHEMES) -> str:
    """A URL with one of these schemes; empty only if the default is empty."""
    value = text(name)
    if value or SETTINGS[name]["default"]:
        _require_scheme(name, value, schemes)
    return value


def _require_scheme(name: str, value: str, schemes: Sequence[str]) -> None:
    scheme, separator, rest = value.partition("://")
    if scheme not in schemes or not separator or not rest:
        known = ", ".join(f"{scheme}://" for scheme in schemes)
        # Its value may have a password in it.
        raise ImproperlyConfigured(f"{name} must be a URL that begins with {known}.")


def require_together(*names: str) -> None:
    """Raise `ImproperlyConfigured` unless all of these settings have a value, or none has."""
    given = [bool(text(name)) for name in names]
    if any(given) and not all(given):
        raise ImproperlyConfigured(f"{', '.join(names)} belong together: set all of them, or none.")


def time_zone(name: str) -> str:
    """The name of a time zone, such as Asia/Seoul."""
    value = text(name)
    try:
        ZoneInfo(value)
    except (ValueError, OSError):
        raise ImproperlyConfigured(f"{name} is {value!r}: it must be a time zone, as Asia/Seoul.") from None
    return value


def page_url(name: str, placeholder: str) -> str:
    value = url(name)
    if value and placeholder not in value:
        raise ImproperlyConfigured(f"{name} must contain {placeholder}.")
    return value


def secret_key(*, is_debug: bool) -> str:
    """`SECRET_KEY`, which signs tokens and sessions; only with `DEBUG` may it be guessable."""
    key: str = env.str("SECRET_KEY", default=key_strength.DEBUG_SECRET_KEY if is_debug else env.NOTSET)
    weakness = key_strength.weakness(key)
    if weakness and not is_debug:
        raise ImproperlyConfigured(
            f"SECRET_KEY {weakness}: a token for any account could be forged. Set it to the output of "
            'python3 -c "import secrets; print(secrets.token_urlsafe(48))"'
        )
    return key


def secret_key_fallbacks(*, is_debug: bool) -> list[str]:
    """Former secret keys: what they signed is still valid, so they must be as hard to guess as the key."""
    keys = texts("SECRET_KEY_FALLBACKS")
    for key in keys:
        if (weakness := key_strength.weakness(key)) and not is_debug:
            raise ImproperlyConfigured(f"SECRET_KEY_FALLBACKS has a key that {weakness}: remove it.")
    return keys


def database(name: str, default: str | None = None) -> Options:
    """Django's settings for the URL."""
    scheme = text(name, default).partition(":")[0]
    if scheme not in {"sqlite", "mysql"}:
        raise ImproperlyConfigured(f"{name} begins with {scheme!r}: it must be sqlite:/// or mysql://.")
    try:
        found: Options = environ.Env.db_url_config(text(name, default))
    except ValueError:
        # Its text may have a part of the password in it, and so would a traceback that shows it as the cause.
        raise ImproperlyConfigured(
            f"{name} is no URL: write mysql://user:password@host:3306/name, and each character of a password"
            " other than letters, digits, - and _ as % and its code, such as %40 for @."
        ) from None
    if not found["NAME"]:
        raise ImproperlyConfigured(f"{name} names no database: write it after the host, as in …:3306/name.")
    return found


def read_database(name: str, *, primary: Options, options: Options) -> Options:
    """Django's settings for the URL of a secondary of `primary`, with these options of all connections."""
    if not primary["ENGINE"].startswith("foundation.db.mysql"):
        raise ImproperlyConfigured(
            f"{name} is set, but DATABASE_URL is not mysql://: SQLite has no secondary."
        )
    found = database(name)
    if found["ENGINE"] != "django.db.backends.mysql":
        raise ImproperlyConfigured(f"{name} must be mysql://, as DATABASE_URL is.")
    return found | {
        "ENGINE": "foundation.db.mysql.read_only",
        "OPTIONS": {**options} | found.get("OPTIONS", {}),
        "CONN_MAX_AGE": primary["CONN_MAX_AGE"],
        "CONN_HEALTH_CHECKS": True,
        "ATOMIC_REQUESTS": False,
        "TEST": {"MIRROR": "default"},
    }


def redis_cache(name: str) -> Options:
    address = url(name, (*REDIS_SCHEMES, SENTINEL_SCHEME))
    cache = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": address}
    if not address.startswith(f"{SENTINEL_SCHEME}://"):
        return cache | {"OPTIONS": {"CONNECTION_POOL_KWARGS": _CONNECTION}}
    # Not by `urlsplit`, which from Python 3.11.4 on refuses an IPv6 address behind another host.
    located, _, query = address.partition("://")[2].partition("#")[0].partition("?")
    authority, _, path = located.partition("/")
    credentials, _, hosts = authority.rpartition("@")
    username, _, password = credentials.partition(":")
    primary, _, database_number = path.strip("/").partition("/")
    sentinels = [_host_and_port(name, host) for host in hosts.split(",") if host]
    if not sentinels or not primary or not re.fullmatch("[0-9]*", database_number):
        raise ImproperlyConfigured(
            f"{name} must be {SENTINEL_SCHEME}://user:password@sentinel:{SENTINEL_PORT},…/primary/0, with "
            "the name that the Sentinels give the primary."
        )
    # The pool asks the Sentinels at each new connection. All calls go to the primary: what a replica has may
    # be older than what this process wrote.
    options = {
        "CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory",
        "CONNECTION_POOL_KWARGS": _CONNECTION,
        "SENTINELS": sentinels,
        "SENTINEL_KWARGS": {
            "socket_timeout": SENTINEL_TIMEOUT_SECONDS,
            "socket_connect_timeout": SENTINEL_TIMEOUT_SECONDS,
            "password": parse_qs(query).get("sentinel_password", [None])[0],
            # The next Sentinel is asked instead.
            "retry": Retry(NoBackoff(), 0),
        },
        "USERNAME": unquote(username),
        "PASSWORD": unquote(password),
    }
    return cache | {"LOCATION": f"redis://{primary}/{database_number or 0}", "OPTIONS": options}


def _host_and_port(name: str, host: str) -> tuple[str, int]:
    try:
        parts = SplitResult("", host, "", "", "")
        return parts.hostname or "", parts.port or SENTINEL_PORT
    except ValueError:
        # What stands in the host's place may be a part of the password.
        raise ImproperlyConfigured(f"{name} has a Sentinel whose port is not a number.") from None


def broker_urls(name: str) -> list[str]:
    """The URLs of the broker's nodes, one or more, all of one scheme."""
    value = text(name)
    found = [one for one in value.split(";") if one] or [value]
    for one in found:
        _require_scheme(name, one, ("redis", "rediss", "redis+socket", "amqp", "amqps", "memory"))
    if len({urlsplit(one).scheme for one in found}) > 1:
        raise ImproperlyConfigured(f"{name} names several nodes of one broker: all need the same scheme.")
    return found


def broker_transport_options(urls: Sequence[str], *, queue_type: str = QUEUE_TYPES[0]) -> Options:
    """kombu's options of a connection: time limits, and how often it tries another node."""
    nodes = len(urls)
    options: Options = {
        # It must exceed the longest task, or Redis delivers the same task to a second worker.
        "visibility_timeout": 600,
        "socket_timeout": 2,
        "socket_connect_timeout": 1,
        # Each node is tried once. kombu would go on for six seconds; a task that can't be sent runs in this
        # process (`foundation.operations.dispatch`).
        "max_retries": nodes - 1,
    }
    if nodes > 1:
        # kombu gives up after the time for one connection, which a frozen node alone uses up.
        options["connect_retries_timeout"] = nodes * BROKER_CONNECT_SECONDS + 1
    if queue_type == "quorum":
        # A message is sent once most nodes have it; without this, a node that crashes loses it unnoticed.
        options["confirm_publish"] = True
        # kombu closes the channel of a send that was not confirmed, and would wait for the reply for ever.
        options["read_timeout"] = options["write_timeout"] = 2
    return options


def broker_queue_type(name: str, urls: Sequence[str]) -> str:
    """`classic` or `quorum`; quorum queues are RabbitMQ's."""
    value = one_of(name, *QUEUE_TYPES)
    if value == "quorum" and not urls[0].startswith(("amqp://", "amqps://")):
        raise ImproperlyConfigured(f"{name} is quorum, which only RabbitMQ has: BROKER_URL must be amqp://.")
    return value


def signing_keys(entries: Sequence[str], secret_key: str) -> tuple[tuple[str, str], ...]:
    """The ids and keys of the entries of `TOKEN_SIGNING_KEYS`. Errors don't contain keys: they may be logged.

    The entry `SECRET_KEY` stands for that setting, with an empty id: the key of tokens without a key id.
    """
    keys = {}
    for entry in entries:
        key_id, _, key = entry.partition(":")
        if entry == "SECRET_KEY":
            key_id = ""
            key = secret_key
        elif not SIGNING_KEY_ID_PATTERN.fullmatch(key_id):
            raise ImproperlyConfigured(
                "TOKEN_SIGNING_KEYS has an entry that is neither `SECRET_KEY` nor `id:key`; "
                "an id is 1 to 32 letters, digits, `.`, `_` and `-`."
            )
        elif len(key) < SHORTEST_SIGNING_KEY_LENGTH:
            raise ImproperlyConfigured(
                f"TOKEN_SIGNING_KEYS: the key {key_id} must have {SHORTEST_SIGNING_KEY_LENGTH} "
                "characters or more."
            )
        keys[key_id] = key
    if len(keys) < len(entries) or not keys:
        raise ImproperlyConfigured("TOKEN_SIGNING_KEYS must name one or more keys, each id once.")
    return tuple(keys.items())
