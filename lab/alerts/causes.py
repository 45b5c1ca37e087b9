"""The causes: what is broken, the alerts that must fire by it, and those that it explains as well.

The causes of a phase are made together, for each takes a while to be noticed, and removed together, the last
one first. What one inhibits is in another phase; what keeps the web processes busy comes last in its own.
"""

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass

from lab.alerts import process_causes, row_causes, traffic_causes
from lab.alerts.stage import Stage


@dataclass(frozen=True, kw_only=True)
class Cause:
    """What `make` does while its block lasts. `explains` are alerts that may fire by it, and need not."""

    what: str
    fires: tuple[str, ...]
    make: Callable[[Stage], AbstractContextManager[None]]
    explains: tuple[str, ...] = ()


BURNS = ("ErrorBudgetBurn1h", "ErrorBudgetBurn6h", "ErrorBudgetBurn1d", "ErrorBudgetBurn3d")
FAILED_REQUESTS = ("ErrorRate", *BURNS)
PHASES: tuple[tuple[Cause, ...], ...] = (
    (
        Cause(
            what="a product's `reserved` is set above `on_hand` by SQL",
            fires=("StockNegative", "LawBroken"),
            make=row_causes.stock_over_reserved,
        ),
        Cause(
            what="a campaign's `issued` is set above its `quantity` by SQL",
            fires=("CouponDuplicate",),
            make=row_causes.campaign_over_issued,
            explains=("LawBroken",),
        ),
        Cause(
            what="orders are paid by cards that are declined",
            fires=("PaymentFailureRate",),
            make=traffic_causes.declined_cards,
        ),
        Cause(
            what="the gateway has an old charge that belongs to no payment; removed by `reconcile --fix`",
            fires=("ReconciliationDifference",),
            make=traffic_causes.foreign_charge,
            explains=("LawBroken",),
        ),
        Cause(
            what="the owner of a card disputes a charge; the shop wins",
            fires=("DisputeOpen",),
            make=traffic_causes.disputed_charge,
        ),
        Cause(
            what="a step of a saga is forced, by a line of the journal",
            fires=("SagaStepForced",),
            make=row_causes.forced_step,
        ),
        Cause(
            what="an operator granted two millions today, by SQL",
            fires=("GrantsByOperator",),
            make=row_causes.many_grants,
        ),
        Cause(
            what="the data platform refuses an event for good; SQL adds to the refusal's age; "
            "removed by `replay_events --all`",
            fires=("EventsDead",),
            make=traffic_causes.refused_event,
        ),
        Cause(
            what="a webhook endpoint has a refused address; SQL adds to the age of what waits for it",
            fires=("WebhookLag",),
            make=row_causes.webhook_not_taken,
        ),
        Cause(
            what="another such endpoint; SQL adds days to the time for which it has failed",
            fires=("WebhookEndpointDisabled",),
            make=row_causes.webhook_endpoint_failing,
        ),
        Cause(
            what="a client keeps many connections to the database open",
            fires=("ConnectionsSaturated",),
            make=row_causes.many_connections,
        ),
        Cause(
            what="the exporter of Redis is stopped",
            fires=("ExporterDown",),
            make=process_causes.exporter_stopped,
        ),
        Cause(
            what="the clock of an issuer's host jumps five minutes ahead",
            fires=("ClockSkew",),
            make=process_causes.clock_ahead,
        ),
    ),
    (
        Cause(
            what="the table of the laws' answers is renamed",
            fires=("MetricMissing", "LawUnchecked"),
            make=row_causes.law_table_renamed,
        ),
        Cause(
            what="a transaction keeps the feed's row locked; SQL adds to the age of the events after it",
            fires=("FeedLag",),
            make=row_causes.locked_feed,
        ),
        Cause(
            what="a transaction keeps a campaign locked whose queue has a ticket",
            fires=("QueueNotMoving",),
            make=traffic_causes.locked_queue,
            explains=("LockWaits",),
        ),
        Cause(
            what="a transaction keeps a sale locked in which an entry waits; SQL lets it open earlier",
            fires=("SaleNotAdmitting",),
            make=traffic_causes.locked_sale,
            explains=("LockWaits",),
        ),
        Cause(
            what="a transaction keeps an unpaid order locked whose time is over",
            fires=("OrdersOverdue",),
            make=row_causes.locked_overdue_order,
            explains=("LockWaits",),
        ),
        Cause(
            what="the partner is stopped while coupons of its campaign are asked for",
            fires=("PartnerAway",),
            make=traffic_causes.partner_stopped,
            explains=("LatencyOverGoal", *FAILED_REQUESTS),
        ),
        Cause(
            what="a transaction keeps a product locked that orders are placed for",
            fires=("LockWaits", *FAILED_REQUESTS),
            make=traffic_causes.locked_product,
            explains=("LatencyOverGoal",),
        ),
    ),
    (
        Cause(
            what="transactions keep campaigns of the strategy `pessimistic` locked that coupons are asked of",
            fires=("ThreadsSaturated",),
            make=traffic_causes.locked_campaigns,
            explains=("LockWaits", "LatencyOverGoal", *FAILED_REQUESTS),
        ),
    ),
    (
        Cause(
            what="the gateway is stopped while orders are paid; SQL adds to their and the comparisons' age; "
            "removed by `retry_saga --all-stuck`",
            fires=("PaymentInDoubt", "SagaStuck", "ReconciliationOverdue"),
            make=traffic_causes.gateway_stopped,
        ),
        Cause(
            what="the data platform is stopped while an event waits; SQL adds to its age",
            fires=("OutboxLag",),
            make=traffic_causes.data_platform_stopped,
        ),
    ),
    (
        Cause(
            what="the worker takes no more tasks of its queue",
            fires=("TasksNotMoving",),
            make=process_causes.consumer_cancelled,
        ),
    ),
    (
        Cause(
            what="beat is frozen",
            fires=("BeatSilent",),
            make=process_causes.frozen("beat"),
            explains=("TargetDown",),
        ),
        Cause(
            what="both issuers are frozen",
            fires=("IssuerSilent",),
            make=process_causes.issuers_frozen,
            explains=("TargetDown",),
        ),
        Cause(
            what="the gateway takes 2.6 s for each call while orders wait for their payment",
            fires=("LatencyOverGoal",),
            make=traffic_causes.slow_gateway,
        ),
    ),
    (
        Cause(
            what="the worker is frozen",
            fires=("TargetDown",),
            make=process_causes.frozen("worker"),
            explains=("TasksNotMoving",),
        ),
        Cause(
            what="the broker is stopped",
            fires=("BrokerAway",),
            make=process_causes.broker_stopped,
            explains=("MetricMissing", "TasksNotMoving"),
        ),
    ),
    (
        Cause(
            what="Redis is stopped",
            fires=("RedisAway",),
            make=process_causes.stopped("redis"),
            explains=("BeatSilent", "IssuerSilent", "MetricMissing"),
        ),
    ),
    (
        Cause(
            what="the database is stopped",
            fires=("DatabaseAway",),
            make=process_causes.stopped("mariadb"),
            explains=("MetricMissing", "LawUnchecked", "ReconciliationOverdue", "ClockSkew"),
        ),
    ),
)


def all_alerts() -> set[str]:
    """Every alert that some cause makes fire."""
    return {name for phase in PHASES for cause in phase for name in cause.fires}


def chosen(names: Collection[str]) -> list[list[Cause]]:
    """The phases with the causes that make these alerts fire."""
    found = [[cause for cause in phase if set(names) & set(cause.fires)] for phase in PHASES]
    return [phase for phase in found if phase]
