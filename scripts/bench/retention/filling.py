"""A journal month as orders leave it: ten lines for each, made by MariaDB itself.

The lines are those of a paid order of one product by card, with their texts and lengths. There are no orders
to them: what is measured reads and deletes lines alone, and the laws of orders look from orders to lines.
"""

from collections.abc import Callable
from datetime import datetime

from scripts.bench.bulk.filling import indexed_afterwards
from shop.management.filling.rows import bites, choose_accounts, execute, note
from shop.models import JournalLine

LINES_OF_ORDER = 10
ACCOUNTS = 100_000
BITE = 50_000
"""Orders of a statement."""
ORDERS = """
CREATE OR REPLACE TEMPORARY TABLE filling_lines
(order_number INT NOT NULL, place INT NOT NULL, order_id UUID NOT NULL, payment_id UUID NOT NULL,
 account_id INT NOT NULL, at DATETIME(6) NOT NULL, PRIMARY KEY (order_number, place))
SELECT n.seq AS order_number, places.seq AS place,
       CONCAT('019', LPAD(HEX(n.seq), 9, '0'), '70018', LPAD(HEX(n.seq), 15, '0')) AS order_id,
       CONCAT('019', LPAD(HEX(n.seq), 9, '0'), '70028', LPAD(HEX(n.seq), 15, '0')) AS payment_id,
       account.account_id AS account_id,
       %(begin)s + INTERVAL n.seq * {step} + places.seq * 1000 MICROSECOND AS at
FROM seq_{first}_to_{last} AS n JOIN seq_0_to_9 AS places
JOIN filling_account AS account ON account.number = 1 + MOD(7919 * n.seq, {accounts})
"""
LEVEL = "500000 - MOD(order_number, 400000)"
PAID = """
JSON_OBJECT('order', order_id, 'account', account_id, 'items_amount', 24000, 'discount_amount', 0,
'points_amount', 0, 'card_amount', 24000, 'total_amount', 24000, 'currency', 'KRW', 'coupon', '',
'paid_at', at)
"""


def _by_place(*texts: str) -> str:
    """SQL for the text of each place of an order's lines."""
    return f"ELT(place + 1, {', '.join(texts)})"


WHAT = _by_place(
    "'order.placed'",
    "'order.status'",
    "'reserve_inventory.done'",
    "'hold_coupon.skipped'",
    "'debit_balance.skipped'",
    "'charge_card.done'",
    "'settle.done'",
    "'stock.sold'",
    "'order.paid'",
    "'transmit.done'",
)
PRODUCT = "CONCAT('product ', 1 + MOD(order_number, 1000))"
OF_ORDER = "CONCAT('order ', order_id)"
OF_PAYMENT = "CONCAT('purchase ', payment_id)"


def fill(count: int, *, begin: datetime, seconds: float, say: Callable[[str], None]) -> int:
    """Write so many lines, spread evenly over the seconds that follow `begin`. Returns how many."""
    orders = count // LINES_OF_ORDER
    accounts = min(ACCOUNTS, orders)
    choose_accounts(accounts)
    step = int(seconds * 1_000_000 / orders)
    with indexed_afterwards(JournalLine._meta.db_table, say=say):
        for first, last in bites(orders, BITE):
            execute(ORDERS.format(first=first, last=last, step=step, accounts=accounts), begin=begin)
            _note_lines()
            if last % (10 * BITE) == 0 or last == orders:
                say(f"{last * LINES_OF_ORDER:,} lines are there")
    return orders * LINES_OF_ORDER


def _note_lines() -> None:
    is_event, is_step = "place = 8", "place BETWEEN 2 AND 6 OR place = 9"
    of_account = "place < 2"
    note(
        "filling_lines ORDER BY order_number, place",
        at="at",
        actor=f"IF({of_account}, 'account', 'system')",
        actor_id=f"IF({of_account}, account_id, NULL)",
        actor_name=f"IF({of_account}, CONCAT('filled-', account_id), '')",
        request_id="payment_id",
        what=WHAT,
        subject=f"CASE WHEN place = 7 THEN {PRODUCT} WHEN {is_step} THEN {OF_PAYMENT} ELSE {OF_ORDER} END",
        order_id="order_id",
        before=f"IF(place = 7, JSON_OBJECT('on_hand', {LEVEL} + 1), NULL)",
        after=f"CASE place WHEN 0 THEN JSON_OBJECT('status', 'awaiting_payment', 'total_amount', 24000) "
        f"WHEN 1 THEN JSON_OBJECT('status', 'paying') WHEN 7 THEN JSON_OBJECT('on_hand', {LEVEL}) "
        f"WHEN 8 THEN {PAID} ELSE NULL END",
        detail="IF(place = 5, '24000 charged', '')",
        reference="IF(place = 5, CONCAT('ch_', REPLACE(payment_id, '-', '')), '')",
        is_internal="place IN (2, 3, 4, 6, 7, 9)",
        delivery=f"IF({is_event}, 'delivered', '')",
        delivered_at=f"IF({is_event}, at, NULL)",
        event_id=f"IF({is_event}, UUID(), NULL)",
        attempts=f"IF({is_event}, 1, 0)",
    )
