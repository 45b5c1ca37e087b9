"""The causes of alerts in the order in which they are made: which alerts each one fires, and by what."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from lab.alerts import causes
from lab.alerts.causes import after
from lab.alerts.stage import Block, Stage
from scripts.stack import Words

ERRORS = ("ErrorRate", "ErrorBudgetBurn1h", "ErrorBudgetBurn6h", "ErrorBudgetBurn1d", "ErrorBudgetBurn3d")


@dataclass(frozen=True)
class Lasting:
    """The block of a fault that lasts: its sort, and what it is about."""

    sort: str
    name: str

    def __call__(self, stage: Stage) -> Iterator[Block]:
        yield stage.lasting(self.sort, self.name)


@dataclass(frozen=True)
class Statements:
    """A statement, and one that removes it again, perhaps both about a new product or campaign."""

    do: str
    undo: str
    about: Literal["product", "campaign", ""] = ""

    def __call__(self, stage: Stage) -> Iterator[Block]:
        values = []
        if self.about == "product":
            values.append(stage.product())
        if self.about == "campaign":
            values.append(stage.campaign())
        stage.sql(self.do, *values)
        yield after(stage.sql, self.undo, *values)


@dataclass(frozen=True)
class Cause:
    """Causes of a phase are made together, and removed together, the last one first. `what` is the cause in
    the words of the table that a run prints. Its blocks are entered one after the other, and left in the
    reverse order. `fires` are the alerts that have to fire by it; `explains` those that may, and need not."""

    what: str
    blocks: Callable[[Stage], Iterable[Block]]
    fires: Words
    explains: Words = ()
    phase: int = 1


CAUSES = (
    Cause(
        what="The exporter of Redis is stopped",
        blocks=Lasting("down", "redis exporter"),
        fires=["ExporterDown"],
    ),
    Cause(
        what="The clock of the issuer drifts minutes ahead",
        blocks=Lasting("clock ahead of", "issuer"),
        fires=["ClockSkew"],
    ),
    # The statements switch off the constraints that forbid it.
    Cause(
        what="A product's `reserved` is set above `on_hand` by SQL",
        blocks=Statements(
            do="""
SET STATEMENT check_constraint_checks = 0 FOR
UPDATE inventory_product SET reserved = on_hand + 1 WHERE id = %s
""",
            undo="""
SET STATEMENT check_constraint_checks = 0 FOR
UPDATE inventory_product SET reserved = 0 WHERE id = %s
""",
            about="product",
        ),
        fires=["StockNegative", "LawBroken"],
    ),
    Cause(
        what="A campaign's `issued` is set above its `quantity` by SQL",
        blocks=Statements(
            do="""
SET STATEMENT check_constraint_checks = 0 FOR
UPDATE coupons_campaign SET issued = quantity + 1 WHERE id = %s
""",
            undo="""
SET STATEMENT check_constraint_checks = 0 FOR
UPDATE coupons_campaign SET issued = 0 WHERE id = %s
""",
            about="campaign",
        ),
        fires=["CouponDuplicate"],
        explains=["LawBroken"],
    ),
    Cause(
        what="A step of a saga is forced, by a line of the journal",
        blocks=Statements(
            do="""
INSERT INTO shop_journalline
  (at, actor, actor_name, request_id, what, subject, after, detail, reference, is_internal)
VALUES (UTC_TIMESTAMP(6), 'staff', 'alerts', '', 'saga.forced', 'purchase alerts', '{"step": "charge_card"}',
  '', '', 1)
""",
            undo="DELETE FROM shop_journalline WHERE subject = 'purchase alerts'",
        ),
        fires=["SagaStepForced"],
    ),
    Cause(
        what="An operator granted two millions today, by SQL",
        blocks=Statements(
            do="""
INSERT INTO payments_grantsofday (operator_id, day, amount, approved_amount)
VALUES (0, DATE(UTC_TIMESTAMP() + INTERVAL 9 HOUR), 1, 2000000)
""",
            undo="DELETE FROM payments_grantsofday WHERE operator_id = 0",
        ),
        fires=["GrantsByOperator"],
    ),
    Cause(
        what="An order is paid with a coupon of 20,000,000",
        blocks=causes.large_discounts,
        fires=["CampaignDiscounts"],
    ),
    Cause(
        what="A buyer asks for 20,000,000 that are sold out",
        blocks=Statements(
            do="""
INSERT INTO inventory_productday (day, product_id, lost_units, lost_amount, lost_sold_out)
SELECT DATE(UTC_TIMESTAMP() + INTERVAL 9 HOUR), id, 1, 20000000, 1 FROM inventory_product ORDER BY id LIMIT 1
ON DUPLICATE KEY UPDATE lost_amount = lost_amount + 20000000
""",
            undo="UPDATE inventory_productday SET lost_amount = 0",
        ),
        fires=["LostSales"],
    ),
    Cause(what="A member of staff places orders", blocks=causes.orders_of_staff, fires=["StaffOrders"]),
    Cause(
        what="Orders are paid by cards that are declined",
        blocks=causes.declined_cards,
        fires=["PaymentFailureRate"],
        explains=["NothingSold"],
    ),
    Cause(
        what=(
            "Two webhook endpoints have a refused address; SQL adds to the age of what waits for one, "
            "and days to the time for which the other has failed"
        ),
        blocks=causes.failing_endpoints,
        fires=["WebhookLag", "WebhookEndpointDisabled"],
    ),
    Cause(
        what=(
            "The gateway has an old charge that belongs to no payment, removed by `reconcile --fix`, "
            "and another one is disputed; the shop wins"
        ),
        blocks=causes.odd_charges,
        fires=["ReconciliationDifference", "DisputeOpen"],
        explains=["LawBroken"],
    ),
    Cause(
        what=(
            "Another data platform refuses an event for good; SQL adds to the refusal's age; removed "
            "by `replay_events --all`"
        ),
        blocks=causes.refused_event,
        fires=["EventsDead"],
    ),
    Cause(
        what=("A client keeps 85 % of the connections to the database open, with those that the shop needs"),
        blocks=causes.many_connections,
        fires=["ConnectionsSaturated"],
    ),
    Cause(
        phase=2,
        what="The table of the laws' answers is renamed",
        blocks=Statements(
            do="RENAME TABLE shop_lawstatus TO shop_lawstatus_away",
            undo="RENAME TABLE shop_lawstatus_away TO shop_lawstatus",
        ),
        fires=["MetricMissing", "LawUnchecked"],
    ),
    Cause(
        phase=2,
        what=(
            "Transactions lock the feed's row, a campaign whose queue has a ticket, a sale in which "
            "an entry waits, and an unpaid order; SQL adds to the age of sale, order and events"
        ),
        blocks=causes.locked_rows,
        fires=["FeedLag", "QueueNotMoving", "SaleNotAdmitting", "OrdersOverdue"],
        explains=["LockWaits"],
    ),
    Cause(
        phase=2,
        what="The partner is stopped while coupons of its campaign are asked for",
        blocks=causes.partner_stopped,
        fires=["PartnerAway"],
        explains=["LatencyOverGoal", *ERRORS],
    ),
    Cause(
        phase=2,
        what="A transaction keeps a product locked that orders are placed for",
        blocks=causes.locked_product,
        fires=["LockWaits", *ERRORS],
        explains=["LatencyOverGoal", "NothingSold"],
    ),
    Cause(
        phase=3,
        what=("Transactions keep campaigns of the strategy `pessimistic` locked that coupons are asked of"),
        blocks=causes.locked_campaigns,
        fires=["ThreadsSaturated"],
        explains=["LockWaits", "LatencyOverGoal", *ERRORS],
    ),
    Cause(
        phase=4,
        what=(
            "Gateway and data platform are stopped while orders are paid and an event waits; SQL adds "
            "to their and the comparisons' age; removed by `retry_saga --all-stuck`"
        ),
        blocks=causes.outside_stopped,
        fires=["PaymentInDoubt", "SagaStuck", "ReconciliationOverdue", "OutboxLag"],
        explains=["NothingSold"],
    ),
    Cause(
        phase=5,
        what="The worker takes no more tasks of its queue",
        blocks=causes.consumer_cancelled,
        fires=["TasksNotMoving"],
    ),
    # What waits for longer than PAYMENT_GIVE_UP_SECONDS is given up.
    Cause(
        phase=6,
        what="The worker is frozen while orders are placed with cards",
        blocks=causes.buyers_wait,
        fires=["NothingSold"],
        explains=["TargetDown", "TasksNotMoving", "PaymentFailureRate", "SagaStuck"],
    ),
    Cause(
        phase=7,
        what="Beat is frozen",
        blocks=Lasting("freeze", "beat"),
        fires=["BeatSilent"],
        explains=["TargetDown"],
    ),
    Cause(
        phase=7,
        what="The issuer is frozen",
        blocks=Lasting("freeze", "issuer"),
        fires=["IssuerSilent"],
        explains=["TargetDown"],
    ),
    Cause(
        phase=7,
        what="The gateway takes 2.6 s for each call while orders wait for their payment",
        blocks=causes.slow_gateway,
        fires=["LatencyOverGoal"],
        explains=["NothingSold"],
    ),
    Cause(
        phase=8,
        what="The worker is frozen",
        blocks=Lasting("freeze", "worker"),
        fires=["TargetDown"],
        explains=["TasksNotMoving"],
    ),
    Cause(
        phase=8,
        what="The broker is stopped",
        blocks=Lasting("down", "broker"),
        fires=["BrokerAway"],
        explains=["MetricMissing", "TasksNotMoving"],
    ),
    Cause(
        phase=9,
        what="Redis is stopped",
        blocks=Lasting("down", "redis"),
        fires=["RedisAway"],
        explains=["BeatSilent", "IssuerSilent", "MetricMissing"],
    ),
    # It explains what is not known without the database.
    Cause(
        phase=10,
        what="The database is stopped",
        blocks=Lasting("down", "mariadb"),
        fires=["DatabaseAway"],
        explains=["MetricMissing", "LawUnchecked", "ReconciliationOverdue", "ClockSkew"],
    ),
)
