"""Lists for customers: in a burst read once a second at most, never older, and 304 while unchanged."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from accounts.tokens import tokens
from inventory import products
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from shop.http import cached_lists
from shop.tests.asgi_client import Answer, send_request
from shop.tests.factories import AccountFactory, SuperuserFactory
from shop.tests.racing import wait_until

pytestmark = pytest.mark.django_db(transaction=True)
PATH = "/api/v1/products"
LONG = 60.0


@pytest.fixture
def readings(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What products were looked for, once for each reading of the list."""
    found: list[dict[str, Any]] = []
    find = products.find

    def counting(**arguments: Any) -> Any:
        found.append(arguments)
        return find(**arguments)

    monkeypatch.setattr(products, "find", counting)
    return found


@pytest.fixture
def burst(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached_lists, "BURST_REQUESTS", 1)


@pytest.fixture
def kept_for_long(monkeypatch: pytest.MonkeyPatch, burst: None) -> None:
    """Pages stay recent as long as a test takes, however busy the machine is."""
    monkeypatch.setattr(cached_lists, "MAX_AGE_SECONDS", LONG)


def get(path: str = PATH, **about: Any) -> Answer:
    return asyncio.run(send_request("GET", path, **about))


def names_in(answer: Answer) -> list[str]:
    assert answer.status == 200, answer.body
    return [row["name"] for row in orjson.loads(answer.body)["results"]]


def rename(product: Product, name: str) -> None:
    """Change the row as another process would: nothing in this one knows."""
    Product.objects.filter(pk=product.pk).update(name=name)


def test_clients_that_ask_at_once_share_one_reading(kept_for_long: None, readings: list[Any]) -> None:
    ProductFactory.create(name="Tea")
    access = tokens.create_access_token(AccountFactory.create())

    async def ask() -> list[Answer]:
        anonymous = [send_request("GET", PATH) for _ in range(60)]
        signed_in = [send_request("GET", PATH, access=access) for _ in range(40)]
        return await asyncio.gather(*anonymous, *signed_in)

    answers = asyncio.run(ask())
    assert len(readings) == 1
    assert {answer.body for answer in answers} == {answers[0].body}
    assert names_in(answers[0]) == ["Tea"]
    assert {answer.headers["cache-control"] for answer in answers[:60]} == {"no-cache"}
    assert {answer.headers["cache-control"] for answer in answers[60:]} == {"no-store"}


def test_without_the_cache_each_of_them_would_read_the_list(
    monkeypatch: pytest.MonkeyPatch, readings: list[Any]
) -> None:
    monkeypatch.setattr(cached_lists, "LONGEST_URL", 1)

    async def ask() -> list[Answer]:
        return await asyncio.gather(*[send_request("GET", PATH) for _ in range(60)])

    asyncio.run(ask())
    assert len(readings) == 60


def test_a_change_of_another_process_shows_within_a_second(burst: None, readings: list[Any]) -> None:
    product = ProductFactory.create(name="Tea")
    assert names_in(get()) == ["Tea"]
    rename(product, "Coffee")
    wait_until(lambda: names_in(get()) == ["Coffee"], seconds=cached_lists.MAX_AGE_SECONDS + 1)
    assert len(readings) >= 2


def test_without_a_burst_each_client_sees_the_list_as_it_is_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached_lists, "MAX_AGE_SECONDS", LONG)
    product = ProductFactory.create(name="0")
    for number in range(1, cached_lists.BURST_REQUESTS):
        rename(product, f"{number}")
        assert names_in(get()) == [f"{number}"]
    last = cached_lists.BURST_REQUESTS - 1
    rename(product, "late")
    assert names_in(get()) == [f"{last}"]


def test_a_reading_that_takes_longer_than_a_second_is_not_waited_for_by_later_requests(
    monkeypatch: pytest.MonkeyPatch, burst: None
) -> None:
    monkeypatch.setattr(cached_lists, "MAX_AGE_SECONDS", 0.1)
    product, find = ProductFactory.create(name="Tea"), products.find
    may_end, has_read, calls = threading.Event(), threading.Event(), []

    def slow_at_first(**arguments: Any) -> Any:
        calls.append(arguments)
        found = find(**arguments)
        if len(calls) == 1:
            list(found)
            has_read.set()
            assert may_end.wait(20)
        return found

    monkeypatch.setattr(products, "find", slow_at_first)

    async def ask() -> tuple[Answer, Answer]:
        early = asyncio.create_task(send_request("GET", PATH))
        while not has_read.is_set():
            await asyncio.sleep(0.01)
        await asyncio.to_thread(rename, product, "Coffee")
        await asyncio.sleep(0.15)
        late = await send_request("GET", PATH)
        may_end.set()
        return await early, late

    early, late = asyncio.run(ask())
    assert names_in(late) == ["Coffee"]
    assert early.status == 200
    assert len(calls) == 2


def test_a_client_that_leaves_takes_nothing_from_those_that_wait_with_it(kept_for_long: None) -> None:
    ProductFactory.create(name="Tea")

    async def ask() -> Answer:
        leaving = asyncio.create_task(send_request("GET", PATH))
        staying = asyncio.create_task(send_request("GET", PATH))
        await asyncio.sleep(0)
        leaving.cancel()
        return await staying

    assert names_in(asyncio.run(ask())) == ["Tea"]


@pytest.mark.parametrize(
    "known", [lambda etag: etag, lambda etag: f"W/{etag}", lambda etag: f'"other", {etag}', lambda etag: "*"]
)
def test_a_list_that_has_not_changed_is_304_without_a_body(
    kept_for_long: None, known: Callable[[str], str]
) -> None:
    ProductFactory.create()
    etag = get().headers["etag"]
    answer = get(headers={"If-None-Match": known(etag)})
    assert (answer.status, answer.body) == (304, b"")
    assert answer.headers["etag"] == etag
    assert "content-length" not in answer.headers and "content-type" not in answer.headers


def test_a_list_that_has_changed_is_200_with_another_tag(burst: None) -> None:
    product = ProductFactory.create(name="Tea")
    etag = get().headers["etag"]
    rename(product, "Coffee")
    cached_lists.expire()
    answer = get(headers={"If-None-Match": etag})
    assert names_in(answer) == ["Coffee"]
    assert answer.headers["etag"] != etag


def test_what_staff_change_here_shows_at_once_to_all(kept_for_long: None) -> None:
    product = ProductFactory.create(name="Tea")
    access = tokens.create_access_token(SuperuserFactory.create())
    assert names_in(get()) == ["Tea"]
    changed = asyncio.run(send_request("PATCH", f"{PATH}/{product.pk}", {"name": "Coffee"}, access=access))
    assert changed.status == 200
    assert names_in(get()) == ["Coffee"]


def test_staff_are_never_shown_a_kept_page(kept_for_long: None) -> None:
    product = ProductFactory.create(name="Tea")
    access = tokens.create_access_token(SuperuserFactory.create())
    assert names_in(get(access=access)) == names_in(get()) == ["Tea"]
    Product.objects.filter(pk=product.pk).update(name="Coffee", is_active=False)
    assert names_in(get(access=access)) == ["Coffee"]
    assert names_in(get()) == ["Tea"]


def test_refusals_are_not_kept(kept_for_long: None, readings: list[Any]) -> None:
    for _ in range(2):
        assert get(query="limit=none").status == 400
    assert not any(known.page for known in cached_lists._lists.values())


def test_pages_are_kept_by_their_address(kept_for_long: None) -> None:
    for name in ("Tea", "Coffee"):
        ProductFactory.create(name=name)
    assert names_in(get(query="search=tea")) == ["Tea"]
    assert names_in(get(query="search=coffee")) == ["Coffee"]
    first = orjson.loads(get(query="limit=1").body)
    assert first["next"].startswith("http://127.0.0.1:8000/")
    other = get(query="limit=1", headers={"Host": "localhost"})
    assert orjson.loads(other.body)["next"].startswith("http://localhost/")
