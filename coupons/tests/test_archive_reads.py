"""Reads of archived coupons: lists, and each coupon, are as before they were archived.

`shop/tests/test_moving_coupons.py` reads them while they move.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection

from coupons.archive import coupon_lists
from coupons.models import ArchivedCoupon, Campaign, Coupon
from coupons.tests.archives import archive, closed_campaign
from coupons.tests.factories import CampaignFactory, coupon_of, order_ids
from shop.tests.clients import Api, client_of
from shop.tests.factories import SuperuserFactory
from shop.tests.plans import assert_read_by_index
from shop.tests.statements import captured_statements

pytestmark = pytest.mark.django_db(transaction=True)
FILTERS = ["", *(f"&status={status}" for status in ("issued", "held", "redeemed", "expired", "void"))]


def coupon_of_closed_campaign(account: User, **columns: Any) -> Coupon:
    """The account's coupon of a campaign that closed long ago; another account has one, too."""
    campaign = closed_campaign(coupons=1)
    other = Coupon.objects.get(campaign=campaign)
    values = {field.attname: getattr(other, field.attname) for field in Coupon._meta.concrete_fields}
    values |= {"id": None, "account_id": account.pk, "code": f"OWN-{campaign.pk}", "position": 2} | columns
    Campaign.objects.filter(pk=campaign.pk).update(issued=2)
    return Coupon.objects.create(**values)


@pytest.fixture
def closed(account: User) -> list[Campaign]:
    """Campaigns whose coupons of the account can be archived, in each status, among others that can't."""
    coupon_of(CampaignFactory.create(), account)
    held_by, redeemed_by = order_ids(2)
    coupons = [
        coupon_of_closed_campaign(account),
        coupon_of_closed_campaign(account, status="redeemed", order_id=redeemed_by),
        coupon_of_closed_campaign(account, status="held", order_id=held_by),
        coupon_of_closed_campaign(account, status="void"),
    ]
    coupon_of(CampaignFactory.create(), account)
    return [coupon.campaign for coupon in coupons]


def pages(client: Api, query: str) -> Iterator[list[dict[str, Any]]]:
    """The rows of each page of the list, to the last one and back to the first."""
    page = client.get(f"/coupons?{query}").json()
    yield page["results"]
    for link in ("next", "previous"):
        while page[link]:
            page = client.get(page[link]).json()
            yield page["results"]


def lists(clients: Sequence[Api], queries: Sequence[str]) -> list[list[list[dict[str, Any]]]]:
    return [list(pages(client, query)) for client in clients for query in queries]


def test_lists_of_accounts_and_of_staff_are_the_same_once_coupons_are_archived(
    account: User, closed: list[Campaign]
) -> None:
    clients = [client_of(account), client_of(SuperuserFactory.create())]
    queries = [f"limit={limit}{condition}" for limit in (2, 50) for condition in FILTERS]
    queries += [f"campaign={closed[0].pk}", f"campaign={closed[0].pk}&status=expired", f"user={account.pk}"]
    before = lists(clients, queries)
    own = [row["code"] for row in before[len(FILTERS)][0]]
    assert own == list(Coupon.objects.filter(account=account).order_by("-pk").values_list("code", flat=True))
    for campaign in closed:
        archive(campaign)
        assert lists(clients, queries) == before
    assert ArchivedCoupon.objects.filter(account=account).count() == 3


def rows_read(owner_id: int) -> int:
    """How many rows of tables and indexes the database reads for the first page of the account's coupons."""
    with connection.cursor() as cursor:
        cursor.execute("FLUSH STATUS")
        assert coupon_lists.find(owner_id=owner_id).order_by("-id")[0:51]
        cursor.execute("SHOW SESSION STATUS LIKE 'Handler\\_read\\_%'")
        counts = {name: int(count) for name, count in cursor.fetchall()}
    # The rest are reads of temporary tables.
    return sum(counts.values()) - counts["Handler_read_rnd_next"] - counts["Handler_read_rnd"]


def test_the_list_of_an_account_reads_its_own_rows_by_an_index_however_many_others_there_are(
    account: User,
) -> None:
    for _ in range(3):
        archive(coupon_of_closed_campaign(account).campaign)
        coupon_of(CampaignFactory.create(), account)
    reads = []
    for others in (50, 200):
        archive(closed_campaign(coupons=others))
        closed_campaign(coupons=others)
        with connection.cursor() as cursor:
            for table in ("coupons_coupon", "coupons_archivedcoupon"):
                cursor.execute(f"ANALYZE TABLE {table}")
                cursor.fetchall()
        reads.append(rows_read(account.pk))
    assert reads[0] == reads[1] < 40
    with captured_statements() as statements:
        client_of(account).get("/coupons")
    [statement] = [text for text in statements if "coupons_" in text]
    assert_read_by_index(statement, but_for=["campaign"])


def test_both_tables_have_the_same_columns() -> None:
    coupons, archived = (
        {field.column: field.get_internal_type() for field in table._meta.concrete_fields}
        for table in (Coupon, ArchivedCoupon)
    )
    assert coupons | {"id": archived["id"]} == archived
