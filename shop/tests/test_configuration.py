"""Settings that can't be meant stop the start, in one line that names them."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from shop import configuration


@pytest.mark.parametrize(
    ("name", "value", "read"),
    [
        ("PAYMENT_GATEWAY", "stripes", lambda name: configuration.one_of(name, "simulator")),
        ("DEBUG", "maybe", configuration.flag),
        ("WEB_THREADS", "many", lambda name: configuration.number(name, 64, least=2)),
        ("WEB_THREADS", "1", lambda name: configuration.number(name, 64, least=2)),
        ("SWEEP_SECONDS", "0", lambda name: configuration.number(name, 5.0, least=0.1)),
        ("EVENTS_AT_ONCE", "501", lambda name: configuration.number(name, 500, least=1, most=500)),
        ("REDIS_URL", "nonsense", lambda name: configuration.address(name, "", configuration.REDIS)),
        ("GATEWAY_URL", "http://", lambda name: configuration.address(name, "", configuration.WEB)),
        ("RATE_ORDERS", "60", lambda name: configuration.rate(name, "")),
        ("RATE_ORDERS", "0/m", lambda name: configuration.rate(name, "")),
        ("RATE_ORDERS", "60/y", lambda name: configuration.rate(name, "")),
        ("RATE_ORDERS", "10001/h", lambda name: configuration.rate(name, "")),
        ("DATABASE_URL", "foo://bar", lambda name: configuration.database(name, "sqlite:///x")),
    ],
)
def test_a_word_that_can_not_be_meant_is_named(
    name: str, value: str, read: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ImproperlyConfigured, match=name):
        read(name)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("value", "read"),
    [("60/m", (60, 60)), ("10/10m", (10, 600)), ("5/h", (5, 3_600)), ("3/2s", (3, 2)), ("", None)],
)
def test_a_rate_says_how_often_in_which_time(
    value: str, read: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RATE_ORDERS", value)
    assert configuration.rate("RATE_ORDERS", "60/m") == read


def test_what_is_not_set_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WEB_THREADS", "LAB", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)
    assert configuration.number("WEB_THREADS", 64, least=2) == 64
    assert configuration.flag("LAB") is False
    assert configuration.address("REDIS_URL", "redis://here", configuration.REDIS) == "redis://here"
