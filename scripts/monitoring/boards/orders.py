"""Orders and payments: what is bought, what comes in, what goes back, and what hangs."""

from scripts.monitoring.expressions import observations, quantile, rate, state
from scripts.monitoring.panels import RED, YELLOW, Dashboard, Panel, Query, Row, Stat

PER_MINUTE = "60 * "


def dashboard() -> Dashboard:
    return Dashboard(
        name="orders",
        title="Orders and payments",
        about="Orders, money, the payment gateway, and the sagas and events behind them.",
        rows=(_now(), _orders(), _money(), _gateway(), _sagas(), _events(), _feed()),
    )


def _now() -> Row:
    needs_operator = {1.0: RED}
    return Row(
        "Waiting for an operator",
        (
            Stat(
                title="Stuck sagas",
                about="Sagas past their deadline; each needs a decision of an operator.",
                queries=[Query(f"sum({state('firstcome_sagas_stuck')})", "stuck")],
                thresholds=needs_operator,
            ),
            Stat(
                title="Dead events",
                about="Events that the data platform refused for good.",
                queries=[Query(state("firstcome_events_dead"), "dead")],
                thresholds=needs_operator,
            ),
            Stat(
                title="Payments in doubt",
                about="Payments whose outcome the gateway has not said yet.",
                queries=[Query(state("firstcome_payments_in_doubt"), "in doubt")],
                thresholds={10.0: YELLOW, 100.0: RED},
            ),
            Stat(
                title="Payments with the customer",
                about="Payments that wait for the card's owner to confirm them.",
                queries=[Query(state("firstcome_payments_requiring_action"), "with the customer")],
            ),
            Stat(
                title="Open disputes",
                about="Charges that their cards' owners dispute: answer them at the gateway.",
                queries=[Query(state("firstcome_disputes_open"), "open")],
                thresholds=needs_operator,
            ),
            Stat(
                title="Differences from the gateway's book",
                about="What the latest comparison left to an operator.",
                queries=[Query(f"sum({state('firstcome_reconciliation_differences')})", "differences")],
                thresholds=needs_operator,
            ),
            Stat(
                title="Last comparison",
                about="How long ago our payments were last compared with the gateway's book.",
                queries=[Query(state("firstcome_reconciliation_age_seconds"), "age")],
                unit="s",
                thresholds={1800: YELLOW, 3600: RED},
            ),
            Stat(
                title="Overdue orders",
                about="Unpaid orders that should have expired a minute ago and still hold stock.",
                queries=[Query(state("firstcome_orders_overdue"), "overdue")],
                thresholds={1: YELLOW, 100: RED},
            ),
        ),
    )


def _orders() -> Row:
    return Row(
        "Orders",
        (
            Panel(
                title="Orders per minute",
                about="What becomes of orders: placed, paid, failed, cancelled, expired, refunded.",
                queries=[Query(PER_MINUTE + rate("firstcome_orders_total", "event"), "{{event}}")],
            ),
            Panel(
                title="Open orders",
                about="Orders that wait for their payment, are being paid, or are being refunded.",
                queries=[Query(state("firstcome_orders"), "{{status}}")],
                is_stacked=True,
            ),
            Panel(
                title="Share of placed orders that are paid",
                about="Orders paid in the last five minutes, against those placed in them.",
                queries=[Query(_paid_share(), "paid")],
                unit="percentunit",
            ),
        ),
    )


def _money() -> Row:
    return Row(
        "Money",
        (
            Panel(
                title="Revenue per minute",
                about="What paid orders brought, in the currency's minor unit.",
                queries=[Query(PER_MINUTE + rate("firstcome_revenue_amount_total"), "revenue")],
            ),
            Panel(
                title="Refunds per minute",
                about="Refunds of whole orders and of parts.",
                queries=[Query(PER_MINUTE + rate("firstcome_refunds_total", "kind"), "{{kind}}")],
            ),
            Panel(
                title="Refunded per minute",
                about="What refunds gave back, in the currency's minor unit.",
                queries=[Query(PER_MINUTE + rate("firstcome_refunded_amount_total"), "refunded")],
            ),
            Panel(
                title="Points per minute",
                about="Points granted, spent, bought by top-ups, and returned.",
                queries=[Query(PER_MINUTE + rate("firstcome_points_total", "movement"), "{{movement}}")],
            ),
            Panel(
                title="Payments per minute",
                about="Payments that ended, by gateway and outcome.",
                queries=[
                    Query(
                        PER_MINUTE + rate("firstcome_payments_total", "gateway", "outcome"),
                        "{{gateway}}: {{outcome}}",
                    )
                ],
                is_stacked=True,
            ),
            Panel(
                title="Share of payments that fail",
                about="Payments of the last five minutes that were declined, or failed for another reason.",
                queries=[Query(_failed_share(), "{{outcome}}")],
                unit="percentunit",
                thresholds={0.25: RED},
                most=1,
            ),
        ),
    )


def _gateway() -> Row:
    return Row(
        "Payment gateway",
        (
            Panel(
                title="Time of a call",
                about="95 % of the gateway's answers come within this time.",
                queries=[
                    Query(
                        quantile(0.95, "firstcome_gateway_call_seconds", "gateway", "call"),
                        "{{gateway}}: {{call}}",
                    )
                ],
                unit="s",
                thresholds={3: RED},
            ),
            Panel(
                title="Calls by outcome",
                about="Calls of the gateway per second, by what came of them.",
                queries=[
                    Query(
                        observations("firstcome_gateway_call_seconds", "call", "outcome"),
                        "{{call}}: {{outcome}}",
                    )
                ],
                unit="reqps",
                is_stacked=True,
            ),
            Panel(
                title="Oldest payment in doubt",
                about="For how long the oldest payment without a known outcome has waited.",
                queries=[Query(state("firstcome_payments_in_doubt_oldest_seconds"), "oldest")],
                unit="s",
                thresholds={60: YELLOW, 300: RED},
            ),
        ),
    )


def _sagas() -> Row:
    return Row(
        "Sagas",
        (
            Panel(
                title="Unfinished sagas",
                about="Purchases, top-ups and refunds that are under way.",
                queries=[Query(state("firstcome_sagas_unfinished"), "{{kind}}")],
                is_stacked=True,
            ),
            Panel(
                title="Steps by outcome",
                about="Steps of sagas per second, forward and as compensation, by their outcome.",
                queries=[
                    Query(
                        rate("firstcome_saga_steps_total", "step", "direction", "outcome"),
                        "{{step}} {{direction}}: {{outcome}}",
                    )
                ],
                unit="ops",
            ),
            Panel(
                title="Time of a step",
                about="95 % of each step's runs end within this time.",
                queries=[Query(quantile(0.95, "firstcome_saga_step_seconds", "step"), "{{step}}")],
                unit="s",
            ),
            Panel(
                title="Oldest due saga",
                about="How long the saga that should have been advanced first has been due.",
                queries=[Query(state("firstcome_sagas_oldest_due_seconds"), "oldest")],
                unit="s",
                thresholds={30: YELLOW, 120: RED},
            ),
            Panel(
                title="Stuck sagas",
                about="Sagas that need an operator, by kind.",
                queries=[Query(state("firstcome_sagas_stuck"), "{{kind}}")],
                thresholds={1: RED},
            ),
            Panel(
                title="Steps recorded by operators",
                about="Steps at other systems that operators recorded within a day, by step.",
                queries=[Query(state("firstcome_saga_steps_forced"), "{{step}}")],
                thresholds={1: RED},
            ),
            Panel(
                title="Points granted today",
                about="By operator, with an approval or without.",
                queries=[Query(state("firstcome_points_granted_today"), "operator {{operator}}")],
                thresholds={800_000: RED},
            ),
            Panel(
                title="Webhooks not handled",
                about="Events of gateways that are accepted and not handled yet.",
                queries=[Query(state("firstcome_webhooks_unhandled"), "unhandled")],
            ),
        ),
    )


def _events() -> Row:
    return Row(
        "Events for the data platform",
        (
            Panel(
                title="Queued events",
                about="Events that wait to be delivered, and those that were refused at the last try.",
                queries=[
                    Query(state("firstcome_events_queued"), "queued"),
                    Query(state("firstcome_events_refused"), "refused"),
                ],
                width=12,
            ),
            Panel(
                title="Oldest queued event",
                about="How long the first event of the outbox has waited.",
                queries=[Query(state("firstcome_events_oldest_queued_seconds"), "oldest")],
                unit="s",
                thresholds={60: YELLOW, 300: RED},
                width=12,
            ),
        ),
    )


def _feed() -> Row:
    return Row(
        "Event feed and webhooks",
        (
            Panel(
                title="Events of the feed",
                about="Events per second that got their position: from then on programs read them.",
                queries=[Query(rate("firstcome_feed_events_total"), "events")],
                unit="ops",
            ),
            Panel(
                title="Oldest event without a position",
                about="How long the oldest committed event has waited for its position in the feed.",
                queries=[Query(state("firstcome_feed_unsequenced_seconds"), "oldest")],
                unit="s",
                thresholds={10: YELLOW, 30: RED},
            ),
            Panel(
                title="Webhooks by outcome",
                about="Requests per second to webhook endpoints: delivered, tried again later, given up.",
                queries=[Query(rate("firstcome_webhook_attempts_total", "outcome"), "{{outcome}}")],
                unit="reqps",
                is_stacked=True,
            ),
            Panel(
                title="Oldest webhook",
                about="How long the oldest event has waited that an enabled endpoint is to get.",
                queries=[Query(state("firstcome_webhooks_oldest_pending_seconds"), "oldest")],
                unit="s",
                thresholds={600: YELLOW, 3600: RED},
            ),
            Panel(
                title="Disabled endpoints",
                about="Webhook endpoints that get nothing: disabled by staff, or after days of failures.",
                queries=[Query(state("firstcome_webhook_endpoints_disabled"), "{{disabled_by}}")],
            ),
        ),
    )


def _paid_share() -> str:
    paid, placed = (
        rate("firstcome_orders_total", where={"event": event}, over="5m") for event in ("paid", "placed")
    )
    return f"{paid} / {placed}"


def _failed_share() -> str:
    failed = rate("firstcome_payments_total", "outcome", where={"outcome": "declined|failed"}, over="5m")
    return f"{failed} / on () group_left () {rate('firstcome_payments_total', over='5m')}"
