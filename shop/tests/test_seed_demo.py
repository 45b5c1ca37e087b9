"""The demo data can be used and seeded again, and breaks no law."""

import json
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management.base import CommandError
from django.db import connection
from django.test.utils import CaptureQueriesContext

from coupons.models import Campaign, PoolCode
from inventory.models import Product, StockMovement
from payments import ledger
from payments.tests.own_gateway import gateway_process, own_gateway
from sales.models import Sale
from shop.accounts import authentication
from shop.management import laws
from shop.tests.clients import Api, client_of
from shop.tests.commands import run

__all__ = ["gateway_process", "own_gateway"]

SALE_PRODUCTS = 3
SMALL = ("--users", "12", "--products", "3", "--stock", "50")


def on_hand() -> set[int]:
    """The units of the numbered products."""
    return set(Product.objects.filter(sku__startswith="DEMO-").values_list("on_hand", flat=True))


def everything() -> dict[str, int]:
    return {
        model.__name__: model._default_manager.count()
        for model in (User, Product, StockMovement, Campaign, PoolCode, Sale)
    }


@pytest.mark.django_db
@pytest.mark.usefixtures("own_gateway")
def test_the_demo_is_complete_and_breaks_no_law() -> None:
    code, output = run("seed_demo", *SMALL)

    assert code == 0
    assert "12 numbered accounts, 3 products, 5 campaigns and 2 sales" in output
    assert everything() == {
        "User": 14,
        "Product": 3 + SALE_PRODUCTS,
        "StockMovement": 3 + SALE_PRODUCTS,
        "Campaign": 5,
        "PoolCode": 500,
        "Sale": 2,
    }
    assert on_hand() == {50}
    assert ledger.balance_amount(User.objects.get(username="user-12").pk) == 10_000
    assert [report for report in laws.audit() if not report.holds] == []


@pytest.mark.django_db
def test_a_smaller_demo_reports_existing_rows_rather_than_requested_ones() -> None:
    run("seed_demo", *SMALL)
    User.objects.create_user("user-of-another-sort")

    _, output = run("seed_demo", "--users", "5", "--products", "1")

    assert "12 numbered accounts, 3 products, 5 campaigns and 2 sales" in output


@pytest.mark.django_db
def test_the_demo_accounts_sign_in_and_staff_have_all_permissions() -> None:
    run("seed_demo", *SMALL)

    for name, password in (
        ("demo", "demo-pass-2026"),
        ("user-7", "demo-pass-2026"),
        ("staff", "staff-pass-2026"),
    ):
        assert client_of().post("/auth/token", {"username": name, "password": password}).status_code == 200
    staff = User.objects.get(username="staff")
    assert staff.is_staff and staff.is_superuser
    assert not User.objects.get(username="demo").is_staff


@pytest.mark.django_db
def test_the_demo_has_open_and_scheduled_campaigns() -> None:
    run("seed_demo", *SMALL)
    listed = client_of().get("/campaigns").json()["results"]

    statuses = {campaign["name"]: campaign["status"] for campaign in listed}
    assert statuses.pop("Tomorrow's drop") == "scheduled"
    assert set(statuses.values()) == {"open"}
    buyer = client_of(User.objects.get(username="demo"))
    for campaign in listed:
        if campaign["status"] == "open":
            assert buyer.post("/coupons", {"campaign": campaign["id"]}).status_code == 201


@pytest.mark.django_db
def test_the_demo_has_a_waiting_room_that_is_open_and_one_that_opens_soon_with_a_last_piece() -> None:
    run("seed_demo", *SMALL)
    listed = {sale["name"]: sale for sale in client_of().get("/sales").json()["results"]}

    assert {name: sale["status"] for name, sale in listed.items()} == {
        "Numbered pieces": "open",
        "Anniversary drop": "scheduled",
    }
    assert {sale["admission"] for sale in listed.values()} == {"queue"}
    left = Product.objects.filter(pk__in=listed["Numbered pieces"]["products"])
    assert sorted(left.values_list("on_hand", "limit_per_account")) == [(1, None), (20, 2)]
    buyer = client_of(User.objects.get(username="demo"))
    for sale in listed.values():
        assert buyer.post(f"/sales/{sale['id']}/entries").status_code == 202


@pytest.mark.django_db
@pytest.mark.usefixtures("own_gateway")
def test_seeding_again_creates_only_missing_rows() -> None:
    run("seed_demo", *SMALL)
    before = everything()
    Campaign.objects.filter(name="Early bird").delete()
    User.objects.filter(username="user-3").update(email="changed@example.com")

    run("seed_demo", *SMALL)
    assert everything() == before
    assert User.objects.get(username="user-3").email == "changed@example.com"

    run("seed_demo", "--users", "15", "--products", "5", "--stock", "7")
    added = {"User": 17, "Product": 5 + SALE_PRODUCTS, "StockMovement": 5 + SALE_PRODUCTS}
    assert everything() == before | added
    assert on_hand() == {50, 7}
    assert [report for report in laws.audit() if not report.holds] == []


@pytest.mark.django_db
def test_the_file_of_tokens_is_valid_and_private(tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"

    run("seed_demo", *SMALL, "--tokens", str(file))

    written = json.loads(file.read_text())
    assert written.keys() == {"staff", "users"}
    assert [user["username"] for user in written["users"]] == [f"user-{number}" for number in range(1, 13)]
    for user in written["users"]:
        assert authentication.verify_access_token(user["access"]).id == user["id"]
    assert Api(access=written["staff"]).get("/users/me").json()["is_staff"]
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.django_db
def test_a_file_that_can_not_be_written_is_reported_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"can't be written: No such file or directory\."):
        run("seed_demo", *SMALL, "--tokens", str(tmp_path / "nowhere" / "tokens.json"))

    assert not User.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("arguments", [("--users", "-1"), ("--products", "10000"), ("--stock", "1000000001")])
def test_counts_out_of_bounds_are_refused(arguments: tuple[str, str]) -> None:
    with pytest.raises(CommandError, match=f"{arguments[0]} {arguments[1]}: give a number from 0 to"):
        run("seed_demo", *arguments)

    assert not User.objects.exists()


@pytest.mark.django_db
def test_many_accounts_cost_few_statements() -> None:
    with CaptureQueriesContext(connection) as queries:
        run("seed_demo", "--users", "2000", "--products", "1", "--stock", "1")

    assert User.objects.count() == 2002
    assert len(queries) < 200
