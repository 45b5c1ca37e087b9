"""Lists for customers: pages by cursor, in a burst read once a second at most, and 304 while unchanged."""

import asyncio
import threading
from itertools import product
from typing import Any

import orjson
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.tests.clients import Api, client_of, faults, new_customer, new_superuser
from accounts.tokens import token_pairs
from coupons import selectors as coupon_selectors
from coupons.models import Coupon
from coupons.tests.factories import CampaignFactory, coupon_of
from foundation import clock
from foundation.concurrency.event_loop import CALL_POOL
from foundation.http import cached_lists, pagination
from foundation.tests.asgi_client import Answer, send_request
from foundation.tests.case_tables import check_each, in_one_test
from foundation.tests.factories import AccountFactory, SuperuserFactory, set_columns
from foundation.tests.plans import assert_read_by_index
from foundation.tests.racing import wait_until
from foundation.tests.rolled_back import rolled_back
from foundation.tests.second_connection import ask
from foundation.tests.servers import explain
from inventory import products
from inventory.models import Product
from inventory.tests.factories import ProductFactory

pytestmark = pytest.mark.django_db
LISTS = ["/orders", "/payments", "/coupons", "/campaigns", "/products", "/wallet/entries"]
POSITIONS = ["x", "", "%00", "%FF", "1.5", "2026-13-45", "9" * 5_000]
CURSORS = [
    *(f"{direction}:{text}" for direction in ("after", "before") for text in POSITIONS),
    *("nonsense", "%FF", "AAAA", "..", "%00", "%20", "1", "last", "cD0x"),
]


@pytest.fixture
def api():
    return new_customer()


@in_one_test(("path", "cursor"), product(LISTS, CURSORS))
def test_a_cursor_that_is_made_up_or_can_not_be_read_is_refused_and_is_not_the_first_page(api, path, cursor):
    answer = api.get(f"{path}?cursor={cursor}")
    assert faults(answer) == [("cursor", "invalid")]


def test_every_page_leads_to_its_neighbours_and_back(api):
    Product.objects.bulk_create(ProductFactory.build_batch(9))
    first = page = api.read("/products?limit=2")
    seen = [row["id"] for row in page["results"]]
    while page["next"]:
        before, page = page, api.read(page["next"])
        seen += [row["id"] for row in page["results"]]
        assert api.rows(page["previous"]) == before["results"]
    assert seen == [*Product.objects.order_by("-id").values_list("id", flat=True)]
    assert api.rows("/products?limit=2&cursor=") == first["results"]


def test_a_parameter_that_no_list_has_reads_nothing_and_makes_no_list_of_its_own(monkeypatch):
    """Each random one was a list of its own, which a thread read."""
    monkeypatch.setattr(CALL_POOL, "start", lambda *_, **__: pytest.fail("a thread was started"))
    cached_lists._lists.clear()

    async def ask():
        paths = [f"/api/v1/{name}" for name in ("products", "campaigns", "sales")]
        queries = [f"limit=5&cache_buster={number}" for number in range(30)]
        return await asyncio.gather(
            *(send_request("GET", path, query=one) for path in paths for one in queries)
        )

    for answer in asyncio.run(ask()):
        errors = answer.json()["errors"]
        assert [(error["field"], error["code"]) for error in errors] == [("cache_buster", "unknown_field")]
        assert answer.status == 400
    assert not cached_lists._lists


@in_one_test(("path", "position"), product(["/products", "/wallet/entries"], [-1, 0, 2**31, 2**63 - 1]))
def test_a_place_where_nothing_is_has_a_page_without_rows_or_all(api, path, position):
    assert api.get(f"{path}?cursor=after:{position}").status_code == 200


NO_LIMITS = ["", "0", "000", "-1", "1.5", "1e2", "ten", "\u0665", "0" * 5_000, "201", "9" * 5_000]


@in_one_test(("path", "limit"), product([*LISTS, "/sales"], NO_LIMITS))
def test_a_limit_that_is_no_number_from_1_to_200_is_refused(api, path, limit):
    answer = api.get(f"{path}?limit={limit}")
    assert faults(answer) == [("limit", "invalid")]


def test_a_page_has_50_rows_or_as_many_as_asked_up_to_200(api):
    Product.objects.bulk_create(ProductFactory.build_batch(201))
    asked = {"": 50, "?limit=7": 7, "?limit=200": 200}

    def has_rows(limit, rows):
        page = api.read(f"/products{limit}")
        assert len(page["results"]) == rows
        assert len(api.rows(page["next"])) == min(rows, 201 - rows)

    check_each(asked.items(), has_rows)


def issue(count: int) -> list[Coupon]:
    """Coupons of one campaign, in the order of their ids."""
    campaign = CampaignFactory(quantity=count)
    return [coupon_of(campaign) for _ in range(count)]


def test_a_list_without_an_index_looks_at_so_many_rows_a_page_and_its_pages_lead_both_ways(monkeypatch):
    monkeypatch.setattr(pagination, "ROWS_AT_ONCE", 10)
    coupons = issue(23)
    staff = new_superuser()
    several = [{0}, {0, 1, 2, 3}, {11}, {18}, {13, 17}, {3, 22}, {4, 5, 14}, set(), set(range(23))]

    def leads_both_ways(expired):
        with rolled_back():
            chosen = [coupons[number] for number in sorted(expired)]
            lapsed = Coupon.objects.filter(pk__in=[coupon.pk for coupon in chosen])
            lapsed.update(expires_at=clock.now())
            expected = [coupon.code for coupon in reversed(chosen)]
            assert both_ways(staff) == [expected, expected[::-1], expected]

    check_each(several, leads_both_ways)


def both_ways(staff: Api) -> list[list[str]]:
    """The codes of all expired coupons by pages of two: forwards, backwards, and forwards again."""
    with CaptureQueriesContext(connection) as captured:
        page = staff.read("/coupons?status=expired&limit=2")
    assert [one["sql"] for one in captured if "`coupons_coupon`.`id` >= " in one["sql"]]

    walks = []
    for link, step in (("next", 1), ("previous", -1), ("next", 1)):
        codes = [row["code"] for row in page["results"][::step]]
        while page[link]:
            page = staff.read(page[link])
            assert len(page["results"]) <= 2
            codes += [row["code"] for row in page["results"][::step]]
        walks.append(codes)
    return walks


def test_the_newest_of_all_coupons_are_read_by_their_key():
    for _ in range(2):
        issue(30)
    staff = new_superuser()

    with CaptureQueriesContext(connection) as captured:
        assert len(staff.rows("/coupons?limit=10")) == 10

    [statement] = [one["sql"] for one in captured if "FROM `coupons_coupon`" in one["sql"]]
    steps = [step for step in explain(statement) if str(step["table"]).startswith("coupons_")]
    assert [(step["table"], step["key"]) for step in steps] == [("coupons_coupon", "PRIMARY")]
    assert not any("filesort" in step["Extra"] for step in steps)


def test_the_list_of_an_account_reads_its_own_rows_by_an_index_however_many_others_there_are(
    transactional_db,
):
    account = AccountFactory()
    for _ in range(3):
        coupon_of(CampaignFactory(), account)
    reads = []
    for campaigns in (20, 60):
        for _ in range(campaigns):
            issue(4)
        ask(connection, "ANALYZE TABLE coupons_coupon, coupons_campaign")
        ask(connection, "FLUSH STATUS")
        assert list(coupon_selectors.find(owner_id=account.pk).coupons.order_by("-id")[0:51])
        counts = dict(ask(connection, "SHOW SESSION STATUS LIKE 'Handler\\_read\\_%%'"))
        # The rest are reads of temporary tables.
        rest = {"Handler_read_rnd_next", "Handler_read_rnd"}
        reads.append(sum(int(count) for name, count in counts.items() if name not in rest))
    assert reads[0] == reads[1] < 40
    with CaptureQueriesContext(connection) as captured:
        assert len(client_of(account).rows("/coupons")) == 3
    [statement] = [one["sql"] for one in captured if "FROM `coupons_coupon`" in one["sql"]]
    assert_read_by_index(statement, but_for=["coupons_campaign"])


# In a burst, read once a second at most

PATH = "/api/v1/products"
LONG = 60.0


@pytest.fixture
def readings(transactional_db, monkeypatch):
    """What products were looked for, once for each reading of the list."""
    found: list[dict[str, Any]] = []
    find = products.find

    def counting(**arguments):
        found.append(arguments)
        return find(**arguments)

    monkeypatch.setattr(products, "find", counting)
    return found


@pytest.fixture
def burst(transactional_db, monkeypatch):
    monkeypatch.setattr(cached_lists, "BURST_REQUESTS", 1)


@pytest.fixture
def kept_for_long(monkeypatch, burst):
    """Pages stay recent as long as a test takes, however busy the machine is."""
    monkeypatch.setattr(cached_lists, "MAX_AGE_SECONDS", LONG)


def get(path: str = PATH, **about) -> Answer:
    return asyncio.run(send_request("GET", path, **about))


def names_in(answer) -> list[str]:
    assert answer.status == 200, answer.body
    return [row["name"] for row in answer.json()["results"]]


def rename(product, name: str):
    """Change the row as another process would: nothing in this one knows."""
    set_columns(product, name=name)


def test_clients_that_ask_at_once_share_one_reading(kept_for_long, readings):
    """Also with one that leaves, which takes nothing from those that wait with it."""
    ProductFactory(name="Tea")
    access = token_pairs.create_access_token(AccountFactory())

    async def get_all():
        leaving = asyncio.create_task(send_request("GET", PATH))
        anonymous = [send_request("GET", PATH) for _ in range(60)]
        signed_in = [send_request("GET", PATH, access=access) for _ in range(40)]
        staying = asyncio.gather(*anonymous, *signed_in)
        await asyncio.sleep(0)
        leaving.cancel()
        return await staying

    answers = asyncio.run(get_all())
    assert len(readings) == 1
    assert {answer.body for answer in answers} == {answers[0].body}
    assert names_in(answers[0]) == ["Tea"]
    assert {answer.headers["cache-control"] for answer in answers[:60]} == {"no-cache"}
    assert {answer.headers["cache-control"] for answer in answers[60:]} == {"no-store"}


def test_without_the_cache_each_of_them_would_read_the_list(monkeypatch, readings):
    monkeypatch.setattr(cached_lists, "LONGEST_URL", 1)

    async def get_all():
        return await asyncio.gather(*[send_request("GET", PATH) for _ in range(60)])

    asyncio.run(get_all())
    assert len(readings) == 60


def test_a_change_of_another_process_shows_within_a_second(burst, readings):
    product = ProductFactory(name="Tea")
    assert names_in(get()) == ["Tea"]
    rename(product, "Coffee")
    wait_until(lambda: names_in(get()) == ["Coffee"], seconds=cached_lists.MAX_AGE_SECONDS + 1)
    assert len(readings) >= 2


def test_without_a_burst_each_client_sees_the_list_as_it_is_now(transactional_db, monkeypatch):
    monkeypatch.setattr(cached_lists, "MAX_AGE_SECONDS", LONG)
    product = ProductFactory(name="0")
    for number in range(1, cached_lists.BURST_REQUESTS):
        rename(product, f"{number}")
        assert names_in(get()) == [f"{number}"]
    last = cached_lists.BURST_REQUESTS - 1
    rename(product, "late")
    assert names_in(get()) == [f"{last}"]


def test_a_reading_that_takes_longer_than_a_second_is_not_waited_for_by_later_requests(monkeypatch, burst):
    monkeypatch.setattr(cached_lists, "MAX_AGE_SECONDS", 0.1)
    product, find = ProductFactory(name="Tea"), products.find
    may_end, has_read, calls = threading.Event(), threading.Event(), []

    def slow_at_first(**arguments):
        calls.append(arguments)
        found = find(**arguments)
        if len(calls) == 1:
            list(found)
            has_read.set()
            assert may_end.wait(20)
        return found

    monkeypatch.setattr(products, "find", slow_at_first)

    async def get_both():
        early = asyncio.create_task(send_request("GET", PATH))
        while not has_read.is_set():
            await asyncio.sleep(0.01)
        await asyncio.to_thread(rename, product, "Coffee")
        await asyncio.sleep(0.15)
        late = await send_request("GET", PATH)
        may_end.set()
        return await early, late

    early, late = asyncio.run(get_both())
    assert names_in(late) == ["Coffee"]
    assert early.status == 200
    assert len(calls) == 2


@pytest.mark.parametrize(
    "known", [lambda etag: etag, lambda etag: f"W/{etag}", lambda etag: f'"other", {etag}', lambda etag: "*"]
)
def test_a_list_that_has_not_changed_is_304_without_a_body(kept_for_long, known):
    ProductFactory()
    etag = get().headers["etag"]
    answer = get(headers={"If-None-Match": known(etag)})
    assert (answer.status, answer.body) == (304, b"")
    assert answer.headers["etag"] == etag
    assert "content-length" not in answer.headers and "content-type" not in answer.headers


def test_what_staff_change_here_shows_at_once_to_all_with_another_tag(kept_for_long):
    product = ProductFactory(name="Tea")
    access = token_pairs.create_access_token(SuperuserFactory())
    before = get()
    assert names_in(before) == ["Tea"]
    changed = asyncio.run(send_request("PATCH", f"{PATH}/{product.pk}", {"name": "Coffee"}, access=access))
    assert changed.status == 200
    answer = get(headers={"If-None-Match": before.headers["etag"]})
    assert names_in(answer) == ["Coffee"]
    assert answer.headers["etag"] != before.headers["etag"]


def test_staff_are_never_shown_a_kept_page(kept_for_long):
    product = ProductFactory(name="Tea")
    access = token_pairs.create_access_token(SuperuserFactory())
    assert names_in(get(access=access)) == names_in(get()) == ["Tea"]
    set_columns(product, name="Coffee", is_active=False)
    assert names_in(get(access=access)) == ["Coffee"]
    assert names_in(get()) == ["Tea"]


def test_pages_are_kept_by_their_address_and_refusals_are_not(kept_for_long):
    for _ in range(2):
        assert get(query="limit=none").status == 400
    assert not any(known.page for known in cached_lists._lists.values())
    for name in ("Tea", "Coffee"):
        ProductFactory(name=name)
    assert names_in(get(query="search=tea")) == ["Tea"]
    assert names_in(get(query="search=coffee")) == ["Coffee"]
    first = orjson.loads(get(query="limit=1").body)
    assert first["next"].startswith("http://127.0.0.1:8000/")
    other = get(query="limit=1", headers={"Host": "localhost"})
    assert other.json()["next"].startswith("http://localhost/")
