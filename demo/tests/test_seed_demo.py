"""The demo data can be used and seeded again, and breaks no law."""

import json

import pytest
from django.contrib.auth.models import User
from django.core.management.base import CommandError

from accounts.tests.clients import Api, client_of
from accounts.tokens import authentication
from coupons.models import Campaign, PoolCode
from foundation.operations.audits import laws
from foundation.tests.commands import run
from inventory.models import Product, StockMovement
from payments import ledger
from sales.models import Sale

pytestmark = pytest.mark.django_db

SALE_PRODUCTS = 3
SMALL = ("--users", "12", "--products", "3", "--stock", "50")


@pytest.fixture(autouse=True)
def _demo(settings):
    settings.DEMO = True


def on_hand() -> set[int]:
    return set(Product.objects.filter(sku__startswith="DEMO-").values_list("on_hand", flat=True))


def everything() -> dict[str, int]:
    return {
        model.__name__: model._default_manager.count()
        for model in (User, Product, StockMovement, Campaign, PoolCode, Sale)
    }


@pytest.mark.usefixtures("own_gateway")
def test_the_demo_is_complete_breaks_no_law_and_its_accounts_sign_in_or_have_tokens(tmp_path):
    file = tmp_path / "tokens.json"
    code, output = run("seed_demo", *SMALL, "--tokens", str(file))

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

    passwords = {"demo": "demo-pass-2026", "user-7": "demo-pass-2026", "staff": "staff-pass-2026"}
    for name, password in passwords.items():
        assert client_of().post("/auth/token", {"username": name, "password": password}).status_code == 200
    staff = User.objects.get(username="staff")
    assert staff.is_staff and staff.is_superuser
    assert not User.objects.get(username="demo").is_staff
    written = json.loads(file.read_text())
    assert written.keys() == {"staff", "users"}
    assert [user["username"] for user in written["users"]] == [f"user-{number}" for number in range(1, 13)]
    for user in written["users"]:
        assert authentication.verify_access_token(user["access"]).id == user["id"]
    assert Api(access=written["staff"]).read("/users/me")["is_staff"]
    assert file.stat().st_mode & 0o777 == 0o600


def test_where_it_is_no_demo_nothing_is_made(settings, tmp_path):
    settings.DEMO = settings.DEBUG = False
    file = tmp_path / "tokens.json"

    with pytest.raises(CommandError, match="DEMO=1"):
        run("seed_demo", *SMALL, "--tokens", str(file))

    assert not any(everything().values()) and not file.exists()


@pytest.mark.usefixtures("own_gateway")
def test_seeding_again_creates_only_missing_rows():
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
