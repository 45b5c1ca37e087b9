"""Long lists are paged by key: no page counts rows, skips rows, or looks at more rows than it may."""

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.db.models import Model, QuerySet
from django.urls import reverse
from django.utils import timezone

from backoffice.tests.rows_of_every_model import fill_all_models
from coupons.models import Campaign, Coupon
from coupons.tests.factories import campaign_with_codes, coupon_of
from foundation.admin_base import classes as admin_classes
from foundation.http import keyset_pages
from foundation.http.keyset_pages import InvalidPosition, KeysetPage, KeysetPaginator
from foundation.models import IdempotencyKey, JournalLine
from foundation.tests.case_tables import check_each, in_one_test
from foundation.tests.factories import AccountFactory
from foundation.tests.plans import assert_read_by_index
from foundation.tests.statements import captured_statements
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders.models import Saga, SagaLog
from payments.models import Entry, LedgerAccount, Payment, WebhookEvent
from payments.tests.factories import wallet

pytestmark = pytest.mark.django_db
MOST_STATEMENTS = 10
"""Of a page: the session, the account, the page itself, and a statement for each table beside."""
LONG_LISTS = sorted(
    (model for model, pages in admin.site._registry.items() if issubclass(pages.paginator, KeysetPaginator)),
    key=lambda model: model._meta.label,
)
# The list's address without the filter with which it opens.
ALL_ROWS = {Payment: {"show": "everything"}, JournalLine: {"actor__exact": "everything"}}
SEARCHED = [
    (Coupon, "account__username"),
    (Coupon, "code"),
    (IdempotencyKey, "account__username"),
    (LedgerAccount, "user__username"),
    (WebhookEvent, "event_id"),
    (WebhookEvent, "charge_key"),
    (Payment, "account__username"),
    (Entry, "account__user__username"),
]


ODD_VALUES = [
    "0001-01-01T00:00:00+23:59",
    "9999-12-31T23:59:59-23:59",
    "0001-01-01T00:00:00+00:00",
    "9999-12-31T23:59:59.999999+00:00",
    "2026-11-22T12:00:00",
    "2026-11-22",
    "NaN",
    "inf",
    "-1",
    str(2**63),
    str(-(2**63) - 1),
    "9" * 150,
    "1e400",
    "a\0b",
    "\ud800",
    "٣",
    "",
]
"""Texts for a column of a position, of which some are values and most are none."""


def address_of(model: type[Model], **query) -> str:
    name = f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"
    return f"{reverse(name)}?{urlencode(query)}"


def lines(count: int, **columns) -> list[int]:
    """The ids of that many new lines of the journal, two each with the same instant; newest first."""
    now = timezone.now()
    made = [
        JournalLine.objects.create(
            at=now + timedelta(seconds=number // 2), actor="system", what="test.line", **columns
        )
        for number in range(count)
    ]
    return [line.pk for line in reversed(made)]


def pages(rows: "QuerySet[Any]", first="", *, forward=True, **options) -> Iterator[KeysetPage]:
    position: str | None = first
    while position is not None:
        page = keyset_pages.read_page(rows, position, **options)
        yield page
        position = page.next if forward else page.previous


def keys(found: Iterator[KeysetPage]) -> list[list[Any]]:
    return [[row.pk for row in page.rows] for page in found]


@pytest.mark.parametrize("ordering", [["-pk"], ["-at", "-id"]])
def test_pages_show_each_row_once_forward_and_backward(ordering):
    ids = lines(7)
    rows = JournalLine.objects.filter(what="test.line")
    expected = [ids[:3], ids[3:6], ids[6:]]
    assert keys(pages(rows, ordering=ordering, size=3)) == expected
    backward = keys(pages(rows, "last", forward=False, ordering=ordering, size=3))
    assert backward == [ids[4:], ids[1:4], ids[:1]]
    second = keyset_pages.read_page(rows, "", ordering=ordering, size=3).next
    assert second
    before = keyset_pages.read_page(rows, second, ordering=ordering, size=3).previous
    assert before
    first = keyset_pages.read_page(rows, before, ordering=ordering, size=3)
    assert ([row.pk for row in first.rows], first.previous) == (ids[:3], None)


@in_one_test("position", ["2", "0", "-1", "x", "after:", "after:x", "before:1,2", "after:" + "9" * 999])
def test_a_position_that_no_page_has_is_refused(operator, position):
    with pytest.raises(InvalidPosition):
        keyset_pages.read_page(JournalLine.objects.all(), position, ordering=["-id"], size=3)
    answer = operator.get(address_of(JournalLine, p=position), follow=True)
    assert answer.redirect_chain
    assert "The list has no such page" in answer.text


def test_no_crafted_position_of_a_long_list_is_a_server_error(operator):
    """An instant that is before the year 1 in UTC was a 500."""
    fill_all_models()
    errors, values = [], [(value, rest) for value in ODD_VALUES for rest in (value, "1")]
    for model in LONG_LISTS:
        ordering = admin.site._registry[model].ordering
        columns = len(keyset_pages._columns(model, ordering))
        for direction in (keyset_pages.AFTER, keyset_pages.BEFORE):
            for position in {direction + value + f",{rest}" * (columns - 1) for value, rest in values}:
                try:
                    keyset_pages.read_page(model._default_manager.all(), position, ordering=ordering, size=3)
                except InvalidPosition:
                    continue
                except Exception as error:
                    errors.append((model._meta.label, position, repr(error)))
            status = operator.get(address_of(model, p=f"{direction}{ODD_VALUES[0]},1")).status_code
            errors += [(model._meta.label, direction, status)] * (status not in (200, 302))
    assert errors == []


def test_the_links_of_a_list_lead_through_all_its_pages(operator, monkeypatch):
    """Rows that are added meanwhile move no row to another page."""
    ids = lines(5)
    monkeypatch.setattr(admin.site._registry[JournalLine], "list_per_page", 2)
    found, address = [], address_of(JournalLine, happened="test.line")
    for _ in range(3):
        changelist = operator.get(address).context["cl"]
        found += [row.pk for row in changelist.result_list]
        links = dict(changelist.page_links)
        address = address_of(JournalLine) + links["Next page"].lstrip("?")
        lines(1)
    assert (found, links["Next page"], links["Last page"]) == (ids, "", "")
    assert "happened=test.line" in links["Previous page"]
    last = operator.get(address_of(JournalLine, happened="test.line", p="last")).context["cl"]
    assert [row.pk for row in last.result_list] == ids[3:]


def test_a_list_that_counts_nothing_says_no_number_and_an_empty_one_says_why(operator):
    """Each said "9999999999 results (Show all)", also above "No results found"."""
    address = address_of(Product)
    empty = operator.get(address).text
    assert "There are no products yet." in empty
    ProductFactory.create_batch(51)
    unmatched = operator.get(address_of(Product, q="nothing")).text
    assert "Nothing here matches the search and the filters." in unmatched
    full = operator.get(address).text
    for page in (empty, unmatched, full):
        assert not re.search("9,?999,?999,?999|results?[^-_a-z]|Show all<", page)


def test_no_page_of_a_long_list_counts_or_skips_rows(operator):
    fill_all_models()

    def is_read_by_key(model, position):
        with captured_statements() as statements:
            assert operator.get(address_of(model, p=position)).status_code == 200
        assert len(statements) <= MOST_STATEMENTS, statements
        for statement in statements:
            assert "COUNT(" not in statement and not re.search(r"OFFSET [1-9]", statement), statement

    positions = []
    for model in LONG_LISTS:
        key = model._default_manager.order_by("pk").values_list("pk", flat=True)[0]
        positions += [(model, ""), (model, "last")]
        if "at" not in admin.site._registry[model].ordering[0]:
            positions.append((model, f"after:{key}"))
    check_each(positions, is_read_by_key)


def test_a_page_has_as_many_statements_for_many_rows_as_for_few(operator, monkeypatch):
    """Each further row has its own account, order, campaign and product: none is read for its row alone."""
    for pages in admin.site._registry.values():
        monkeypatch.setattr(pages, "list_per_page", 1_000)

    def rows_and_statements():
        found = {}
        for model in admin.site._registry:
            with captured_statements() as statements:
                page = operator.get(address_of(model, **ALL_ROWS.get(model, {})))
            found[model._meta.label] = len(page.context["cl"].result_list), len(statements)
        return found

    fill_all_models()
    rows_and_statements()
    few = rows_and_statements()
    for number in range(1, 4):
        fill_all_models(number)
    many = rows_and_statements()
    assert [label for label in few if many[label][0] <= few[label][0]] == []
    assert [(label, few[label], many[label]) for label in few if many[label][1] != few[label][1]] == []


def test_a_search_finds_its_rows_by_an_index(operator):
    fill_all_models()
    now = timezone.now()
    campaign = campaign_with_codes(Campaign.CodeSource.POOL)
    for number in range(46):
        other = AccountFactory(username=f"number-{number}")
        wallet(points=1)
        coupon_of(campaign, other)
        IdempotencyKey.objects.create(account=other, key_hash="a" * 64, status=201, created_at=now)
        event = {"event_id": f"evt_{number}", "charge_key": f"key-{number}"}
        WebhookEvent.objects.create(gateway="simulator", received_at=now, handled_at=now, **event)

    def is_found_by_an_index(model, name):
        row = model._default_manager.order_by("-pk")[0]
        term = row
        for part in name.split("__"):
            term = getattr(term, part)
        with captured_statements() as statements:
            found = operator.get(address_of(model, q=term)).context["cl"].result_list
        assert row.pk in [one.pk for one in found]
        table = f"FROM `{model._meta.db_table}`"
        for statement in statements:
            if table in statement:
                assert_read_by_index(statement)

    check_each(SEARCHED, is_found_by_an_index)


def test_the_filter_by_group_starts_from_its_members_and_offers_no_accounts_without_one(operator):
    """For those without a group all accounts were joined and sorted: over a million the page was a 503."""
    group = Group.objects.create(name="night shift")
    member = AccountFactory()
    member.groups.add(group)
    AccountFactory()
    with captured_statements() as statements:
        page = operator.get(address_of(User, groups__id__exact=group.pk))
    assert [account.pk for account in page.context["cl"].result_list] == [member.pk]
    assert not any("DISTINCT" in statement for statement in statements)
    assert "groups__isnull" not in page.text


@pytest.mark.parametrize(
    "query",
    [{"at_from": "2020-01-01"}, {"at_to": "2098-12-31"}, {"happened": "rare.event"}, {"happened": "rare."}],
)
def test_filters_of_the_journal_are_read_by_their_own_index(operator, query):
    """Sorted by the key, lines of long ago were found by reading all later ones, until the page was a 503."""
    # More than a page, which the database else reads by the key, as cheap then.
    lines(200)
    JournalLine.objects.create(at=timezone.now(), actor="system", what="rare.event")
    with captured_statements() as statements:
        assert operator.get(address_of(JournalLine, **query)).context["cl"].result_list
    read = [text for text in statements if "FROM `shop_journalline` WHERE" in text]
    for statement in read:
        assert "BINARY" not in statement
        if "happened" in query:
            assert_read_by_index(statement)
            continue
        at, key = "`shop_journalline`.`at`", "`shop_journalline`.`id`"
        assert f"ORDER BY {at} DESC, {key} DESC LIMIT" in statement


def test_filters_without_an_index_are_searched_in_windows(operator, monkeypatch):
    fill_all_models()
    saga = Saga.objects.order_by("-id")[0]
    now = timezone.now()
    SagaLog.objects.all().delete()
    for attempt in range(6):
        SagaLog.objects.create(
            saga=saga, step="settle", direction="do", event="failed", attempt=attempt, at=now
        )
    SagaLog.objects.filter(attempt=0).update(event="unknown")
    monkeypatch.setattr(admin_classes, "SEARCHED_ROWS", 4)
    page = operator.get(address_of(SagaLog, event__exact="unknown"))
    assert (list(page.context["cl"].result_list), "among 4 rows" in page.text) == ([], True)
    following = dict(page.context["cl"].page_links)["Next page"]
    rest = operator.get(address_of(SagaLog) + following.lstrip("?"))
    assert [line.attempt for line in rest.context["cl"].result_list] == [0]
    first = dict(rest.context["cl"].page_links)["First page"]
    again = operator.get(address_of(SagaLog) + first.lstrip("?")).context["cl"]
    assert (dict(again.page_links)["First page"], bool(dict(again.page_links)["Last page"])) == ("", True)
    unfiltered = operator.get(address_of(SagaLog))
    assert len(unfiltered.context["cl"].result_list) == 6
