"""Invalid settings, Stripe's too, prevent the start, with one line that names them."""

import os
import runpy
import subprocess
import sys
from typing import Any
from unittest import mock

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured

from foundation.observability import logs
from foundation.tests.case_tables import in_one_test
from payments import gateways
from payments.models import WebhookEvent
from scripts.stack import places
from scripts.tests import programs
from shop import configuration

READERS = [
    ("PAYMENT_GATEWAY", "stripes", lambda name: configuration.one_of(name, "simulator")),
    *(
        ("PAYMENT_GATEWAYS", pairs, lambda name: configuration.payment_gateways(name, gateways.GATEWAYS))
        for pairs in (
            "a",
            "a=paypal",
            "a=stripe=b",
            "A=stripe",
            "=stripe",
            "a=stripe,a=simulator",
            "1=stripe",
        )
    ),
    # The settings of these names are another's.
    *(
        ("PAYMENT_GATEWAYS", pairs, lambda name: configuration.payment_gateways(name, gateways.GATEWAYS))
        for pairs in ("stripe=simulator", "fallbacks=stripe", f"{'a' * 17}=stripe")
    ),
    ("DEBUG", "maybe", configuration.flag),
    ("WEB_THREADS", "many", configuration.number),
    ("WEB_THREADS", "1", configuration.number),
    ("SWEEP_SECONDS", "0", lambda name: configuration.number(name, float)),
    ("METRICS_PORT", "65536", configuration.number),
    ("REDIS_URL", "nonsense", lambda name: configuration.url(name, configuration.REDIS_SCHEMES)),
    ("GATEWAY_URL", "http://", configuration.url),
    ("GATEWAY_CHARGE_URL", "https://pay.example.com/", lambda name: configuration.page_url(name, "{id}")),
    ("GATEWAY_CHARGE_URL", "javascript:{id}", lambda name: configuration.page_url(name, "{id}")),
    ("RATE_ORDERS", "60", configuration.rate),
    ("RATE_ORDERS", "0/m", configuration.rate),
    ("RATE_ORDERS", "60/y", configuration.rate),
    ("RATE_ORDERS", "10001/h", configuration.rate),
    ("RATE_WRONG_CODES", "10/h", configuration.two_rates),
    ("RATE_WRONG_CODES", "10/h,", configuration.two_rates),
    ("DATABASE_URL", "foo://bar", configuration.database),
    ("DATABASE_URL", "mysql://a:b@c:d/e", configuration.database),
    ("DATABASE_URL", "mysql://a:b@c:3306", configuration.database),
    *(
        ("REDIS_URL", f"{sentinels}/primary", configuration.redis_cache)
        for sentinels in ("redis+sentinel://", "redis+sentinel://one:port", "sentinel://one")
    ),
    ("REDIS_URL", "redis+sentinel://one:26379", configuration.redis_cache),
    ("REDIS_URL", "redis+sentinel://one/primary/first", configuration.redis_cache),
    *(
        ("BROKER_URL", nodes, configuration.broker_urls)
        for nodes in ("", "nonsense", "amqp://one;two:5672", "amqp://one;redis://two", "http://one")
    ),
]


@in_one_test(("name", "value", "read"), READERS)
def test_an_invalid_value_is_reported_with_its_setting(monkeypatch, name, value, read):
    monkeypatch.setenv(name, value)
    with pytest.raises(ImproperlyConfigured, match=name):
        read(name)


WITH_PASSWORDS = [
    ("DATABASE_URL", "mysql://shop:TopPart/rest@db/shop"),
    ("DATABASE_URL", "mysql://shop:TopSecret@db:many/shop"),
    ("REDIS_URL", "redis:/:TopSecret@redis"),
    ("REDIS_URL", "redis+sentinel://u:TopSecret#rest@sentinel:26379/primary/0"),
    ("REDIS_URL", "redis+sentinel://:TopSecret@sentinel:26379"),
    ("GATEWAY_URL", "//user:TopSecret@pay.example.com"),
]


@pytest.fixture
def _unconfigured_log(monkeypatch):
    """Settings that are read again leave the log of this process as it is."""
    monkeypatch.setattr(logs, "configure", lambda **_: None)


def read_settings(**environment: str) -> dict[str, Any]:
    with mock.patch.dict(os.environ, environment):
        return runpy.run_path(str(places.PROJECT / "shop" / "settings.py"))


@pytest.mark.usefixtures("_unconfigured_log")
@in_one_test(("name", "value"), WITH_PASSWORDS)
def test_a_setting_that_is_refused_is_named_and_shows_no_part_of_its_password(name, value):
    with pytest.raises(ImproperlyConfigured) as refused:
        read_settings(**{name: value})
    assert name in str(refused.value)
    assert "Top" not in str(refused.value)


def test_signing_keys_have_ids_and_secret_key_stands_for_itself():
    keys = configuration.signing_keys([f"2026-11:{'k:' * 16}", "SECRET_KEY"], "secret")

    assert keys == (("2026-11", "k:" * 16), ("", "secret"))


NO_SIGNING_KEYS = [
    [],
    ["2026-11"],
    [":" + "k" * 32],
    ["a b:" + "k" * 32],
    ["x" * 33 + ":" + "k" * 32],
    ["2026-11:short"],
    ["SECRET_KEY", "SECRET_KEY"],
    ["2026-11:" + "k" * 32, "2026-11:" + "l" * 32],
]
WEAK_KEYS = {
    "changeme": "a known default",
    "changeme" * 10: "a known default",
    "django-insecure-0123456789abcdefghijklmnopqrstuvwxyz0123456789": "a known default",
    "only-for-debug-" * 4: "a known default",
    "": "0 characters",
    "aB3$xK9!" * 6 + "q": "49 characters",
    "k" * 100: "1 different characters",
}


@in_one_test("entries", NO_SIGNING_KEYS)
def test_an_invalid_signing_key_prevents_the_start_and_is_not_shown(entries):
    with pytest.raises(ImproperlyConfigured, match="TOKEN_SIGNING_KEYS") as refused:
        configuration.signing_keys(entries, "secret")
    assert "kkk" not in str(refused.value) and "short" not in str(refused.value)


@in_one_test(("key", "weakness"), WEAK_KEYS.items())
def test_a_guessable_secret_key_prevents_the_start_except_in_debug(monkeypatch, key, weakness):
    monkeypatch.setenv("SECRET_KEY", key)
    with pytest.raises(ImproperlyConfigured, match=weakness):
        configuration.secret_key(is_debug=False)
    assert configuration.secret_key(is_debug=True) == key


@pytest.mark.boots("a Python process")
def test_a_process_with_the_key_changeme_does_not_start():
    command = [sys.executable, "-c", "import django; django.setup()"]
    started = programs.end(command, SECRET_KEY="changeme", DEBUG="0")
    assert started.returncode == 1
    assert "SECRET_KEY is a known default" in started.stderr


@pytest.mark.boots("a management command")
@pytest.mark.parametrize(
    ("command", "name", "value", "says"),
    [
        ("migrate", "WEB_THREADS", "many", " is 'many': it must be a number."),
        ("check", "DATABASE_URL", "postgres://shop:of-the-shop@db/shop", " begins with 'postgres': it must"),
        ("audit", "DATABASE_URL", "mysql://shop:of-the-shop@db:many/shop", " is no URL: write mysql://"),
    ],
    ids=["migrate", "check", "audit"],
)
def test_a_command_with_a_wrong_setting_ends_with_one_line_that_names_it(command, name, value, says):
    ran = programs.end([sys.executable, "manage.py", command], **{name: value})
    assert ran.returncode == 1
    assert ran.stderr.startswith(f"A setting is wrong: {name}{says}"), ran.stderr
    assert ran.stderr.count("\n") == 1 and "of-the-shop" not in ran.stderr
    assert ran.stdout == ""


@pytest.mark.usefixtures("_unconfigured_log")
def test_staff_need_one_time_codes_outside_of_debug_unless_it_is_turned_off(monkeypatch):
    monkeypatch.delenv("STAFF_OTP_REQUIRED", raising=False)

    assert read_settings(DEBUG="0")["STAFF_OTP_REQUIRED"]
    assert not read_settings(DEBUG="1")["STAFF_OTP_REQUIRED"]
    assert not read_settings(DEBUG="0", STAFF_OTP_REQUIRED="0")["STAFF_OTP_REQUIRED"]
    assert read_settings(DEBUG="1", STAFF_OTP_REQUIRED="1")["STAFF_OTP_REQUIRED"]


SENTINELS = "redis+sentinel://:secret%2F1@one:26380,two,[::1]:26381/primary/3?sentinel_password=other"


def test_sentinels_are_asked_for_the_primary_and_each_has_its_password(monkeypatch):
    monkeypatch.setenv("REDIS_URL", SENTINELS)
    cache = configuration.redis_cache("REDIS_URL")
    options = cache["OPTIONS"]
    assert cache["LOCATION"] == "redis://primary/3"
    assert options["SENTINELS"] == [("one", 26380), ("two", 26379), ("::1", 26381)]
    assert (options["PASSWORD"], options["SENTINEL_KWARGS"]["password"]) == ("secret/1", "other")
    assert options["SENTINEL_KWARGS"]["socket_timeout"] < 1


def test_quorum_queues_are_only_rabbitmqs(monkeypatch):
    monkeypatch.delenv("BROKER_QUEUE_TYPE", raising=False)
    assert configuration.broker_queue_type("BROKER_QUEUE_TYPE", ["redis://one"]) == "classic"
    monkeypatch.setenv("BROKER_QUEUE_TYPE", "quorum")
    assert configuration.broker_queue_type("BROKER_QUEUE_TYPE", ["amqp://one"]) == "quorum"
    with pytest.raises(ImproperlyConfigured, match="only RabbitMQ has"):
        configuration.broker_queue_type("BROKER_QUEUE_TYPE", ["redis://one"])
    monkeypatch.setenv("BROKER_QUEUE_TYPE", "mirrored")
    with pytest.raises(ImproperlyConfigured, match="choose from classic, quorum"):
        configuration.broker_queue_type("BROKER_QUEUE_TYPE", ["amqp://one"])


boots = pytest.mark.boots("a Python process")
GOOD = {"PAYMENT_GATEWAY": "stripe", "STRIPE_API_KEY": "sk_test_1", "CURRENCY": "KRW"}


def started(settings: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    program = "from shop import settings; print(settings.PAYMENT_GATEWAY)"
    return programs.end([sys.executable, "-c", program], **settings)


@boots
def test_the_shop_starts_with_stripe_and_without_its_settings_where_that_is_not_chosen():
    assert started(GOOD).stdout == "stripe\n"
    assert started(GOOD | {"STRIPE_API_KEY": "rk_live_1"}).returncode == 0
    assert started({"PAYMENT_GATEWAY": "simulator", "STRIPE_API_KEY": ""}).returncode == 0
    several = {"PAYMENT_GATEWAYS": "stripe=stripe,b=simulator,c=stripe", "GATEWAY_URL_B": "http://b"}
    assert started(GOOD | several | {"PAYMENT_GATEWAY": "b", "STRIPE_API_KEY_C": "sk_1"}).stdout == "b\n"


@boots
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"STRIPE_API_KEY": ""}, "STRIPE_API_KEY must be a secret key"),
        ({"STRIPE_API_KEY": "pk_live_1"}, "STRIPE_API_KEY must be a secret key"),
        (
            {"STRIPE_API_BASE": "api.stripe.com"},
            "STRIPE_API_BASE must be a URL that begins with http://, https://.",
        ),
        ({"PAYMENT_GATEWAYS": "simulator=simulator"}, "PAYMENT_GATEWAY is 'stripe': choose from simulator."),
        ({"PAYMENT_GATEWAYS": "stripe=stripe,b=simulator"}, "The gateway 'b' needs GATEWAY_URL_B."),
        ({"PAYMENT_GATEWAYS": "stripe=stripe,b=stripe"}, "STRIPE_API_KEY_B must be a secret key"),
        ({"CURRENCY": "ISK"}, "CURRENCY is 'ISK'"),
        ({"PAYMENT_GIVE_UP_SECONDS": "86400"}, "PAYMENT_GIVE_UP_SECONDS is 86400"),
    ],
    ids=str,
)
def test_a_wrong_setting_is_named_in_the_last_line(wrong, message):
    failed = started(GOOD | wrong)

    assert failed.returncode == 1
    assert message in failed.stderr.splitlines()[-1]
    assert "live_1" not in failed.stderr.splitlines()[-1]


def test_a_currency_that_stripe_counts_otherwise_is_refused():
    """Of three digits Stripe wants the last one to be 0; the others would be charged a hundred times or a
    hundredth.
    """
    others = GOOD | {"PAYMENT_GIVE_UP_SECONDS": 900}
    for currency in ("KRW", "JPY", "USD", "EUR", "HUF", "TWD"):
        gateways.check_stripe(others | {"CURRENCY": currency})
    for currency in ("BHD", "JOD", "KWD", "OMR", "TND", "ISK", "UGX", "MGA"):
        with pytest.raises(
            ImproperlyConfigured, match=f"^CURRENCY is '{currency}': Stripe .* choose another"
        ):
            gateways.check_stripe(others | {"CURRENCY": currency})


def test_the_system_checks_ask_no_database():
    """An empty or absent database must not keep `migrate` or a worker from starting."""
    assert [error for error in run_checks() if error.is_serious()] == []


def test_an_unknown_gateway_is_named_in_the_error(monkeypatch):
    monkeypatch.setenv("PAYMENT_GATEWAY", "paypal")

    with pytest.raises(ImproperlyConfigured, match=f"'paypal': choose from {', '.join(gateways.GATEWAYS)}"):
        configuration.one_of("PAYMENT_GATEWAY", *gateways.GATEWAYS)


def test_an_entry_has_the_settings_that_a_gateway_needs_and_a_name_that_an_event_can_store():
    for name in gateways.WITHOUT_NAME:
        assert f"WEBHOOK_SECRET_{name.upper()}" in configuration.SETTINGS
    for name in gateways.GATEWAYS:
        assert len(name) <= WebhookEvent._meta.get_field("gateway").max_length, name
