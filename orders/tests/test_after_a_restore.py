"""After a real restore from an older state: what Redis, the gateway, the data platform and clients still have
of the time that is lost, and how the shop agrees with them again.
"""

from collections.abc import Callable

import pytest
from django.core.management import CommandError

from accounts.tests.clients import client_of
from accounts.tokens import disabled_accounts
from coupons import issuing
from coupons.allocation.outcomes import Queued
from coupons.queue import worker
from coupons.tests.factories import CampaignFactory, accounts
from coupons.tests.laws import positions
from events.feed import sequencing
from events.models import FeedState
from events.tests.delivering import deliver_due
from events.tests.own_data_platform import received_event_ids
from foundation import clock
from foundation.db.next_ids import ID_GAP
from foundation.errors import FirstcomeError
from foundation.models import JournalLine
from foundation.redis import redis_client
from foundation.tests import dumps
from foundation.tests.commands import run, run_json
from foundation.tests.factories import AccountFactory
from inventory import mirror
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders.models import Order, OrderLine
from orders.tests import buying
from orders.tests.buying import order_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.boots("a database server")]
Restore = Callable[[], None]


@pytest.fixture
def backup(tmp_path):
    """Backs the test's database up when called; what that returns restores it, as new processes find it."""

    def make():
        file = tmp_path / "backup.sql"
        dumps.dump(file)

        def restore():
            dumps.load(file)
            run("finish_restore")
            # What a process remembers.
            issuing.forget()
            disabled_accounts.CACHED.forget()

        return restore

    return make


def issue(campaign, account_id: int) -> str:
    """The status of the account's request: `issued`, or the code of the refusal."""
    try:
        issuing.issue(campaign_id=campaign.pk, user_id=account_id)
    except FirstcomeError as error:
        return error.code
    return "issued"


def draw(campaign, account_id: int) -> Queued:
    """The account's ticket."""
    queued = issuing.issue(campaign_id=campaign.pk, user_id=account_id)
    assert isinstance(queued, Queued)
    return queued


def test_a_gate_that_is_full_in_redis_opens_again_for_the_coupons_that_are_lost(backup):
    campaign, [first, second] = CampaignFactory(strategy="redis_gate", quantity=1), accounts(2)
    restore = backup()
    assert [issue(campaign, first), issue(campaign, second)] == ["issued", "sold_out"]

    restore()
    assert issue(campaign, second) == "sold_out", "Redis still knows the coupon"
    assert run_json("rebuild_redis")[1]["dropped"] > 0

    assert [issue(campaign, second), issue(campaign, first)] == ["issued", "sold_out"]
    assert positions(campaign) == [1]


def test_the_mirror_of_stock_is_written_anew_from_the_restored_stock(backup, settings):
    settings.INVENTORY_STRATEGY = "redis_gate"
    product, buyer = buying.product_and_buyer(on_hand=3)
    api, body = client_of(buyer), order_of(product, quantity=3)
    restore = backup()
    assert api.post("/orders", body, key="lost").status_code == 201

    restore()
    assert api.post("/orders", body, key="too early").json()["code"] == "insufficient_stock"
    assert run_json("rebuild_redis")[1]["mirrored"] == 1

    assert redis_client.client().hget(mirror.key(product.id), "available") == b"3"
    assert api.post("/orders", body, key="new").status_code == 201


def test_the_queue_goes_on_with_the_tickets_of_the_restored_state(backup):
    campaign, [first, second, third] = CampaignFactory(strategy="queue", quantity=2), accounts(3)
    queued = draw(campaign, first)
    restore = backup()
    draw(campaign, second)
    assert worker.serve_once() == 2

    restore()
    run("rebuild_redis")
    again = draw(campaign, third)
    assert (queued.ticket.number, again.ticket.number, again.ahead) == (1, 2, 1)
    worker.serve_once()

    assert positions(campaign) == [1, 2]


def test_charges_after_the_restored_state_are_found_and_refunded_and_their_keys_are_new(backup):
    product, buyer = buying.product_and_buyer(on_hand=9, price=700)
    restore = backup()
    lost = buying.buy(buyer, product, key="the same")
    assert lost.status == "paid"

    restore()
    run("rebuild_redis")
    assert not Order.objects.exists()
    assert [report.law for report in buying.broken_laws()] == ["L9"], "the charge belongs to no payment"
    code, found = run_json("reconcile")
    assert (code, found["found"]) == (1, 1)
    assert run_json("reconcile", "--fix")[1]["refunded"] == 1
    assert buying.broken_laws() == []

    again = buying.buy(buyer, product, key="the same")
    assert again.status == "paid"
    assert again.id != lost.id, "the key is forgotten: this is another order"
    assert run_json("reconcile")[0] == 0


def test_events_keep_their_ids_and_ids_of_lost_events_never_come_again(backup, own_data_platform):
    product, buyer = buying.product_and_buyer(on_hand=9)
    waiting = buying.place(buyer, product)
    client_of(buyer).post(f"/orders/{waiting.order.id}/cancel")
    restore = backup()
    deliver_due()
    buying.buy(buyer, product)
    deliver_due()
    before = received_event_ids(own_data_platform)
    lines = JournalLine.objects.latest("id").pk

    restore()
    run("rebuild_redis")
    run("reconcile", "--fix")
    deliver_due()
    assert received_event_ids(own_data_platform) == before, "one that was delivered since has the id it had"

    buying.buy(buyer, product)
    deliver_due()
    after = received_event_ids(own_data_platform)
    assert (len(before), len(after)) == (2, 3)
    assert len(set(after)) == 3
    assert JournalLine.objects.latest("id").pk > lines


def test_the_token_of_an_account_that_is_lost_is_never_that_of_another(backup):
    restore = backup()
    lost = AccountFactory()
    token = client_of(lost)
    assert token.get("/wallet").status_code == 200

    restore()
    registered = AccountFactory()

    assert registered.id > lost.id
    assert token.rows("/orders") == []


def test_ids_and_positions_of_the_feed_given_after_the_restored_state_never_come_again(backup):
    """Also of tables that had no row in the backup: those of lines of orders and of the feed."""
    product, buyer, restore = ProductFactory(on_hand=9), buying.account(), backup()
    buying.place(buyer, ProductFactory(on_hand=9), token="tok_ok")
    lost = OrderLine.objects.get().pk

    restore()
    new = ProductFactory(on_hand=9)
    buying.buy(buyer, new)
    sequencing.sequence()

    assert list(Product.objects.order_by("pk").values_list("pk", flat=True)) == [product.pk, new.pk]
    assert new.pk == product.pk + 1 + ID_GAP
    assert OrderLine.objects.get().pk == lost + ID_GAP
    state = FeedState.objects.get()
    assert state.last_position > ID_GAP
    [[first, last, restored_at]] = state.gaps
    assert (first, last) == (1, ID_GAP)
    assert abs(restored_at / 1000 - clock.seconds()) < 60


def test_a_backup_that_is_cut_short_is_named_by_its_missing_tables(tmp_path):
    """The client reads it without an error, and migrate finds all migrations applied."""
    file = tmp_path / "backup.sql"
    dumps.dump(file)
    whole = file.read_bytes()
    file.write_bytes(whole[: whole.index(b"CREATE TABLE `shop_")])
    dumps.load(file)
    try:
        with pytest.raises(CommandError, match=r"Tables are missing: shop_\w+, .*shop_processlease\. The"):
            run("finish_restore")
        assert not FeedState.objects.exists()
    finally:
        file.write_bytes(whole)
        dumps.load(file)
    run("finish_restore")
