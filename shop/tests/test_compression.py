"""Larger answers to GET calls come in gzip to clients that take it; nothing with a secret does."""

import gzip

import pytest

from accounts.tests.clients import signed_in
from accounts.tokens import token_pairs
from events.tests import delivering
from foundation.http import compression
from foundation.tests.asgi_client import Answer, send_request_blocking
from foundation.tests.case_tables import in_one_test
from foundation.tests.factories import PASSWORD, SuperuserFactory
from inventory.models import Product
from inventory.tests.factories import ProductFactory

pytestmark = pytest.mark.django_db(transaction=True)


def ask(method: str, path: str, body=None, *, access="", **headers: str) -> Answer:
    headers = {"Accept-Encoding": "gzip"} | headers
    return send_request_blocking(method, f"/api{path}", body, access=access, headers=headers)


@in_one_test("header", ["gzip", "br;q=1.0, gzip;q=0.8, *;q=0.1", "GZIP"])
def test_a_client_that_takes_gzip_says_so(header):
    assert compression.is_taken(header)


@in_one_test("header", [None, "", "identity", "gzip;q=0", "gzip; q=0.0, br", "x-gzip-ed", "gzip," * 1_000])
def test_any_other_gets_the_answer_as_it_is(header):
    assert not compression.is_taken(header)


def test_large_answers_to_get_are_compressed_and_caches_are_told(in_both_lanes):
    Product.objects.bulk_create(ProductFactory.build_batch(60))
    delivering.note(*["coupon.issued"] * 30)
    access = token_pairs.create_access_token(SuperuserFactory())
    for path, by in (
        ("/v1/products", ""),
        ("/v1/products", access),
        ("/v1/events", access),
        ("/schema/", ""),
    ):
        whole, smaller = ask("GET", path, access=by, **{"Accept-Encoding": ""}), ask("GET", path, access=by)
        assert "content-encoding" not in whole.headers and len(whole.body) > 3 * len(smaller.body)
        assert smaller.headers["content-encoding"] == "gzip"
        assert int(smaller.headers["content-length"]) == len(smaller.body)
        assert len(gzip.decompress(smaller.body)) == len(whole.body)
        for answer in (whole, smaller):
            assert "Accept-Encoding" in answer.headers["vary"].split(", "), path
    short = ask("GET", "/v1/users/me", access=access)
    assert (short.status, "content-encoding" in short.headers) == (200, False)


def test_a_shared_list_has_a_weak_tag_in_gzip_and_is_known_by_either(in_both_lanes):
    Product.objects.bulk_create(ProductFactory.build_batch(60))
    whole, smaller = ask("GET", "/v1/products", **{"Accept-Encoding": "br"}), ask("GET", "/v1/products")

    assert smaller.headers["etag"] == f"W/{whole.headers['etag']}"
    for known in (smaller.headers["etag"], whole.headers["etag"]):
        answer = ask("GET", "/v1/products", **{"If-None-Match": known})
        assert (answer.status, "content-encoding" in answer.headers) == (304, False)


def test_no_answer_with_a_secret_and_no_page_of_operators_is_compressed(monkeypatch):
    monkeypatch.setattr(compression, "SMALLEST_BYTES", 1)
    staff = SuperuserFactory()
    access = token_pairs.create_access_token(staff)
    for answer in (
        ask("POST", "/v1/auth/token", {"username": staff.username, "password": PASSWORD}),
        ask("POST", "/v1/auth/refresh", {"refresh": token_pairs.create_token_pair(staff).refresh}),
        ask("POST", "/v1/api-keys", {"name": "till", "scopes": ["orders:read"]}, access=access),
    ):
        assert (answer.status in (200, 201), "content-encoding" in answer.headers) == (True, False)
    page = signed_in(staff).get("/admin/", headers={"Accept-Encoding": "gzip"})
    assert (page.status_code, "Content-Encoding" in page) == (200, False)


def test_a_list_of_operators_is_compressed_and_its_length_tells_nothing():
    Product.objects.bulk_create(ProductFactory.build_batch(50))
    operator = signed_in(SuperuserFactory())

    def page(**headers: str):
        answer = operator.get("/admin/inventory/product/", headers=headers)
        assert answer.status_code == 200
        return answer

    smaller = [page(Accept_Encoding="gzip") for _ in range(8)]
    whole = page()

    assert all(len(one.content) * 5 < len(whole.content) for one in smaller)
    assert b"SKU" in gzip.decompress(smaller[0].content).upper()
    # Besides the CSRF token, a name of up to a hundred random letters.
    assert len({len(one.content) for one in smaller}) > 4
    assert "Content-Encoding" not in whole
