"""Entries: one current entry for an account, in order of arrival after the draw, written by batches."""

from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.db import IntegrityError, transaction
from django.db.models import Max

from sales import terms
from sales.models import Sale, SaleEntry
from sales.tests import factories
from sales.waiting_room import admission, entries
from sales.waiting_room.entries import JoinRequest
from shop import clock
from shop.db import transactions
from shop.errors import FirstcomeError
from shop.tests.factories import AccountFactory
from shop.tests.lost_replies import losing_reply_to_commit
from shop.tests.racing import race
from shop.tests.statements import captured_statements

pytestmark = pytest.mark.django_db(transaction=True)
ACCOUNTS = 20


def refusal_of(sale_id: int) -> FirstcomeError:
    with pytest.raises(FirstcomeError) as refused:
        entries.JOINER.submit(JoinRequest(sale_id, AccountFactory().pk))
    return refused.value


def test_joining_again_gives_the_same_entry() -> None:
    sale, account = factories.create_sale(), AccountFactory()
    first = factories.join(sale, account.pk)

    assert factories.join(sale, account.pk) == first
    admission.advance(sale.pk)
    assert factories.join(sale, account.pk).id == first.id


def test_concurrent_requests_of_one_account_get_one_entry_and_places_have_no_gaps() -> None:
    sale = factories.create_sale()
    accounts = [AccountFactory().pk for _ in range(ACCOUNTS)]

    outcomes = race([partial(factories.join, sale, account) for account in accounts * 3])

    assert len({entry.id for entry in outcomes}) == ACCOUNTS
    places = SaleEntry.objects.order_by("position").values_list("position", flat=True)
    assert list(places) == list(range(1, ACCOUNTS + 1))
    sale.refresh_from_db()
    assert sale.last_position == ACCOUNTS


def test_without_the_lock_places_are_given_twice_and_the_table_refuses_them() -> None:
    """The twin: each request reads the last place, and takes the next one."""
    sale = factories.create_sale()
    accounts = [AccountFactory() for _ in range(ACCOUNTS)]

    def join_naively(account: Any) -> None:
        last = SaleEntry.objects.filter(sale=sale).aggregate(last=Max("position"))["last"] or 0
        SaleEntry.objects.create(sale=sale, account=account, position=last + 1, created_at=clock.now())

    outcomes = race([partial(join_naively, account) for account in accounts])

    assert any(isinstance(outcome, IntegrityError) for outcome in outcomes)


def test_the_table_refuses_a_second_current_entry() -> None:
    sale, account = factories.create_sale(), AccountFactory()
    factories.join(sale, account.pk)
    with pytest.raises(IntegrityError), transaction.atomic():
        SaleEntry.objects.create(sale=sale, account=account, position=2, created_at=clock.now())


def test_a_batch_of_any_size_takes_the_same_few_statements() -> None:
    sale = factories.create_sale()
    factories.join(sale)

    def statements_for(number: int) -> int:
        requests = [JoinRequest(sale.pk, AccountFactory().pk) for _ in range(number)]
        with captured_statements() as statements:
            transactions.run_batch(lambda: entries._join(requests))
        return len(statements)

    assert statements_for(1) == statements_for(50) <= 6


def test_a_lost_reply_to_commit_gives_one_entry(tmp_path: Path) -> None:
    sale, account = factories.create_sale(), AccountFactory()
    with losing_reply_to_commit(tmp_path) as is_lost:
        entry = factories.join(sale, account.pk)
        assert is_lost.is_set()
    assert list(SaleEntry.objects.values_list("id", flat=True)) == [entry.id]


def test_refusals() -> None:
    assert refusal_of(999).code == "not_found"
    assert refusal_of(factories.create_sale(admission="open").pk).code == "admission_not_required"
    sale = factories.create_sale(closes_in=10)
    with clock.shifted(by=timedelta(seconds=10)):
        assert refusal_of(sale.pk).code == "sale_closed"


def test_one_bad_request_does_not_fail_its_batch() -> None:
    sale = factories.create_sale()
    account = AccountFactory()
    outcomes = transactions.run_batch(
        lambda: entries._join([JoinRequest(999, account.pk), JoinRequest(sale.pk, account.pk)])
    )
    assert isinstance(outcomes[0], FirstcomeError)
    assert not isinstance(outcomes[1], FirstcomeError)


def test_accounts_may_join_while_the_sale_is_paused_and_before_it_opens() -> None:
    early = factories.create_sale(opens_in=100)
    entry = factories.join(early)
    assert (entry.status, entry.position, entry.ahead) == ("waiting", None, None)


def test_an_entry_that_does_not_exist_is_not_found() -> None:
    with pytest.raises(FirstcomeError) as refused:
        entries.READER.submit(uuid4())
    assert refused.value.code == "not_found"


def test_reading_many_entries_takes_two_statements() -> None:
    sales = [factories.create_sale() for _ in range(3)]
    joined = [factories.join(sale) for sale in sales for _ in range(4)]
    with captured_statements() as statements:
        found = entries._read([entry.id for entry in joined])
    assert [getattr(one, "id", None) for one in found] == [entry.id for entry in joined]
    assert len(statements) == 2


def test_a_sale_that_is_changed_while_entries_join_keeps_its_last_place() -> None:
    sale = factories.create_sale()

    def change() -> Sale:
        return terms.change(sale_id=sale.pk, rate_per_minute=7)

    race([*(partial(factories.join, sale) for _ in range(10)), change])

    sale.refresh_from_db()
    assert (sale.last_position, sale.rate_per_minute) == (10, 7)
