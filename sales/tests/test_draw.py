"""Entries and the draw: those before the opening get places by lot, which public values alone prove."""

import hashlib
import hmac
import time
from datetime import timedelta
from functools import partial
from uuid import UUID, uuid4

import pytest
from django.db import IntegrityError
from django.db.models import Max
from django.test import Client

from accounts.tests.clients import client_of
from foundation import clock
from foundation.db import transactions
from foundation.errors import FirstcomeError
from foundation.tests.factories import AccountFactory, reloaded, set_columns
from foundation.tests.instants import ago
from foundation.tests.lost_replies import losing_reply_to_commit
from foundation.tests.racing import race, race_each, wait_until
from foundation.tests.second_connection import holding, holding_row
from foundation.tests.second_process import another_process, starts_another_process
from foundation.tests.statements import captured_statements
from foundation.tests.waiting import in_background, shifted, waiting_at
from sales import terms
from sales.models import SaleEntry
from sales.tests import factories
from sales.waiting_room import advancing, draw, joining, rows
from sales.waiting_room.entries import JoinRequest

pytestmark = pytest.mark.django_db(transaction=True)


def opened(seconds: float = 11):
    return shifted(seconds=seconds)


def places(sale) -> list[str]:
    found = SaleEntry.objects.filter(sale=sale).order_by("position").values_list("id", flat=True)
    return [str(id) for id in found]


def test_places_follow_from_the_public_values_as_the_contract_says():
    sale = factories.create_sale(opens_in=10)
    joined = factories.join_all(sale, 20)
    api = client_of()
    before = api.read(f"/sales/{sale.pk}/draw")
    assert before == {"seed_hash": sale.seed_hash, "seed": None, "entries_hash": None, "count": 20}
    assert api.read(f"/sales/{sale.pk}")["seed"] is None

    with opened():
        assert api.read(f"/sales/{sale.pk}")["seed"] == sale.seed, "although nothing has advanced"
        advancing.advance(sale.pk)
        late = factories.join(sale)
        public = api.read(f"/sales/{sale.pk}/draw")

    ids = sorted(str(entry.id) for entry in joined)
    assert public["count"] == 20
    assert hashlib.sha256(public["seed"].encode()).hexdigest() == before["seed_hash"] == public["seed_hash"]
    assert hashlib.sha256("".join(ids).encode()).hexdigest() == public["entries_hash"]

    def lot(id):
        return hmac.new(public["seed"].encode(), (public["entries_hash"] + id).encode(), "sha256").hexdigest()

    assert places(sale) == [*sorted(ids, key=lot), str(late.id)]
    assert places(sale)[:20] != [str(entry.id) for entry in joined]
    assert api.read(f"/sales/{sale.pk}")["seed"] == public["seed"]


def test_one_entry_more_changes_all_places():
    ids = [factories.join(factories.create_sale(opens_in=10)).id for _ in range(8)]
    seed = "f" * 64
    few = draw.ordered(ids[:7], seed=seed, entries_hash=draw.hash_entries(ids[:7]))
    many = draw.ordered(ids, seed=seed, entries_hash=draw.hash_entries(ids))
    assert few != [id for id in many if id in few]


def test_an_entry_that_waits_for_the_lock_of_the_draw_comes_after_it():
    """Its request began before the opening; it is written after the draw was closed, and follows it."""
    sale = factories.create_sale(opens_in=10)
    factories.join_all(sale, 3)
    with holding_row(sale) as keeper:
        late = in_background(partial(joining.JOINER.submit, JoinRequest(sale.pk, AccountFactory().pk)))
        wait_until(lambda: waiting_at("%sales_sale%FOR UPDATE%") == 1)
        with opened():
            keeper.rollback()
            entry = late.result(30)
    assert entry.position == 4
    sale.refresh_from_db()
    assert sale.drawn_count == 3


def test_an_entry_that_is_written_without_the_lock_of_the_sale_is_left_out_of_the_hash():
    """The twin: an insert that does not lock the sale commits after the ids were read."""
    sale = factories.create_sale(opens_in=10)
    factories.join_all(sale, 3)
    with opened():
        advancing.advance(sale.pk)
    SaleEntry.objects.create(sale=sale, account=AccountFactory(), created_at=clock.now())

    ids = SaleEntry.objects.filter(sale=sale, created_at__lt=sale.opens_at).values_list("id", flat=True)
    sale.refresh_from_db()
    assert draw.hash_entries(ids) != sale.entries_hash


def test_a_process_that_dies_between_the_two_steps_loses_nothing(monkeypatch):
    sale = factories.create_sale(opens_in=10)
    joined = factories.join_all(sale, 5)

    def die(sale):
        raise SystemExit

    with opened():
        with monkeypatch.context() as patched:
            patched.setattr(draw, "order", die)
            with pytest.raises(SystemExit):
                advancing.advance(sale.pk)
        late = factories.join(sale)
        assert late.position == 6
        assert factories.read(joined[0]).ahead is None
        assert advancing.advance(sale.pk) == 0
    with opened(30):
        advancing.advance(sale.pk)

    sale.refresh_from_db()
    expected = draw.ordered([entry.id for entry in joined], seed=sale.seed, entries_hash=sale.entries_hash)
    assert places(sale) == [str(id) for id in [*expected, late.id]]


def test_a_draw_that_a_request_has_closed_is_ordered_by_its_processs_next_tick():
    sale, reader = factories.create_sale(opens_in=10), Client()
    joined = factories.join_all(sale, 3)
    assert reader.get(f"/api/v1/sales/{sale.pk}/draw").json()["count"] == 3
    with opened():
        late = factories.join(sale)
        assert late.position == 4
        assert reader.get(f"/api/v1/sales/{sale.pk}/draw").json()["count"] == 3
        advancing.advance(sale.pk)
        assert factories.statuses(*joined, late) == ["admitted"] * 4


def test_two_processes_that_order_a_draw_at_once_agree():
    sale = factories.create_sale(opens_in=10)
    factories.join_all(sale, 30)
    with opened():
        transactions.run(lambda: draw.close(terms.lock(sale.pk), clock.now()), transactions.REPEATABLE)
    sale.refresh_from_db()

    assert race([partial(draw.order, sale) for _ in range(4)]) == [None] * 4
    found = SaleEntry.objects.filter(sale=sale).order_by("position").values_list("position", flat=True)
    assert list(found) == list(range(1, 31))


# Orders two entries by a transaction.
ORDERING = """
from sales.waiting_room import advancing, draw

draw.ROWS_PER_TRANSACTION = 2
print("ready", flush=True)
advancing.advance(int(sys.argv[1]))
"""


def close(sale) -> list[UUID]:
    """Close the draw now; returns the ids of its entries in the order that it gives them."""
    set_columns(sale, opens_at=clock.now())
    transactions.run(lambda: draw.close(terms.lock(sale.pk), clock.now()), transactions.REPEATABLE)
    sale.refresh_from_db()
    ids = SaleEntry.objects.filter(sale=sale).values_list("id", flat=True)
    return draw.ordered(ids, seed=sale.seed, entries_hash=sale.entries_hash)


def has_written(sale, number: int) -> bool:
    return SaleEntry.objects.filter(sale=sale, position__isnull=False).count() == number


@starts_another_process
def test_a_process_that_dies_half_way_through_a_draw_is_followed_by_one_that_goes_on(monkeypatch):
    monkeypatch.setattr(draw, "ROWS_PER_TRANSACTION", 2)
    sale = factories.create_sale(opens_in=10, rate_per_minute=600)
    factories.join_all(sale, 11)
    expected = close(sale)
    keep = holding("SELECT id FROM sales_saleentry WHERE id = %s FOR UPDATE", expected[6].hex)
    with keep, another_process(ORDERING, str(sale.pk)) as victim:
        wait_until(lambda: has_written(sale, 6), seconds=30)
        victim.kill()
        assert victim.wait() == -9
    late = factories.join(sale)
    assert advancing.advance(sale.pk) == 0, "it may still be ordering"
    written, write = list[UUID](), rows.write_places
    monkeypatch.setattr(
        rows, "write_places", lambda some: (written.extend(id for _, id in some), write(some))
    )

    with opened(draw.LEASE.total_seconds()):
        advancing.advance(sale.pk)

    # The server may have had the next transaction when the process died.
    assert written in (expected[6:], expected[8:])
    assert places(sale) == [str(id) for id in [*expected, late.id]]
    assert factories.read(late).position == 12


def test_a_process_that_orders_a_draw_for_longer_than_its_lease_keeps_it(monkeypatch):
    monkeypatch.setattr(draw, "ROWS_PER_TRANSACTION", 1)
    monkeypatch.setattr(draw, "LEASE", timedelta(seconds=1.2))
    sale = factories.create_sale(opens_in=10)
    factories.join_all(sale, 9)
    close(sale)
    claims, write = list[bool](), rows.write_places

    def write_slowly(some):
        until = time.monotonic() + 0.3
        wait_until(lambda: time.monotonic() > until)
        claims.extend(race([partial(draw.claim, sale, clock.now())]))
        write(some)

    monkeypatch.setattr(rows, "write_places", write_slowly)
    assert [draw.claim(sale, clock.now()) for _ in range(2)] == [True, False]
    draw.order(sale)
    assert claims == [False] * 9
    assert not draw.claim(reloaded(sale), clock.now()), "it is ordered"


def test_of_many_processes_one_orders_a_draw_also_after_the_clock_was_set_back():
    sale = factories.create_sale(opens_in=10)
    factories.join_all(sale, 2)
    close(sale)
    for now in (clock.now(), ago(minutes=15)):
        assert sorted(race([partial(draw.claim, sale, now)] * 8)) == [False] * 7 + [True]


def test_a_draw_that_cannot_go_on_delays_no_other_sale(monkeypatch):
    """A large draw is ordered in a thread of its own, which waits here for a row."""
    monkeypatch.setattr(draw, "ORDERED_AT_ONCE", 4)
    sale, other = factories.create_sale(opens_in=10), factories.create_sale()
    factories.join_all(sale, 5)
    entry, [first, *_] = factories.join(other), close(sale)

    with holding("SELECT id FROM sales_saleentry WHERE id = %s FOR UPDATE", first.hex):
        advancing.advance_each([sale.pk, other.pk])
        wait_until(lambda: waiting_at("UPDATE sales_saleentry SET position%") == 1)
        assert factories.statuses(entry) == ["admitted"]
        later = factories.join(other)
        wait_until(lambda: advancing.advance_each([sale.pk, other.pk]) == 1, seconds=3)
        assert factories.statuses(later) == ["admitted"]
        assert has_written(sale, 0)
    wait_until(lambda: advancing.advance(sale.pk) == 5)


def test_a_draw_that_another_process_closes_delays_no_other_sale():
    """It locks its sale for as long as the ids of all entries take."""
    sale, other = factories.create_sale(), factories.create_sale()
    entry = factories.join(other)
    with holding_row(sale):
        advanced = in_background(partial(advancing.advance_each, [sale.pk, other.pk]))
        assert advanced.result(2) == 1
    assert factories.statuses(entry) == ["admitted"]


def test_a_scheduled_sale_that_opens_earlier_is_drawn_then():
    sale = factories.create_sale(opens_in=600)
    entry = factories.join(sale)
    terms.change(sale_id=sale.pk, opens_at=clock.now())

    advancing.advance(sale.pk)

    assert factories.statuses(entry) == ["admitted"]


def test_an_owner_sees_no_place_before_the_draw():
    sale, buyer = factories.create_sale(opens_in=10), AccountFactory()
    answer = client_of(buyer).post(f"/sales/{sale.pk}/entries")
    assert answer.status_code == 202
    body = answer.json()
    assert (body["status"], body["ahead"], body["estimated_wait_seconds"]) == ("waiting", None, None)
    assert 10 <= int(answer["Retry-After"]) <= 12


ACCOUNTS = 20


def refusal_of(sale_id: int) -> str:
    with pytest.raises(FirstcomeError) as refused:
        joining.JOINER.submit(JoinRequest(sale_id, AccountFactory().pk))
    return refused.value.code


def test_concurrent_requests_of_one_account_get_one_entry_and_places_have_no_gaps():
    sale = factories.create_sale()
    accounts = AccountFactory.create_batch(ACCOUNTS)

    outcomes = race_each(partial(factories.join, sale), accounts * 3)

    assert len({entry.id for entry in outcomes}) == ACCOUNTS
    places = SaleEntry.objects.order_by("position").values_list("position", flat=True)
    assert list(places) == list(range(1, ACCOUNTS + 1))
    sale.refresh_from_db()
    assert sale.last_position == ACCOUNTS


def test_without_the_lock_places_are_given_twice_and_the_table_refuses_them():
    """The twin: each request reads the last place, and takes the next one."""
    sale = factories.create_sale()
    accounts = AccountFactory.create_batch(ACCOUNTS)

    def join_naively(account):
        last = SaleEntry.objects.filter(sale=sale).aggregate(last=Max("position"))["last"] or 0
        SaleEntry.objects.create(sale=sale, account=account, position=last + 1, created_at=clock.now())

    outcomes = race_each(join_naively, accounts)

    assert any(isinstance(outcome, IntegrityError) for outcome in outcomes)


def test_a_batch_of_any_size_takes_the_same_few_statements():
    sale = factories.create_sale()
    factories.join(sale)

    def statements_for(number):
        requests = [JoinRequest(sale.pk, AccountFactory().pk) for _ in range(number)]
        with captured_statements() as statements:
            transactions.run_batch(lambda: joining._join(requests))
        return len(statements)

    assert statements_for(1) == statements_for(50) <= 6


def test_a_lost_reply_to_commit_gives_one_entry(tmp_path):
    sale, account = factories.create_sale(), AccountFactory()
    with losing_reply_to_commit(tmp_path) as is_lost:
        entry = factories.join(sale, account)
        assert is_lost.is_set()
    assert list(SaleEntry.objects.values_list("id", flat=True)) == [entry.id]


def test_refusals():
    assert refusal_of(999) == "not_found"
    assert refusal_of(factories.create_sale(admission="open").pk) == "admission_not_required"
    sale = factories.create_sale(closes_in=10)
    with shifted(seconds=10):
        assert refusal_of(sale.pk) == "sale_closed"
    with pytest.raises(FirstcomeError) as refused:
        joining.READER.submit(uuid4())
    assert refused.value.code == "not_found"
    batch = [JoinRequest(sale_id, AccountFactory().pk) for sale_id in (999, sale.pk)]
    outcomes = transactions.run_batch(lambda: joining._join(batch))
    assert [isinstance(one, FirstcomeError) for one in outcomes] == [True, False], "of a batch one alone"


def test_reading_many_entries_takes_two_statements():
    sales = [factories.create_sale() for _ in range(3)]
    joined = [factories.join(sale) for sale in sales for _ in range(4)]
    with captured_statements() as statements:
        found = joining._read([entry.id for entry in joined])
    assert [getattr(one, "id", None) for one in found] == [entry.id for entry in joined]
    assert len(statements) == 2


def test_a_sale_that_is_changed_while_entries_join_keeps_its_last_place():
    sale = factories.create_sale()

    race([*[partial(factories.join, sale)] * 10, partial(terms.change, sale_id=sale.pk, rate_per_minute=7)])

    sale.refresh_from_db()
    assert (sale.last_position, sale.rate_per_minute) == (10, 7)
