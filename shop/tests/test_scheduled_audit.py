"""The scheduled audit: what is due, one auditor at a time, late commits; and each kind of damage is named."""

import threading
import time
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import OperationalError, connection, transaction
from django.db.models import Q

from coupons.models import Campaign, Coupon
from coupons.tests import test_audit as coupon_damage
from coupons.tests.factories import CampaignFactory, accounts, coupon_of, order_ids
from coupons.tests.outcomes import issue
from coupons.tests.test_audit import named
from events.feed import runs, sequencing
from foundation import clock
from foundation.db.mysql.patience import statement_limit
from foundation.models import AuditState, JournalLine, LawStatus
from foundation.operations.audits import law_status, laws, scheduled_audit
from foundation.tests import servers
from foundation.tests.constraints import without_constraint
from foundation.tests.factories import set_columns
from foundation.tests.instants import ago, from_now
from foundation.tests.racing import race, race_each
from foundation.tests.second_connection import another_connection, ask
from foundation.tests.second_process import another_process
from inventory.imports import importing
from inventory.imports.stock_files import StockRow
from inventory.models import Product, StockMovement
from inventory.tests.factories import ProductFactory, StockMovementFactory
from orders.models import Order
from orders.tests import buying, test_audit as order_damage
from orders.tests.conftest import _empty_books, _stepped_executor
from payments import ledger
from payments.gateways import gateway
from payments.models import Reconciliation
from payments.reconciliation import reconciling
from payments.tests import test_ledger as ledger_damage
from payments.tests.factories import PaymentFactory, wallet
from payments.tests.own_gateway import nobody_there

pytestmark = pytest.mark.django_db(transaction=True)
campaign, with_pool = coupon_damage.campaign, coupon_damage.with_pool
paid, cancelled = order_damage.paid, order_damage.cancelled
__all__ = ["_empty_books", "_stepped_executor"]


@pytest.fixture
def audited():
    """A shop whose first audits are done before the test's rows are there."""
    reconciling.reconcile()
    assert audit_changes() == {}
    assert audit_all() == {}


def audit_changes() -> dict[str, list[str]]:
    """Audit what is new, and return the laws that are broken then, with their offenders."""
    with scheduled_audit.leased() as lease:
        assert lease is not None
        scheduled_audit.audit_new(lease, now=clock.now())
    return broken()


def audit_all() -> dict[str, list[str]]:
    """A full audit, and then one of what has changed: only that clears a law."""
    AuditState.objects.update(full_at=None)
    while AuditState.objects.filter(full_at=None).exists():
        with scheduled_audit.leased() as lease:
            assert lease is not None
            scheduled_audit.continue_full(lease, now=clock.now())
    return audit_changes()


def broken() -> dict[str, list[str]]:
    return {status.law: status.offenders for status in LawStatus.objects.filter(holds=False)}


def forget_changes():
    """As if the next audit was the first: it places its marks at the end, so that no row is new."""
    AuditState.objects.update(marks={})


def test_old_damage_is_left_to_the_full_audit(audited, campaign):
    set_columns(campaign, closes_at=clock.now())
    assert audit_changes() == {}
    forget_changes()
    set_columns(campaign, issued=9)
    assert audit_changes() == {}
    assert audit_all().keys() == {"L1", "L2"}


def test_a_broken_law_stays_broken_until_its_offender_is_checked(audited, campaign):
    set_columns(campaign, issued=9)
    assert audit_changes()["L1"] == [str(campaign.pk)]
    broken_at = LawStatus.objects.get(law="L1").since
    forget_changes()
    assert audit_changes()["L1"] == [str(campaign.pk)]
    assert LawStatus.objects.get(law="L1").since == broken_at

    set_columns(campaign, issued=10)

    assert audit_changes() == {}
    assert list(
        JournalLine.objects.filter(subject="law L1").order_by("id").values_list("what", "is_internal")
    ) == [("law.broken", True), ("law.holds_again", True)]


def test_what_more_chunks_break_than_are_kept_is_mended_by_a_full_audit_only(audited, monkeypatch):
    monkeypatch.setattr(law_status, "SUSPECTS_KEPT", 2)
    campaigns = CampaignFactory.create_batch(4, issued=1, closed=True)
    assert len(audit_changes()["L1"]) == 4
    Campaign.objects.filter(pk__in=[one.pk for one in campaigns[:3]]).update(issued=0)
    forget_changes()
    assert audit_changes() == {"L1": [law_status.MORE_OFFENDERS]}
    assert law_status.is_full_needed()

    assert audit_all() == {"L1": [str(campaigns[3].pk)]}

    Campaign.objects.update(issued=0)
    assert audit_changes() == {}


def test_a_transaction_that_commits_late_is_audited(audited):
    """Its row has a lower id than rows that were audited before it was committed."""
    late, soon = CampaignFactory(), CampaignFactory()
    assert audit_changes() == {}
    forget_changes()
    [first, second] = accounts(2)
    with another_connection() as other:
        other.set_autocommit(False)
        ask(
            other,
            "INSERT INTO coupons_coupon (campaign_id, account_id, code, position, status, issued_at,"
            " expires_at, void_reason) VALUES (%s, %s, 'LATE', 7, 'issued', NOW(6), NOW(6), '')",
            late.pk,
            first,
        )
        issued_after = issue(soon, second).coupon
        assert audit_changes() == {}
        assert audit_changes() == {}
        other.commit()
    assert Coupon.objects.get(code="LATE").pk < Coupon.objects.get(code=issued_after.code).pk
    assert audit_changes().keys() == {"L1", "L2"}


def test_one_of_many_auditors_at_once_audits(audited):
    AuditState.objects.update(audited_at=None)
    assert race([scheduled_audit.run_due] * 4).count(True) == 1


@pytest.mark.boots("a Python process")
def test_a_killed_auditor_blocks_the_next_until_its_lease_lapses(audited):
    code = (
        "from foundation.operations.audits import scheduled_audit\n"
        "with scheduled_audit.leased(): print('ready', flush=True); sys.stdin.readline()"
    )
    with another_process(code) as process:
        process.kill()
    AuditState.objects.update(audited_at=None)
    assert not scheduled_audit.run_due()
    left = AuditState.objects.get().leased_until - clock.now()
    assert timedelta(0) < left < timedelta(seconds=scheduled_audit.LEASE_SECONDS)

    AuditState.objects.update(leased_until=clock.now())

    assert scheduled_audit.run_due()
    # Nor does one of a clock that was ahead block it.
    AuditState.objects.update(lease_token="killed", leased_until=from_now(hours=5))
    with scheduled_audit.leased() as lease:
        assert lease is not None


def test_an_auditor_whose_lease_lapsed_records_nothing(audited, campaign):
    set_columns(campaign, issued=9)
    with scheduled_audit.leased() as paused:
        assert paused is not None
        AuditState.objects.update(leased_until=clock.now())
        with scheduled_audit.leased() as other:
            assert other is not None
            with pytest.raises(scheduled_audit.LeaseLost):
                scheduled_audit.audit_new(paused, now=clock.now())
    assert broken() == {}


def test_new_rows_that_take_too_long_are_checked_at_the_next_call(audited, monkeypatch):
    """A chunk of each kind of row at a time, and one more call, which finds none left."""
    monkeypatch.setattr(scheduled_audit, "NEW_SECONDS", -1.0)
    CampaignFactory.create_batch(3, issued=1, closed=True)
    AuditState.objects.update(audited_at=None)
    seen = []
    while scheduled_audit.run_due():
        seen.append(len(broken()["L1"]))
    assert seen == [1, 2, 3, 3]


def test_a_full_audit_resumes_where_it_stopped(audited):
    for _ in range(5):
        CampaignFactory(issued=1)
    AuditState.objects.update(full_at=None)
    parts, seen = 0, []
    while AuditState.objects.filter(full_at=None).exists():
        with scheduled_audit.leased() as lease:
            scheduled_audit.continue_full(lease, now=clock.now(), seconds=0)
        parts += 1
        seen.append(len(broken().get("L1", [])))
    assert parts >= 5
    assert seen[:5] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("change", [{"subject": "a table of another release"}, {"tables": []}])
def test_a_full_audit_that_another_release_began_starts_anew(audited, change):
    CampaignFactory.create_batch(2)
    AuditState.objects.update(full_at=None)
    with scheduled_audit.leased() as lease:
        scheduled_audit.continue_full(lease, now=clock.now(), seconds=0)
    state = AuditState.objects.get()
    AuditState.objects.update(progress=state.progress | change)
    assert audit_all() == {}
    assert AuditState.objects.get().progress is None


def test_an_unreachable_gateway_leaves_l9_as_it_was(audited, settings):
    before = LawStatus.objects.get(law="L9")
    old = ago(hours=1)
    Reconciliation.objects.update(ended_at=old, started_at=old)
    with nobody_there(settings):
        reconciling.reconcile_by_schedule()
        assert audit_changes() == {}
    status = LawStatus.objects.get(law="L9")
    assert (status.holds, status.checked_at) == (True, before.checked_at)
    assert status.not_checked.startswith("the gateway's book was last read at")

    reconciling.reconcile()
    assert audit_changes() == {}
    assert LawStatus.objects.get(law="L9").not_checked == ""


def test_a_charge_without_a_payment_breaks_l9_until_it_is_refunded(audited, settings):
    charge = gateway().charge(key="unknown", amount=500, currency="KRW", token="tok_ok", order_id=None)
    reconciling.reconcile()
    assert audit_changes() == {"L9": ["unknown: 500 is charged, and no payment knows of it"]}
    with nobody_there(settings):
        assert audit_changes() == {"L9": ["unknown: 500 is charged, and no payment knows of it"]}

    gateway().refund(charge_reference=charge.reference, amount=500, key="mend")

    assert audit_changes() == {}


def test_a_check_that_fails_leaves_the_last_answer(audited, campaign, monkeypatch):
    assert audit_changes() == {}
    before = LawStatus.objects.get(law="L1").checked_at
    ask(connection, "RENAME TABLE coupons_confirmation TO coupons_confirmation_away")
    try:
        assert audit_changes() == {}
    finally:
        ask(connection, "RENAME TABLE coupons_confirmation_away TO coupons_confirmation")
    status = LawStatus.objects.get(law="L1")
    assert (status.holds, status.checked_at) == (True, before)
    assert "coupons_confirmation" in status.not_checked
    assert LawStatus.objects.get(law="L7").checked_at > before


def test_a_full_audit_is_due_an_hour_after_the_last_began_by_the_databases_clock(audited, monkeypatch):
    assert scheduled_audit.run_due() is False
    host_time = time.time
    with monkeypatch.context() as ahead:
        ahead.setattr(time, "time", lambda: host_time() + 3_600)
        assert scheduled_audit.run_due() is False
    AuditState.objects.update(full_at=clock.now() - scheduled_audit.FULL_INTERVAL)
    drop = CampaignFactory(issued=1, opens_at=from_now(days=1))
    forget_changes()
    assert scheduled_audit.run_due()
    assert broken() == {"L1": [str(drop.pk)]}


def test_after_the_clock_was_set_back_audits_go_on_at_once_and_find_what_is_new(audited):
    """They stopped until the clock had come to the instant of the last one, and passed over newer rows."""
    with clock.shifted(by=timedelta(hours=5)):
        AuditState.objects.update(audited_at=None, full_at=None)
        while AuditState.objects.filter(full_at=None).exists():
            assert scheduled_audit.run_due()
    first = PaymentFactory(top_up=True)

    while scheduled_audit.run_due():
        pass

    assert broken() == {"L9": [str(first.pk)]}
    state, now = AuditState.objects.get(), clock.now()
    assert state.audited_at <= now and state.full_at <= now
    assert not LawStatus.objects.filter(Q(checked_at__gt=now) | Q(full_at__gt=now)).exists()
    second = PaymentFactory(top_up=True)
    assert set(audit_changes()["L9"]) == {str(first.pk), str(second.pk)}


def test_the_first_audit_of_an_installation_is_a_full_one():
    drop = CampaignFactory(issued=1)
    assert scheduled_audit.run_due()
    assert broken() == {"L1": [str(drop.pk)]}
    assert {status.law for status in LawStatus.objects.exclude(full_at=None)} == laws.LAWS.keys()


def test_a_statement_that_takes_too_long_is_ended_after_a_reconnect_and_on_this_connection_only():
    """A connection that was lost between two checks came back without the limit."""
    with statement_limit(connection, seconds=1), another_connection() as other:
        connection.close()
        with pytest.raises(OperationalError):
            # MySQL ends a SLEEP of its own without an error.
            ask(connection, "SELECT 1 FROM (SELECT 1) AS one WHERE SLEEP(3)")
        ask(other, "SELECT SLEEP(1.2)")
        [[mode]] = ask(connection, "SELECT @@sql_mode")
        assert "TRADITIONAL" in mode
    connection.close()
    ask(connection, "SELECT SLEEP(1.2)")


def test_a_migration_waits_a_moment_only_while_audits_go_on(audited, paid):
    stop = threading.Event()

    def audit():
        while not stop.is_set():
            audit_all()

    def migrate():
        started = time.monotonic()
        ask(connection, "SET SESSION lock_wait_timeout = 2")
        states = ("IGNORED", "NOT IGNORED") if servers.is_mariadb() else ("INVISIBLE", "VISIBLE")
        try:
            for state in states * 5:
                ask(connection, f"ALTER TABLE orders_order ALTER INDEX orders_order_of_account {state}")
        finally:
            stop.set()
        return time.monotonic() - started

    outcomes = race([audit, migrate])
    assert outcomes[0] is None and outcomes[1] < 10, outcomes


def test_audits_beside_sales_find_nothing(audited):
    drop, product = CampaignFactory(quantity=200), ProductFactory(on_hand=500, price=100)
    buyers = [buying.account(points=50).id for _ in range(24)]
    stop, found = threading.Event(), []

    def audit():
        audits = 0
        # On a busy machine the sales may end before the third.
        while audits < 3 or not stop.is_set():
            found.append(audit_changes())
            audits += 1
        return audits

    def sell(some):
        for buyer in some:
            code = issue(drop, buyer).coupon.code
            for token, coupon in (("tok_ok", code), ("tok_declined", "")):
                placed = buying.place(buyer, {product: 2}, coupon=coupon, token=token)
                order = buying.advance(placed)
            if order.status == "paid":
                buying.refunded(order, product)

    def sell_all():
        try:
            outcomes = race_each(lambda part: sell(buyers[part::4]), range(4))
            assert outcomes == [None] * 4, outcomes
        finally:
            stop.set()

    outcomes = race([audit, sell_all])
    assert outcomes[1] is None, outcomes
    assert outcomes[0] >= 3 and found == [{}] * outcomes[0]
    assert Order.objects.filter(status="paid").count() == 24


# Each kind of damage is named, by the frequent audit and by the full one alone

Broken = dict[str, list[str]]


def find_by_every_path() -> tuple[Broken, Broken, Broken]:
    """What the audit by command finds, which has statements of its own, and the scheduled ones."""
    by_command = {report.law: report.offenders for report in buying.broken_laws()}
    return by_command, *find_by_both_paths()


def find_by_both_paths() -> tuple[Broken, Broken]:
    """What the frequent audit finds, and what a full audit finds that knows nothing of the first."""
    of_changes = audit_changes()
    LawStatus.objects.all().delete()
    forget_changes()
    return of_changes, audit_all()


@pytest.mark.parametrize(("law", "damage"), order_damage.DAMAGE)
def test_damage_of_orders_is_named(law, damage, audited, paid, cancelled):
    assert audit_changes() == {} and buying.broken_laws() == []
    damage(paid, cancelled)
    for found in find_by_every_path():
        assert found.get(law)


@pytest.mark.parametrize("damage", order_damage.REFUND_DAMAGE.values(), ids=order_damage.REFUND_DAMAGE)
def test_damage_of_refunds_is_named(damage, audited):
    product, buyer = buying.product_and_buyer(on_hand=3, price=100, points=90)
    order = buying.buy(buyer, {product: 3}, points=90)
    buying.refunded(order, product)
    started = buying.refund(order, product)
    assert audit_changes() == {} and buying.broken_laws() == []
    damage(order)
    for found in find_by_every_path():
        assert {str(order.id), str(started.refund.id)} & set(found["L9"])


# What is damaged, and what names it, which is found before.
COUPON_DAMAGE = {
    "one less is counted": ("L1", lambda campaign, _: (campaign.pk, set_columns(campaign, issued=9))),
    "a gap": (
        "L2",
        lambda campaign, _: (campaign.pk, campaign.coupons.filter(position=10).update(position=11)),
    ),
    "a code is lost": ("L3", lambda _, with_pool: (with_pool.pk, named("CODE-8").delete())),
    "an issued code is back": (
        "L3",
        lambda *_: (pool_code("CODE-1"), named("CODE-1").update(status="available", coupon=None)),
    ),
    "a code is changed": (
        "L3",
        lambda *_: (
            f"coupon {Coupon.objects.get(code='CODE-1').pk}",
            Coupon.objects.filter(code="CODE-1").update(code="ANOTHER"),
        ),
    ),
    "the wrong code is void": ("L3", lambda *_: (pool_code("CODE-2"), named("CODE-2").update(status="void"))),
}


def pool_code(code: str) -> str:
    return f"pool code {named(code).get().pk}"


@pytest.mark.parametrize(("law", "damage"), COUPON_DAMAGE.values(), ids=COUPON_DAMAGE)
def test_damage_of_coupons_is_named(law, damage, audited, campaign, with_pool):
    assert audit_changes() == {}
    offender, _ = damage(campaign, with_pool)
    for found in find_by_both_paths():
        assert str(offender) in map(str, found[law])
        assert not any("CODE" in name or "ANOTHER" in name for name in found[law]), "codes are worth money"


@pytest.mark.parametrize(
    ("constraint", "change"),
    [
        ("one_per_account_and_campaign", lambda first, second: {"account": first.account_id}),
        ("one_per_position_of_campaign", lambda first, second: {"position": first.position}),
    ],
)
def test_coupons_that_a_lost_constraint_let_in_are_named(constraint, change, audited, campaign):
    with without_constraint(Coupon, f"coupons_coupon_{constraint}"):
        first, second = campaign.coupons.order_by("position")[:2]
        set_columns(second, **change(first, second))
        assert coupon_damage.broken() == {"L2": [str(campaign.pk)]}
        assert find_by_both_paths() == ({"L2": [str(campaign.pk)]},) * 2
    assert "L2" not in audit_changes()


def test_coupons_of_one_order_are_named_where_the_constraint_is_lost(audited):
    drop, [order_id] = CampaignFactory(), order_ids(1)
    with without_constraint(Coupon, "coupons_coupon_one_per_order"):
        for _ in range(2):
            coupon_of(drop, status="held", order_id=order_id)
        assert coupon_damage.broken() == {"L6": [str(order_id)]}
        for found in find_by_both_paths():
            assert str(order_id) in found["L6"]


@pytest.mark.parametrize(
    "damage",
    [
        *(ledger_damage.damage_balance, ledger_damage.lose_entry, ledger_damage.lose_balance_of_latest_entry),
        *(ledger_damage.forge_entry, ledger_damage.empty_transfer, ledger_damage.points_released_twice),
    ],
)
def test_damage_of_the_ledger_is_named(damage, audited):
    user_id = wallet()
    with transaction.atomic():
        ledger.grant(user_id=user_id, amount=100, reason="", reference="one")
    assert audit_changes() == {}
    with transaction.atomic():
        offender = damage(user_id)
    for found in find_by_both_paths():
        assert offender in found["L7"]


def test_stock_that_does_not_add_up_is_named(audited):
    """More than its movements, less than them, and without any."""
    grown, moved, bare, _ = ProductFactory.create_batch(4, on_hand=10)
    assert audit_changes() == {}
    set_columns(grown, on_hand=11)
    StockMovementFactory(product=moved, delta=-10, on_hand_after=0)
    StockMovement.objects.filter(product=bare).delete()
    assert find_by_both_paths() == ({"L5": [str(one.pk) for one in (grown, moved, bare)]},) * 2


def test_more_reserved_than_on_hand_and_less_than_nothing_are_named_where_the_constraint_is_lost(audited):
    """A constraint can be lost in a restore, so the audit doesn't rely on it."""
    short, negative, _ = ProductFactory.create_batch(3, on_hand=1)
    constraint = "inventory_product_reserved_within_on_hand"
    with without_constraint(Product, constraint, lambda: Product.objects.update(reserved=0)):
        set_columns(short, reserved=2)
        set_columns(negative, reserved=-1)
        of_changes, of_all = find_by_both_paths()
        assert of_changes["L4"] == of_all["L4"] == [str(short.pk), str(negative.pk)]


def test_a_delivery_that_came_in_twice_is_named(audited):
    """5 and 100 became 205, each movement with its journal line, and no law was broken by it."""
    rows = [StockRow(line=0, sku="TEA", name="Tea", price=1, quantity=100)]
    delivery_id, other_id = uuid4(), uuid4()
    importing.receive(rows, delivery_id=delivery_id, reason="delivery")
    importing.receive(rows, delivery_id=other_id, reason="another")
    assert audit_changes() == {}
    StockMovement.objects.update(delivery=delivery_id)
    # The other delivery as well, which has lost its movement.
    for found in find_by_both_paths():
        assert found.keys() == {"L8"} and sorted(found["L8"]) == sorted(map(str, (delivery_id, other_id)))


def test_a_payment_that_no_saga_settles_is_named(audited):
    payment = PaymentFactory(top_up=True)
    assert find_by_both_paths() == ({"L9": [str(payment.pk)]},) * 2


def test_an_event_that_the_feed_lost_is_named(audited, paid):
    sequencing.sequence()
    assert audit_changes() == {}
    line = JournalLine.objects.get(order_id=paid.pk, what="order.paid")
    event = runs.with_positions().get(event_id=line.event_id)
    event.delete()
    of_changes, of_all = find_by_both_paths()
    assert (
        of_changes["L15"] == of_all["L15"] == [f"position {event.feed_position}", f"journal line {line.pk}"]
    )
