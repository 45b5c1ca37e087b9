"""The service level: 99.9 % of the calls that place orders or pay are answered, and not by a 5xx.

What counts is defined by the recording rules of ops/prometheus/recording.yml, which the alerts use too.
"""

from scripts.monitoring.expressions import rate, recorded
from scripts.monitoring.panels import GREEN, RED, YELLOW, Dashboard, Panel, Query, Row, Stat

GOAL = 0.999
BUDGET = "0.001"
"""The share of calls that may fail."""
PERIOD = "30d"
WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
BURN_RATES = {1.0: YELLOW, 3.0: YELLOW, 6.0: RED, 14.4: RED}
"""From where the alerts fire over three days, a day, six hours and an hour."""
VIEWS = {"view": "orders.api.(Orders|Payments|TopUps)", "method": "POST"}
REQUESTS = "django_http_responses_total_by_status_view_method_total"


def dashboard() -> Dashboard:
    return Dashboard(
        name="slo",
        title="Service level",
        about="Availability of orders and payments against 99.9 %, by windows, error budget and burn rates.",
        since="now-24h",
        rows=(_budget(), _windows(), _calls()),
    )


def _budget() -> Row:
    left = {0.0: RED, 0.25: YELLOW, 0.5: GREEN}
    return Row(
        "Thirty days",
        tuple(
            stat
            for service in ("orders", "payments")
            for stat in (
                Stat(
                    title=f"Availability of {service}",
                    about=f"The share of calls that were answered in thirty days, of {service}.",
                    queries=[Query(f"1 - {_failed_share(service)}", service)],
                    unit="percentunit",
                    thresholds={0: RED, GOAL: GREEN},
                    width=6,
                ),
                Stat(
                    title=f"Error budget left, {service}",
                    about=f"What is left of the failures that thirty days may have, of {service}.",
                    queries=[Query(f"1 - {_failed_share(service)} / {BUDGET}", service)],
                    unit="percentunit",
                    thresholds=left,
                    least=None,
                    width=6,
                ),
            )
        ),
    )


def _windows() -> Row:
    return Row(
        "Windows",
        (
            Panel(
                title="Availability by window",
                about="The share of calls that were answered, over each window up to the present.",
                queries=[
                    Query(f"1 - {recorded(f'slo:error_ratio:{window}')}", f"{{{{slo}}}} {window}")
                    for window in WINDOWS
                ],
                unit="percentunit",
                least=None,
                most=1,
                width=12,
                height=9,
            ),
            Panel(
                title="Burn rate by window",
                about="How much faster than allowed the error budget is used: at 1 it lasts thirty days.",
                queries=[
                    Query(f"{recorded(f'slo:error_ratio:{window}')} / {BUDGET}", f"{{{{slo}}}} {window}")
                    for window in WINDOWS
                ],
                thresholds=BURN_RATES,
                width=12,
                height=9,
            ),
        ),
    )


def _calls() -> Row:
    return Row(
        "Calls",
        (
            Panel(
                title="Calls that count",
                about="Calls per second that place orders or pay, in the mean of five minutes.",
                queries=[Query(recorded("slo:requests:rate5m"), "{{slo}}")],
                unit="reqps",
            ),
            Panel(
                title="Failed calls",
                about="Those of them that were answered by a 5xx.",
                queries=[Query(recorded("slo:errors:rate5m"), "{{slo}}")],
                unit="reqps",
            ),
            Panel(
                title="Responses by status",
                about="What these calls were answered.",
                queries=[Query(rate(REQUESTS, "view", "status", where=VIEWS), "{{view}} {{status}}")],
                unit="reqps",
                is_stacked=True,
            ),
            Panel(
                title="95 % are faster",
                about="Within which time 95 % of these calls are answered, beside the goal of each.",
                queries=[
                    Query(recorded("view:http_request_seconds:p95_5m", VIEWS), "{{view}}"),
                    Query(recorded("view:http_request_seconds:goal", VIEWS), "goal of {{view}}"),
                ],
                unit="s",
                width=24,
            ),
        ),
    )


def _failed_share(service: str) -> str:
    where = {"slo": service}
    errors, requests = (
        f"avg_over_time({recorded(f'slo:{what}:rate5m', where)}[{PERIOD}])" for what in ("errors", "requests")
    )
    return f"{errors} / {requests}"
