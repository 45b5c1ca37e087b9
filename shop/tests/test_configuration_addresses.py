"""`REDIS_URL`, `BROKER_URL` and `BROKER_QUEUE_TYPE`: one server, or several that stand in for one another."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from shop import configuration

SENTINELS = "redis+sentinel://:secret%2F1@one:26380,two,[::1]:26381/primary/3?sentinel_password=other"
NODES = "amqp://shop:secret@one:5672//;amqp://shop:secret@two:5672//"


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REDIS_URL", "BROKER_URL", "BROKER_QUEUE_TYPE"):
        monkeypatch.delenv(name, raising=False)


def test_one_redis_is_the_cache_as_it_is() -> None:
    cache = configuration.redis_cache("REDIS_URL", "redis://here:6379/0")
    assert cache["LOCATION"] == "redis://here:6379/0"
    assert "SENTINELS" not in cache["OPTIONS"]
    assert cache["OPTIONS"]["CONNECTION_POOL_KWARGS"]["retry"] is None


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
    ],
)
def test_an_address_of_sentinels_that_is_not_whole_is_refused_by_name(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", address)
    with pytest.raises(ImproperlyConfigured, match="REDIS_URL"):
        configuration.redis_cache("REDIS_URL", "")


def test_a_refused_address_of_sentinels_shows_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis+sentinel://:secret@one:26379")
    with pytest.raises(ImproperlyConfigured) as raised:
        configuration.redis_cache("REDIS_URL", "")
    assert "secret" not in str(raised.value)


def test_the_broker_has_one_node_or_several(monkeypatch: pytest.MonkeyPatch) -> None:
    assert configuration.broker_urls("BROKER_URL", "redis://here/1") == ["redis://here/1"]
    monkeypatch.setenv("BROKER_URL", NODES)
    assert configuration.broker_urls("BROKER_URL", "") == NODES.split(";")


@pytest.mark.parametrize(
    "value", ["", "nonsense", "amqp://one;two:5672", "amqp://one;redis://two", "http://one"]
)
def test_nodes_of_the_broker_that_fit_not_together_are_refused_without_their_passwords(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BROKER_URL", value)
    with pytest.raises(ImproperlyConfigured, match="BROKER_URL"):
        configuration.broker_urls("BROKER_URL", "")


def test_every_node_of_the_broker_is_tried_once_even_if_one_is_frozen() -> None:
    one = configuration.broker_transport_options(["redis://one"], visibility_timeout=600)
    assert (one["max_retries"], "connect_retries_timeout" in one, "confirm_publish" in one) == (
        0,
        False,
        False,
    )
    three = configuration.broker_transport_options(
        ["amqp://one"] * 3, visibility_timeout=600, queue_type="quorum"
    )
    assert (three["max_retries"], three["confirm_publish"]) == (2, True)
    assert (three["read_timeout"], three["write_timeout"]) == (2, 2)
    assert three["connect_retries_timeout"] > 3 * configuration.BROKER_CONNECT_SECONDS


def test_quorum_queues_are_only_rabbitmqs(monkeypatch: pytest.MonkeyPatch) -> None:
    assert configuration.broker_queue_type("BROKER_QUEUE_TYPE", ["redis://one"]) == "classic"
    monkeypatch.setenv("BROKER_QUEUE_TYPE", "quorum")
    assert configuration.broker_queue_type("BROKER_QUEUE_TYPE", ["amqp://one"]) == "quorum"
    with pytest.raises(ImproperlyConfigured, match="only RabbitMQ has"):
        configuration.broker_queue_type("BROKER_QUEUE_TYPE", ["redis://one"])
    monkeypatch.setenv("BROKER_QUEUE_TYPE", "mirrored")
    with pytest.raises(ImproperlyConfigured, match="choose from classic, quorum"):
        configuration.broker_queue_type("BROKER_QUEUE_TYPE", ["amqp://one"])
