"""Coupons and queue: what all campaigns issue, and what waits for a queue, a gate or a partner."""

from scripts.monitoring.expressions import quantile, rate, state
from scripts.monitoring.panels import RED, YELLOW, Dashboard, Panel, Query, Row, Stat, Variable

CAMPAIGN = {"campaign": "$campaign"}


def dashboard() -> Dashboard:
    return Dashboard(
        name="coupons",
        title="Coupons and queue",
        about="Requests for coupons by outcome, the queues of campaigns, the gates in Redis, and partners.",
        variables=(Variable("campaign", "campaign", "firstcome_campaign_quantity"),),
        rows=(_coupons(), _queue(), _gate_and_partners()),
    )


def _coupons() -> Row:
    return Row(
        "Coupons",
        (
            Panel(
                title="Requests by outcome",
                about="Requests for coupons: issued, repeated, pending, or the code of the refusal.",
                queries=[Query(rate("firstcome_coupon_requests_total", "outcome"), "{{outcome}}")],
                unit="reqps",
                is_stacked=True,
                width=12,
            ),
            Panel(
                title="Requests by campaign",
                about="Requests of each campaign per second, whatever the answer.",
                queries=[
                    Query(
                        rate("firstcome_campaign_requests_total", "campaign", where=CAMPAIGN), "{{campaign}}"
                    )
                ],
                unit="reqps",
                width=12,
            ),
            Panel(
                title="Redeemed per minute",
                about="Coupons that paid orders have used.",
                queries=[Query(f"60 * {rate('firstcome_coupons_redeemed_total')}", "redeemed")],
            ),
            Panel(
                title="Issued share of each campaign",
                about="How much of its quantity a running campaign has issued.",
                queries=[Query(_issued_share(), "{{campaign}}")],
                unit="percentunit",
                most=1,
            ),
            Panel(
                title="Broken campaigns",
                about="Campaigns that issued more than their quantity, or an account two coupons: always 0.",
                queries=[Query(state("firstcome_coupons_duplicate"), "broken")],
                thresholds={1: RED},
            ),
        ),
    )


def _queue() -> Row:
    issuer = "firstcome_issuer_last_pass_seconds"
    return Row(
        "Queue",
        (
            Stat(
                title="Last pass of the issuer",
                about="How long ago an issuer last looked at the queues.",
                queries=[Query(state(issuer), "age")],
                unit="s",
                thresholds={10: YELLOW, 30: RED},
                height=7,
            ),
            Panel(
                title="Waiting tickets",
                about="Queue tickets that wait to be settled, by campaign.",
                queries=[Query(state("firstcome_queue_tickets_waiting", CAMPAIGN), "{{campaign}}")],
                width=10,
            ),
            Panel(
                title="First ticket's wait",
                about="How long the first ticket of each queue has waited.",
                queries=[Query(state("firstcome_queue_oldest_ticket_seconds", CAMPAIGN), "{{campaign}}")],
                unit="s",
                thresholds={10: YELLOW, 30: RED},
                width=10,
            ),
        ),
    )


def _gate_and_partners() -> Row:
    return Row(
        "Gates and partners",
        (
            Panel(
                title="In flight behind a gate",
                about="Requests that a campaign's gate in Redis admitted and that are not decided yet.",
                queries=[Query(state("firstcome_gate_in_flight", CAMPAIGN), "{{campaign}}")],
            ),
            Panel(
                title="Coupons waiting for their partner",
                about="Coupons whose partner has not answered yet.",
                queries=[Query(state("firstcome_coupons_confirming"), "waiting")],
            ),
            Panel(
                title="Oldest of them",
                about="How long the first of these coupons has waited.",
                queries=[Query(state("firstcome_coupons_confirming_oldest_seconds"), "oldest")],
                unit="s",
                thresholds={10: YELLOW, 60: RED},
            ),
            Panel(
                title="Answers of partners",
                about="What partners answered when they were asked to confirm a coupon, per second.",
                queries=[Query(rate("firstcome_partner_answers_total", "answer"), "{{answer}}")],
                unit="ops",
                is_stacked=True,
            ),
            Panel(
                title="Wait for a lock in Redis",
                about="95 % of the waits for a lock in Redis are over within this time.",
                queries=[Query(quantile(0.95, "firstcome_lock_wait_seconds", "lock"), "{{lock}}")],
                unit="s",
                thresholds={5: YELLOW, 10: RED},
                width=16,
            ),
        ),
    )


def _issued_share() -> str:
    return (
        f"{state('firstcome_campaign_issued', CAMPAIGN)} / {state('firstcome_campaign_quantity', CAMPAIGN)}"
    )
