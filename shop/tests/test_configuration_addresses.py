"""`REDIS_URL`, `BROKER_URL` and `BROKER_QUEUE_TYPE`: one server, or several that stand in for one another."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from shop import configuration

SENTINELS = "redis+sentinel://:secret%2F1@one:26380,two,[::1]:26381/primary/3?sentinel_password=other"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REDIS_URL", "BROKER_URL", "BROKER_QUEUE_TYPE"):
        monkeypatch.delenv(name, raising=False)


def test_sentinels_are_asked_for_the_primary_and_each_has_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REDIS_URL", SENTINELS)
    cache = configuration.redis_cache("REDIS_URL", "")
    options = cache["OPTIONS"]
    assert cache["LOCATION"] == "redis://primary/3"
    assert options["SENTINELS"] == [("one", 26380), ("two", 26379), ("::1", 26381)]
    assert (options["PASSWORD"], options["SENTINEL_KWARGS"]["password"]) == ("secret/1", "other")
    assert options["SENTINEL_KWARGS"]["socket_timeout"] < 1


@pytest.mark.parametrize(
    "address",
    [
        "redis+sentinel://one:26379",
        "redis+sentinel:///primary",
        "redis+sentinel://one:26379/primary/first",
        "redis+sentinel://one:port/primary",
        "sentinel://one/primary",
        "redis+sentinel://:secret@one:26379",
    ],
)
def test_an_address_of_sentinels_that_is_not_whole_is_refused_by_name_without_its_password(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", address)
    with pytest.raises(ImproperlyConfigured, match="REDIS_URL") as raised:
        configuration.redis_cache("REDIS_URL", "")
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "value", ["", "nonsense", "amqp://one;two:5672", "amqp://one;redis://two", "http://one"]
)
def test_nodes_of_the_broker_that_fit_not_together_are_refused_without_their_passwords(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKER_URL", value)
    with pytest.raises(ImproperlyConfigured, match="BROKER_URL"):
        configuration.broker_urls("BROKER_URL", "")


def test_quorum_queues_are_only_rabbitmqs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert configuration.broker_queue_type("BROKER_QUEUE_TYPE", ["redis://one"]) == "classic"
    monkeypatch.setenv("BROKER_QUEUE_TYPE", "quorum")
    assert configuration.broker_queue_type("BROKER_QUEUE_TYPE", ["amqp://one"]) == "quorum"
    with pytest.raises(ImproperlyConfigured, match="only RabbitMQ has"):
        configuration.broker_queue_type("BROKER_QUEUE_TYPE", ["redis://one"])
    monkeypatch.setenv("BROKER_QUEUE_TYPE", "mirrored")
    with pytest.raises(ImproperlyConfigured, match="choose from classic, quorum"):
        configuration.broker_queue_type("BROKER_QUEUE_TYPE", ["amqp://one"])
