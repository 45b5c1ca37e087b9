"""An update migrates while the old processes serve: their code has to work on the new schema."""

import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from scripts.tests import old_stack, previous_release
from scripts.tests.circles import boots
from scripts.tests.old_stack import OldStack
from scripts.tests.simulator import wait_until

OFFER = {"quantity": 10, "discount": {"type": "amount", "value": 100}}


@pytest.fixture(scope="module")
@boots("the release before")
def old(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OldStack]:
    with old_stack.running(tmp_path_factory.mktemp("previous-release")) as stack:
        yield stack


def issue(old: OldStack) -> None:
    campaign = expect(201, old.call("POST", "/api/v1/campaigns", {"name": "Drop"} | OFFER, as_staff=True))
    assert expect(201, old.call("POST", "/api/v1/coupons", {"campaign": campaign["id"]}))["position"] == 1


def place(old: OldStack) -> Any:
    product = expect(200, old.call("GET", "/api/v1/products"))["results"][0]["id"]
    wanted = {"items": [{"product": product, "quantity": 2}], "points_amount": 100}
    return expect(201, old.call("POST", "/api/v1/orders", wanted))


def pay(old: OldStack) -> Any:
    order = place(old)
    payment = {"order": order["id"], "token": "tok_ok"}
    assert expect(201, old.call("POST", "/api/v1/payments", payment, wait=10))["status"] == "succeeded"
    return order


def refund(old: OldStack) -> None:
    refunds = f"/api/v1/orders/{pay(old)['id']}/refunds"
    expect(202, old.call("POST", refunds, {"reason": "broken"}, as_staff=True))
    wait_until(lambda: expect(200, old.call("GET", refunds))["results"][0]["status"] == "succeeded")


def receive_stock(old: OldStack) -> None:
    file = old.code / "delivery.csv"
    file.write_text("sku,name,price,quantity\nNEW,New,1000,5\nDEMO-0001,Mug,12000,5\n")
    succeed(old.manage("seed_stock", str(file)))


def expect(status: int, answer: tuple[int, Any]) -> Any:
    """The body of an answer that has this status."""
    assert answer[0] == status, answer
    return answer[1]


def succeed(ran: "subprocess.CompletedProcess[str]") -> None:
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.boots("another process of the shop")
def test_the_old_processes_run_the_code_of_the_commit_that_the_file_names(old: OldStack):
    assert len(previous_release.commit()) == 40
    its_own = f"import shop; assert shop.__file__.startswith({str(old.code)!r})"
    succeed(old.manage("shell", "-c", its_own))


@pytest.mark.parametrize(
    "must_work", [issue, place, pay, refund, receive_stock], ids=lambda flow: flow.__name__
)
def test_the_previous_release_works_on_the_schema_of_this_one(
    old: OldStack, must_work: Callable[[OldStack], Any]
):
    must_work(old)


def test_its_housekeeping_and_its_audit_work_on_the_schema_of_this_one(old: OldStack):
    assert expect(200, old.call("GET", "/readyz")) is not None
    succeed(old.manage("sweep"))
    succeed(old.manage("audit"))


@pytest.mark.parametrize(
    ("must_work", "table"),
    [
        (issue, "coupons_coupon"),
        (place, "orders_order"),
        (pay, "payments_transfer"),
        (refund, "orders_refund"),
        (receive_stock, "inventory_stockmovement"),
    ],
    ids=lambda part: getattr(part, "__name__", part),
)
def test_a_new_column_without_a_default_in_the_database_breaks_it_and_one_with_it_does_not(
    old: OldStack, must_work: Callable[[OldStack], Any], table: str
):
    with old_stack.added_column(table, "INT NOT NULL DEFAULT 0"):
        must_work(old)
    with old_stack.added_column(table, "INT NOT NULL"), pytest.raises(AssertionError):
        must_work(old)
