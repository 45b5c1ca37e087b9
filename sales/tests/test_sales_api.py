"""Sales by HTTP: reading, creating, changing, pausing; entries and their owners; staff and other accounts."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from accounts.tests.clients import Api, client_of, faults, new_customer, problem_of
from foundation.models import JournalLine
from foundation.rates.rate import Rate
from foundation.tests.case_tables import in_one_test
from foundation.tests.factories import AccountFactory, set_columns, staff_member
from foundation.tests.instants import ago, from_now
from foundation.tests.waiting import in_background, shifted
from inventory.tests.factories import ProductFactory
from sales import audit
from sales.models import Sale, SaleEntry
from sales.tests import factories
from sales.waiting_room import advancing

pytestmark = pytest.mark.django_db(transaction=True)


def staff(*permissions: str) -> Api:
    """A client of staff with these permissions of sales."""
    return client_of(staff_member(*[f"sales.{name}" for name in permissions]))


def moment(seconds: float) -> str:
    return (from_now(seconds=seconds)).isoformat()


def body(**given) -> dict[str, Any]:
    times = {"opens_at": moment(60), "closes_at": moment(3_600), "admitted_for_seconds": 120}
    terms = {"name": "Drop", "products": [ProductFactory(on_hand=5).pk], "admission": "queue"}
    return times | terms | {"rate_per_minute": 60} | given


def test_staff_create_a_sale_and_everybody_reads_it():
    given = body()
    answer = staff("add_sale").post("/sales", given)
    assert answer.status_code == 201, answer.json()
    sale = answer.json()
    assert answer["Location"] == f"/api/v1/sales/{sale['id']}"
    same = ("name", "products", "admission", "rate_per_minute")
    assert {name: sale[name] for name in same} == {name: given[name] for name in same}
    assert (sale["status"], sale["seed"], len(sale["seed_hash"])) == ("scheduled", None, 64)
    assert client_of().read(f"/sales/{sale['id']}") == sale
    assert client_of().rows("/sales") == [sale]
    noted = [f"{line.before}{line.after}{line.detail}" for line in JournalLine.objects.all()]
    assert Sale.objects.get().seed not in f"{sale}{noted}"


@in_one_test(
    ("field", "value", "code"),
    [
        ("products", [], "too_short"),
        ("products", [10**6], "not_found"),
        ("rate_per_minute", 0, "greater_than_equal"),
        ("rate_per_minute", "5", "int_type"),
        ("admitted_for_seconds", 0, "greater_than_equal"),
        ("admission", "lottery", "literal_error"),
        ("closes_at", "2020-01-01T00:00:00Z", "not_after_opening"),
        ("opens_at", "2020-01-01T00:00:00", "value_error"),
        ("seed", "mine", "unknown_field"),
        ("name", " ", "string_pattern_mismatch"),
    ],
)
def test_wrong_terms_are_400(field, value, code):
    assert (field, code) in faults(staff("add_sale").post("/sales", body(**{field: value})))
    assert not Sale.objects.exists()


def test_a_product_is_in_one_sale_that_is_not_over():
    product, api = ProductFactory(), staff("add_sale", "change_sale")
    twice = api.post("/sales", body(products=[product.pk] * 2))
    assert faults(twice) == [("products", "duplicate")]
    first = factories.create_sale(product, closes_in=100)
    answer = api.post("/sales", body(products=[product.pk]))
    assert problem_of(answer) == (409, "product_in_sale")
    assert answer.json()["products"] == [product.pk]

    with shifted(seconds=101):
        second = api.post("/sales", body(products=[product.pk]))
        assert second.status_code == 201
        # The first one gives it up, and the second one keeps it.
        assert api.patch(f"/sales/{first.pk}", {"products": []}).status_code == 200
    product.refresh_from_db()
    assert product.sale_id == second.json()["id"]


def test_a_sale_that_closes_later_takes_no_product_back_from_another_that_runs():
    """The other one took it while this one seemed to be over, as by a clock that has gone back since."""
    product, api = ProductFactory(), staff("change_sale")
    first = factories.create_sale(product, closes_in=100)
    later = {"closes_at": (from_now(hours=2)).isoformat()}
    with shifted(seconds=101):
        second = factories.create_sale(product, closes_in=200)

    assert problem_of(api.patch(f"/sales/{first.pk}", later)) == (409, "product_in_sale")
    broken = [report.offenders for report in audit.audit() if not report.holds]
    assert broken == [[f"sale {first.pk}: product {product.pk} obeys another"]]
    over = ago(seconds=1)
    set_columns(second, opens_at=over - timedelta(seconds=1), closes_at=over)
    assert api.patch(f"/sales/{first.pk}", later).status_code == 200
    product.refresh_from_db()
    assert product.sale_id == first.pk


def test_terms_change_until_they_matter():
    api, sale = staff("change_sale"), factories.create_sale(opens_in=100, closes_in=1_000)
    product = ProductFactory()
    terms = {"name": "New", "opens_at": moment(50), "admission": "open", "rate_per_minute": 9}
    changed = api.patch(f"/sales/{sale.pk}", terms | {"products": [product.pk]})
    assert changed.status_code == 200
    assert (changed.json()["admission"], changed.json()["products"]) == ("open", [product.pk])
    with shifted(seconds=60):
        for given in ({"opens_at": moment(70)}, {"admission": "queue"}):
            assert problem_of(api.patch(f"/sales/{sale.pk}", given)) == (409, "sale_has_opened")
        assert api.patch(f"/sales/{sale.pk}", {"closes_at": moment(500)}).status_code == 200
        assert api.patch(f"/sales/{sale.pk}", {"rate_per_minute": 10}).status_code == 200
    with shifted(seconds=900):
        api = staff("change_sale")
        assert problem_of(api.patch(f"/sales/{sale.pk}", {"closes_at": moment(500)})) == (409, "sale_closed")
        assert api.patch(f"/sales/{sale.pk}", {"name": "Over", "products": []}).status_code == 200
    assert api.patch("/sales/999", {"name": "x"}).status_code == 404


def test_a_waiting_room_with_entries_stays_one():
    sale = factories.create_sale(opens_in=100)
    factories.join(sale)
    answer = staff("change_sale").patch(f"/sales/{sale.pk}", {"admission": "open"})
    assert problem_of(answer) == (409, "sale_has_entries")


def test_pausing_and_resuming_need_a_reason_and_may_be_repeated():
    sale, api = factories.create_sale(), staff("change_sale")
    assert api.post(f"/sales/{sale.pk}/pause", {}).status_code == 400
    for call, status in (("pause", "paused"), ("pause", "paused"), ("resume", "open"), ("resume", "open")):
        answer = api.post(f"/sales/{sale.pk}/{call}", {"reason": "The price is wrong."})
        assert (answer.status_code, answer.json()["status"]) == (200, status)
    lines = JournalLine.objects.filter(subject=f"sale {sale.pk}").order_by("id")
    assert [line.what for line in lines] == ["sale.created", "sale.paused", "sale.resumed"]


def test_an_entry_by_http_from_joining_to_admission():
    sale, account = factories.create_sale(rate_per_minute=1), AccountFactory()
    api = client_of(account)
    factories.join(sale)
    joined = api.post(f"/sales/{sale.pk}/entries")
    assert joined.status_code == 202
    entry = joined.json()
    assert (joined["Location"], joined["Retry-After"]) == (f"/api/v1/sale-entries/{entry['id']}", "30")
    place = {"status": "waiting", "ahead": 1, "estimated_wait_seconds": 120, "admitted_until": None}
    assert entry == place | {"id": entry["id"], "sale": sale.pk, "account": account.pk}
    assert api.post(f"/sales/{sale.pk}/entries", {}).json() == entry
    assert api.post(f"/sales/{sale.pk}/entries", {"user": 1}).status_code == 400

    advancing.advance(sale.pk)
    assert api.read(f"/sale-entries/{entry['id']}")["ahead"] == 0
    with shifted(seconds=61):
        advancing.advance(sale.pk)
        admitted = api.get(f"/sale-entries/{entry['id']}")
    assert "Retry-After" not in admitted
    body = admitted.json()
    assert (body["status"], body["ahead"], body["estimated_wait_seconds"]) == ("admitted", 0, 0)
    until = datetime.fromisoformat(body["admitted_until"])
    assert (until.tzinfo, until) == (UTC, SaleEntry.objects.get(pk=entry["id"]).admitted_until)


def test_joining_is_limited_and_not_for_staff(settings):
    settings.RATE_ENTRIES = Rate(3, 60)
    sale, api = factories.create_sale(), new_customer()
    answers = [api.post(f"/sales/{sale.pk}/entries") for _ in range(4)]
    assert [one.status_code for one in answers[:3]] == [202] * 3
    assert problem_of(answers[3]) == (429, "throttled")
    assert {staff().post(f"/sales/{sale.pk}/entries").status_code for _ in range(4)} == {202}


def test_joining_a_sale_that_cannot_exist_is_not_found():
    for id in (10**30, 2**63 - 1):
        assert problem_of(new_customer().post(f"/sales/{id}/entries")) == (404, "not_found")


def test_prefer_wait_ends_at_the_admission():
    sale, account = factories.create_sale(), AccountFactory()
    entry = factories.join(sale, account)
    answer = in_background(lambda: client_of(account).get(f"/sale-entries/{entry.id}", Prefer="wait=20"))
    advancing.advance(sale.pk)
    assert answer.result(15).json()["status"] == "admitted"
