"""Campaigns and their coupons, by the thousand: numbered without gaps, counted, and told in the journal."""

from datetime import datetime

from django.db import connection, transaction
from django.utils import timezone

from coupons.models import Campaign

# Codes of 14 characters, as spread over their index as real ones that were issued hour after hour for weeks.
ISSUE = """
INSERT INTO coupons_coupon (campaign_id, account_id, code, position, status, void_reason, issued_at,
                            expires_at)
SELECT %(campaign)s, account_id,
       CONCAT(LPAD(CONV(LEFT(MD5(CONCAT(%(campaign)s, ' ', number, ' ', UUID())), 15), 16, 32), 12, '0'),
              LPAD(MOD(number, 100), 2, '0')),
       number, 'issued', '', %(now)s, %(now)s + INTERVAL 30 DAY
FROM filling_account WHERE number BETWEEN %(first)s AND %(last)s
"""
NOTE = """
INSERT INTO shop_journalline (at, actor, actor_id, actor_name, request_id, what, subject, after, detail,
                              reference, is_internal, delivery, attempts, delivered_at, last_error)
SELECT issued_at, 'account', account_id, '', UUID(), 'coupon.issued', CONCAT('coupon ', code),
       JSON_OBJECT('coupon', code, 'campaign', campaign_id, 'account', account_id,
                   'position', position, 'status', status),
       '', '', 0, 'delivered', 1, issued_at, ''
FROM coupons_coupon WHERE campaign_id = %(campaign)s AND position BETWEEN %(first)s AND %(last)s
"""


def open_campaign(*, quantity: int, discount_amount: int = 1_000) -> int:
    """A new campaign with that many coupons to give; returns its id."""
    campaign = Campaign.objects.create(
        name="Filled",
        quantity=quantity,
        opens_at=timezone.now(),
        discount_type=Campaign.DiscountType.AMOUNT,
        discount_value=discount_amount,
    )
    return campaign.pk


@transaction.atomic
def issue(campaign_id: int, *, first: int, last: int) -> None:
    """Give the positions from `first` to `last` to the accounts of these numbers; those before are given."""
    Campaign.objects.filter(pk=campaign_id, issued=first - 1).update(issued=last)
    names: dict[str, int | datetime] = {
        "campaign": campaign_id,
        "first": first,
        "last": last,
        "now": timezone.now().replace(tzinfo=None),
    }
    with connection.cursor() as cursor:
        cursor.execute(ISSUE, names)
        cursor.execute(NOTE, names)
