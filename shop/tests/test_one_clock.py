"""One clock for all, and not the host's; and no floats where money, stock or coupons are counted."""

import ast
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.apps import apps
from django.conf import LazySettings
from django.db import models

from accounts.tokens import authentication, tokens
from coupons.issuing import issuing
from coupons.models import Coupon
from coupons.tests.factories import CampaignFactory, coupon_of
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders import cancellation, order_states
from orders.models import Order, Saga
from orders.saga import status, store
from scripts.stack import places
from shop import clock
from shop.errors import FirstcomeError, NotAuthenticated
from shop.fields import CreatedAtField
from shop.idempotency import recorded_answers
from shop.models import IdempotencyKey
from shop.tests import openapi_document, process_state
from shop.tests.factories import AccountFactory, OrderFactory


@pytest.fixture
def host_ahead(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process that uses the database's clock, on a host whose wall clock is 15 minutes ahead."""
    monkeypatch.setattr(clock, "_host_seconds", lambda: time.time() + 900)
    monkeypatch.setattr(clock, "_has_begun", False)
    assert clock.is_measured()
    yield
    process_state.follow_host()


def in_minutes(minutes: int) -> datetime:
    return datetime.now(UTC) + timedelta(minutes=minutes)


@pytest.mark.django_db(transaction=True)
def test_a_host_15_minutes_ahead_opens_no_campaign_early(host_ahead: None) -> None:
    campaign, account = CampaignFactory.create(opens_at=in_minutes(10)), AccountFactory.create()
    with pytest.raises(FirstcomeError) as refused:
        issuing.issue(campaign_id=campaign.pk, user_id=account.pk)

    assert refused.value.code == "campaign_not_open"
    assert 590 < (refused.value.retry_after or 0) <= 600

    # The control case uses its host's clock.
    process_state.follow_host()
    issuing.forget()
    assert issuing.issue(campaign_id=campaign.pk, user_id=account.pk).is_new


@pytest.mark.django_db(transaction=True)
def test_a_host_15_minutes_ahead_expires_no_order(host_ahead: None) -> None:
    order = OrderFactory.create(expires_at=in_minutes(10))

    assert cancellation.expire_due() == 0
    assert not order_states.is_lapsed(order)
    assert Order.objects.get(pk=order.pk).status == Order.Status.AWAITING_PAYMENT

    process_state.follow_host()
    assert order_states.is_lapsed(order)
    assert cancellation.expire_due() == 1


@pytest.mark.django_db(transaction=True)
def test_a_host_15_minutes_ahead_expires_no_coupon_and_deletes_no_key(
    host_ahead: None, settings: LazySettings
) -> None:
    settings.IDEMPOTENCY_RETENTION_SECONDS = 600
    coupon = coupon_of(CampaignFactory.create(), expires_at=in_minutes(10))
    IdempotencyKey.objects.create(
        account=AccountFactory.create(),
        key_hash="k" * 64,
        fingerprint="f" * 64,
        status=204,
        created_at=in_minutes(0),
    )

    assert coupon.status_at(clock.now()) == Coupon.Status.ISSUED
    assert recorded_answers.delete_expired_keys() == 0

    process_state.follow_host()
    assert coupon.status_at(clock.now()) != Coupon.Status.ISSUED
    assert recorded_answers.delete_expired_keys() == 1


@pytest.mark.django_db(transaction=True)
def test_tokens_are_valid_between_a_host_15_minutes_ahead_and_a_correct_one(host_ahead: None) -> None:
    account = AccountFactory.create()
    pair = tokens.create_token_pair(account)
    process_state.follow_host()
    with clock.shifted(by=timedelta(minutes=-15)):  # the right host
        assert authentication.verify_access_token(pair.access).id == account.pk
        right = tokens.rotate(pair.refresh)
    process_state.follow_host()
    with pytest.raises(NotAuthenticated):
        authentication.verify_access_token(right.access)  # the control case, with its host's clock


@pytest.mark.django_db(transaction=True)
def test_a_worker_on_a_host_15_minutes_ahead_takes_no_lease_and_gives_up_no_payment(host_ahead: None) -> None:
    saga = Saga.objects.create(
        kind="top_up",
        subject_id=uuid4(),
        created_at=in_minutes(0),
        deadline_at=in_minutes(10),
        next_attempt_at=in_minutes(5),
        lease_token="other",
        leased_until=in_minutes(5),
    )

    assert store.find_due(limit=10) == []
    assert list(status.read_needing_operator()) == []

    process_state.follow_host()
    assert [one.id for one in status.read_needing_operator()] == [saga.id]
    assert [one.id for one in store.find_due(limit=10)] == [saga.id]


@pytest.mark.django_db(transaction=True)
def test_rows_are_dated_by_the_databases_clock(host_ahead: None) -> None:
    product, campaign = ProductFactory.create(), CampaignFactory.create()

    for row in (product, campaign):
        row.refresh_from_db()
        assert abs(row.created_at - datetime.now(UTC)) < timedelta(seconds=30)
    created_at = product.created_at
    product.name = "Another"
    product.save()
    assert Product.objects.get(pk=product.pk).created_at == created_at


COUNTING = ("coupons", "inventory", "orders", "payments", "sales")
# A float is allowed with one of these in a name of its statement, or of its function's signature.
TIMES = ("seconds", "_ms", "deadline", "until", "pause", "monotonic", "elapsed", "latency", "timeout")
# And with these names: times under other names, and gauges, whose values are always floats.
MOMENTS = {
    "coupons/metrics/state.py": {"read_running"},
    "inventory/mirror/mirror.py": {"now", "long_ago", "drift", "found", "started_before"},
    "orders/metrics/state.py": {"read_in_doubt", "read_stock"},
    "orders/saga/run.py": {"_found_at", "ends_at"},
    "orders/saga/status.py": {"_read_at"},
    "payments/gateways/measured.py": {"CALLS"},
    "payments/audit.py": {"stop_at"},
    "sales/metrics.py": {"read_running"},
    "sales/waiting_room/room_view.py": {"HELD_BACK", "at", "pace", "read_at"},
}
STATEMENTS = ast.stmt | ast.ExceptHandler | ast.match_case
FLOATING = {"float", "round", "fsum", "Decimal", "Avg", "FloatField", "DecimalField", "StdDev", "Variance"}


def floating(code: str, moments: set[str] = frozenset()) -> list[str]:
    """The statements that create or name a float, or divide into one, and contain no name of a time."""
    found = []
    for node in ast.walk(ast.parse(code)):
        part = list(_own(node)) if isinstance(node, STATEMENTS) else []
        names = {str(vars(inner).get(kind)) for inner in part for kind in ("id", "attr", "arg", "name")}
        is_timed = any(word in name.lower() for name in names for word in TIMES) or names & moments
        is_float = names & FLOATING or any(isinstance(inner, ast.Div) or _is_number(inner) for inner in part)
        if is_float and not is_timed:
            found.append(ast.get_source_segment(code, node) or ast.unparse(node))
    return found


def _own(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a statement, without those of nested statements, which are read by themselves."""
    yield node
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, STATEMENTS):
            yield from _own(child)


def _is_number(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, float)


def test_modules_use_floats_only_for_times() -> None:
    paths = [path for app in COUNTING for path in sorted((places.PROJECT / app).rglob("*.py"))]
    names = {
        str(path.relative_to(places.PROJECT)): path.read_text()
        for path in paths
        if not {"tests", "migrations"} & set(path.parts)
    }
    found = {name: floating(code, MOMENTS.get(name, set())) for name, code in names.items()}
    assert {name: statements for name, statements in found.items() if statements} == {}
    assert len(found) > 180
    assert names.keys() >= MOMENTS.keys()


def test_no_column_is_dated_by_its_host() -> None:
    own = [model for model in apps.get_models() if model.__module__.partition(".")[0] in places.APPS]
    dated = [
        field
        for model in own
        for field in model._meta.get_fields()
        if getattr(field, "auto_now", False) or getattr(field, "auto_now_add", False)
    ]
    assert {type(field) for field in dated} == {CreatedAtField}


def test_no_column_of_the_database_is_a_float() -> None:
    columns = [
        f"{model.__name__}.{field.name}"
        for app in (*COUNTING, "shop")
        for model in apps.get_app_config(app).get_models()
        for field in model._meta.get_fields()
        if isinstance(field, models.FloatField | models.DecimalField)
    ]
    assert columns == []


def test_the_api_accepts_and_returns_only_integers() -> None:
    kinds = list(_types(openapi_document.read()))
    assert kinds.count("integer") > 100
    assert "number" not in kinds


def _types(part: Any) -> Iterator[Any]:
    """Every `type` in the document, with the items of lists of types."""
    if isinstance(part, dict):
        kinds = part.get("type")
        yield from kinds if isinstance(kinds, list) else [kinds]
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from _types(inner)
