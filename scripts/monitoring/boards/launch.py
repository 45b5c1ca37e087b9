"""Launch: what is watched while a campaign runs and a product sells out."""

from scripts.monitoring.expressions import quantile, rate, select, state, total
from scripts.monitoring.panels import RED, YELLOW, Dashboard, Panel, Query, Row, Stat, Table, Variable

CAMPAIGN, PRODUCT, SALE = {"campaign": "$campaign"}, {"product": "$product"}, {"sale": "$sale"}
MINUTES = "5m"
"""Over which projections take the present speed."""
REQUESTS = "django_http_responses_total_by_status_view_method_total"
LATENCY = "django_http_requests_latency_seconds_by_view_method"


def dashboard() -> Dashboard:
    variables = (
        Variable("campaign", "campaign", "firstcome_campaign_quantity"),
        Variable("product", "product", "firstcome_stock_available"),
        Variable("sale", "sale", "firstcome_sale_waiting"),
    )
    return Dashboard(
        name="launch",
        title="Launch",
        about="A running sale: what is left, how fast it goes, and what is refused.",
        variables=variables,
        since="now-30m",
        rows=(_overview(), _campaigns(), _sales(), _products(), _requests()),
    )


def _overview() -> Row:
    return Row(
        "Now",
        (
            Stat(
                title="Running campaigns",
                about="Campaigns that issue coupons at this moment.",
                queries=[Query(state("firstcome_campaigns_running"), "campaigns")],
            ),
            Stat(
                title="Coupons per second",
                about="New coupons of all campaigns.",
                queries=[
                    Query(rate("firstcome_coupon_requests_total", where={"outcome": "issued"}), "issued")
                ],
                unit="ops",
            ),
            Stat(
                title="Orders placed per second",
                about="Orders whose stock is reserved.",
                queries=[Query(rate("firstcome_orders_total", where={"event": "placed"}), "placed")],
                unit="ops",
            ),
            Stat(
                title="Orders paid per second",
                about="Orders whose payment succeeded.",
                queries=[Query(rate("firstcome_orders_total", where={"event": "paid"}), "paid")],
                unit="ops",
            ),
            Stat(
                title="Waiting requests",
                about="Requests that wait for the end of a payment or for their turn in a queue.",
                queries=[Query(total("firstcome_waiting_requests"), "waiting")],
            ),
            Stat(
                title="Server errors",
                about="The share of responses of the last five minutes that are 5xx.",
                queries=[Query(_error_share(), "errors")],
                unit="percentunit",
                thresholds={0.001: YELLOW, 0.01: RED},
            ),
        ),
    )


def _campaigns() -> Row:
    issued, no_refusal = {"outcome": "issued", **CAMPAIGN}, {"outcome": "issued|repeated|pending"}
    name = "firstcome_campaign_requests_total"
    speed = rate(name, "campaign", where=issued)
    refused = rate(name, "campaign", "outcome", where=CAMPAIGN, unless=no_refusal)
    return Row(
        "Campaigns",
        (
            _table(),
            Panel(
                title="Coupons left",
                about="The quantity of each campaign that is not issued yet.",
                queries=[Query(_left(), "{{campaign}}")],
            ),
            Panel(
                title="Coupons issued per second",
                about="New coupons of each campaign, in the present.",
                queries=[Query(speed, "{{campaign}}")],
                unit="ops",
            ),
            Panel(
                title="Sold out in",
                about="How long the rest lasts at the mean speed of the last five minutes.",
                queries=[Query(_sold_out_in(), "{{campaign}}")],
                unit="s",
            ),
            Panel(
                title="Refusals by code",
                about="Requests for coupons that were refused, by campaign and the code of the refusal.",
                queries=[Query(refused, "{{campaign}}: {{outcome}}")],
                unit="reqps",
                is_stacked=True,
                width=12,
            ),
            Panel(
                title="Coupons redeemed per second",
                about="Coupons of each campaign that paid orders have used.",
                queries=[
                    Query(
                        rate("firstcome_campaign_redeemed_total", "campaign", where=CAMPAIGN), "{{campaign}}"
                    )
                ],
                unit="ops",
                width=12,
            ),
        ),
    )


def _table() -> Table:
    return Table(
        title="Campaigns",
        about="Each running campaign: what is left, and for how long at the present speed.",
        key="campaign",
        units={"Coupons per second": "ops", "Sold out in": "s"},
        queries=[
            Query(state("firstcome_campaign_quantity", CAMPAIGN), "Coupons"),
            Query(state("firstcome_campaign_issued", CAMPAIGN), "Issued"),
            Query(_left(), "Left"),
            Query(_speed(), "Coupons per second"),
            Query(_sold_out_in(), "Sold out in"),
        ],
    )


def _sales() -> Row:
    return Row(
        "Waiting rooms of sales",
        (
            Panel(
                title="Waiting entries",
                about="Entries that wait in the waiting room of each running sale.",
                queries=[Query(state("firstcome_sale_waiting", SALE), "{{sale}}")],
            ),
            Panel(
                title="Admitted entries",
                about="Entries of each sale that are admitted, and those that were in the last 60 seconds.",
                queries=[
                    Query(state("firstcome_sale_admitted", SALE), "{{sale}} now"),
                    Query(state("firstcome_sale_admitted_last_minute", SALE), "{{sale}} in a minute"),
                ],
            ),
            Panel(
                title="Since the last admission",
                about="For how long none was admitted, while entries wait and something is available.",
                queries=[Query(state("firstcome_sale_admission_age_seconds", SALE), "{{sale}}")],
                unit="s",
                thresholds={30: YELLOW, 60: RED},
            ),
        ),
    )


def _products() -> Row:
    return Row(
        "Products",
        (
            Panel(
                title="Stock available",
                about="Units of each hot product on hand that no open order reserves.",
                queries=[Query(state("firstcome_stock_available", PRODUCT), "{{product}}")],
            ),
            Panel(
                title="Stock reserved",
                about="Units of each hot product that open orders hold.",
                queries=[Query(state("firstcome_stock_reserved", PRODUCT), "{{product}}")],
            ),
            Panel(
                title="Sold out in",
                about="How long the available stock lasts at the mean speed of the last five minutes.",
                queries=[Query(_stock_lasts(), "{{product}}")],
                unit="s",
            ),
            Panel(
                title="Orders",
                about="What becomes of orders, per second.",
                queries=[Query(rate("firstcome_orders_total", "event"), "{{event}}")],
                unit="ops",
                width=12,
            ),
            Panel(
                title="Refused orders by code",
                about="Calls that place or pay an order and are refused, by the code of the refusal.",
                queries=[
                    Query(
                        rate(
                            "firstcome_http_refusals_total",
                            "code",
                            where={"view": "orders.api.(Orders|Payments)"},
                        ),
                        "{{code}}",
                    )
                ],
                unit="reqps",
                is_stacked=True,
                width=12,
            ),
        ),
    )


def _requests() -> Row:
    return Row(
        "Requests",
        (
            Panel(
                title="Responses by status",
                about="All responses of the web processes.",
                queries=[Query(rate(REQUESTS, "status"), "{{status}}")],
                unit="reqps",
                is_stacked=True,
            ),
            Panel(
                title="Busiest calls",
                about="The ten views that get most requests.",
                queries=[Query(f"topk(10, {rate(REQUESTS, 'view', 'method')})", "{{method}} {{view}}")],
                unit="reqps",
            ),
            Panel(
                title="Time to answer",
                about="How long requests take, the wait of `Prefer: wait` included: median, 95 % and 99 %.",
                queries=[Query(quantile(share, LATENCY), name) for share, name in SHARES.items()],
                unit="s",
            ),
        ),
    )


SHARES = {0.5: "p50", 0.95: "p95", 0.99: "p99"}


def _left() -> str:
    return (
        f"{state('firstcome_campaign_quantity', CAMPAIGN)} - {state('firstcome_campaign_issued', CAMPAIGN)}"
    )


def _speed() -> str:
    where = {"outcome": "issued", **CAMPAIGN}
    return rate("firstcome_campaign_requests_total", "campaign", where=where, over=MINUTES)


def _sold_out_in() -> str:
    """Without a series for a campaign that stands still."""
    return f"({_left()}) / ({_speed()} > 0)"


def _stock_lasts() -> str:
    """Without a series for a product that does not become less."""
    name = "firstcome_stock_available"
    change = f"max without (instance, job) (deriv({select(name, 'gauge', (), PRODUCT)}[{MINUTES}]))"
    return f"{state(name, PRODUCT)} / -({change} < 0)"


def _error_share() -> str:
    errors = rate(REQUESTS, where={"status": "5.."}, over=MINUTES)
    # Without an error since the start there is no series of one.
    return f"({errors} or vector(0)) / {rate(REQUESTS, over=MINUTES)}"
