"""The environment of every process of an instance, and of management commands in it."""

import os
import re
from collections.abc import Collection
from pathlib import Path
from urllib.parse import quote

import environ

from scripts.stack import Environment, Settings, SetupError, places, ports
from scripts.stack.instance import METRICS_PORTS, Instance

# Names of servers that an instance starts though the settings lead elsewhere, as to a proxy before them.
OWN_STORES = "OWN_STORES"

# Programs that read `.env` differ in what an open quote, a comment or a space beside a value means.
_VALUE = r"""'.*'|".*"|(?!['"\s])(?!.*\s#).*(?<!\s)"""


def given() -> Settings:
    """The user's own settings: what is exported, then what `.env` says. Raises SetupError."""
    return read_file(places.PROJECT / ".env") | os.environ


def exported(*, without: Collection[str]) -> Settings:
    return {name: value for name, value in os.environ.items() if name not in without}


def compose(instance: Instance, own: Environment) -> Settings:
    """The user's own settings, and the instance's where those say nothing. Raises SetupError."""
    environment = defaults(instance)
    environment |= {name: value for name, value in own.items() if value or name not in environment}
    # With `LAB=1` the lab's settings, which have the null call of benchmarks as well.
    is_lab = environment.get("LAB", "").lower() in {"1", "true", "yes", "on"}
    environment["DJANGO_SETTINGS_MODULE"] = "lab.settings" if is_lab else "shop.settings"
    environment["FIRSTCOME_VAR"] = str(instance.home)
    # The runner asks for the shop's health at loopback, whatever names it is to have elsewhere.
    if environment.get("ALLOWED_HOSTS"):
        environment["ALLOWED_HOSTS"] += f",{ports.HOST}"
    for name in ("WEB_WORKERS", "WEB_THREADS"):
        if not re.fullmatch(r"0*[1-9][0-9]*", environment[name]):
            raise SetupError(f"{name}={environment[name]} is not a number of 1 or more")
    return environment


def defaults(instance: Instance) -> Settings:
    redis = quote(str(instance.redis_socket))
    return {
        "DATABASE_URL": database_url(instance),
        "REDIS_URL": f"unix://{redis}?db=0",
        "BROKER_URL": f"redis+socket://{redis}?virtual_host=1",
        "GATEWAY_URL": f"http://{ports.HOST}:{instance.gateway_port}",
        "DATA_PLATFORM_URL": f"http://{ports.HOST}:{instance.data_platform_port}",
        "PARTNER_URL": f"http://{ports.HOST}:{instance.partner_port}",
        "SECRET_KEY": places.secret(instance.home, "secret-key"),
        "WEBHOOK_SECRET_SIMULATOR": places.secret(instance.home, "webhook-secret-simulator"),
        "EVENT_SECRET": places.secret(instance.home, "event-secret"),
        # Short, so that a demonstration of a lost payment, or confirmation, ends within a minute.
        "PAYMENT_GIVE_UP_SECONDS": "20",
        "PAYMENT_RETURN_URL": f"http://{ports.HOST}:{instance.port}/demo/#/orders/{{order}}",
        "TIME_ZONE": "Asia/Seoul",
        "DEBUG": "0",
        "DEMO": "1",
        # The receiver of webhooks that developers try is on loopback.
        "WEBHOOK_PRIVATE_ADDRESSES": "1",
        # On loopback, with accounts whose passwords are published.
        "STAFF_OTP_REQUIRED": "0",
        "WEB_WORKERS": "2",
        "WEB_THREADS": "64",
        # glibc's: memory that a thread frees is reused by others, rather than kept for its own.
        "MALLOC_ARENA_MAX": "2",
        "STATIC_ROOT": str(instance.static),
    }


def for_process(name: str, instance: Instance, environment: Environment) -> Settings:
    """The environment of one process: web processes share a folder of metrics, others have a port for them.

    What a worker counts in that folder would be added to what web processes expose.
    """
    own = dict(environment)
    if name == "web":
        own["PROMETHEUS_MULTIPROC_DIR"] = str(instance.metrics)
    if name in METRICS_PORTS:
        own["METRICS_PORT"] = str(instance.port + METRICS_PORTS[name])
    return own


def database_url(instance: Instance) -> str:
    """Where the instance keeps its rows, unless the user's own DATABASE_URL says otherwise."""
    if instance.database == "mariadb":
        return instance.mariadb().url
    return f"sqlite:///{quote(str(instance.data / 'firstcome.sqlite3'))}"


def own_stores(instance: Instance, environment: Environment) -> list[str]:
    """The servers that the instance has to start, because the settings point to them."""
    chosen = {name for name, value in defaults(instance).items() if environment[name] == value}
    lead_to = {"redis": {"REDIS_URL", "BROKER_URL"}, instance.database: {"DATABASE_URL"}}
    named = environment.get(OWN_STORES, "").split()
    result = []
    for name in ("redis", "mariadb"):
        if name in named or chosen & lead_to.get(name, set()):
            result.append(name)
    return result


def read_file(path: Path) -> Settings:
    """The settings in the file as django-environ reads them. Raises SetupError for a line that it skips."""

    class Reader(environ.Env):
        ENVIRON: Settings = {}

    for number, line in enumerate(path.read_text().splitlines() if path.exists() else [], 1):
        if not re.fullmatch(rf"#.*|\s*|(export )?\w+=({_VALUE})", line):
            what = "expected NAME=value, in quotes where it has a quote, a comment or a space at its end"
            raise SetupError(f"{path.name} line {number}: {what}")
    Reader.read_env(path, overwrite=True)
    return Reader.ENVIRON
