"""Mistakes of one expression, each in what a row of docs/changing.md says to edit.

A test that the row names has to fail with each: `scripts/tests/test_planted_changes.py` plants them in a copy
of the project. `scripts.turned_conditions` does that to every condition of the rules.
"""

import ast
from dataclasses import dataclass
from pathlib import Path

SECTIONS = ("Coupons", "Orders and stock", "Payments and sagas")
"""The sections of the page whose rows have one each, if they name tests."""


@dataclass(frozen=True)
class PlantedChange:
    """A mistake in `symbol` of a file: `planted` in place of `text`. `test` has to notice it."""

    row: str
    path: str
    symbol: str
    text: str
    planted: str
    test: str

    def source(self, project: Path) -> str:
        """The file with the mistake. Raises `LookupError` unless the symbol has the text, and once."""
        source = (project / self.path).read_text()
        definition = _definition(source, self.symbol)
        if definition.count(self.text) != 1 or source.count(definition) != 1:
            raise LookupError(f"{self.path}::{self.symbol} doesn't have once: {self.text}")
        return source.replace(definition, definition.replace(self.text, self.planted))


def _definition(source, symbol):
    """The text of the function or constant of this name, or nothing."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.FunctionDef(name=name):
                defined = name
            case ast.Assign(targets=[target]):
                defined = ast.unparse(target)
            case _:
                continue
        if defined == symbol:
            return ast.get_source_segment(source, node) or ""
    return ""


CHANGES: list[PlantedChange] = []


def _plant(row, place, text, planted, test):
    """Add the mistake at this place, `file.py::symbol`."""
    path, _, symbol = place.partition("::")
    CHANGES.append(PlantedChange(row, path, symbol, text, planted, test))


_plant(
    "Which accounts may get a coupon",
    "coupons/rows.py::issues_at",
    'F("issued") + F("confirming")',
    'F("issued")',
    "coupons/tests/test_eligibility.py::test_the_conditions_on_the_row_match_where_nothing_is_refused",
)
_plant(
    "What a repeat by an account with a coupon gets",
    "coupons/allocation/outcomes.py::existing_coupon_result",
    "is_new=False",
    "is_new=True",
    "coupons/tests/test_eligibility.py"
    "::test_a_repeat_returns_the_existing_coupon_of_an_account_that_is_refused_by_now",
)
_plant(
    "When an order may use a coupon",
    "coupons/redemption.py::discount_amount",
    "items_amount < discount.min_order_amount",
    "items_amount <= discount.min_order_amount",
    "coupons/tests/rules/test_redemption.py::test_the_discount",
)
_plant(
    "A new strategy for coupons",
    "coupons/strategies/conditional_update.py::_decide",
    "rows.issues_at(seen.now), ",
    "",
    "coupons/tests/test_issuing_races.py::test_requests_that_wait_for_the_row_behind_a_pause_are_refused",
)
_plant(
    "Who may use a shared code",
    "coupons/redemption.py::require_new",
    "new + 1",
    "new",
    "coupons/tests/rules/test_redemption.py"
    "::test_a_shared_code_is_sold_out_once_the_orders_of_the_batch_took_the_rest",
)
_plant(
    "What counts as a first order",
    "orders/limits.py::COUNTING",
    "*OPEN, ",
    "",
    "orders/tests/test_first_orders.py"
    "::test_open_and_paid_orders_count_and_those_that_ended_unpaid_or_were_refunded_do_not",
)
_plant(
    "How long a process remembers a campaign",
    "coupons/remembered.py::SECONDS",
    "1.0",
    "60.0",
    "coupons/tests/test_sold_out.py::test_a_change_that_was_not_published_is_visible_within_a_second_of_the_read",
)
_plant(
    "What coupons by `redis_gate` do while Redis is away",
    "coupons/strategies/redis_gate.py::issue",
    "outcomes.existing_result(existing) if existing else away",
    "away",
    "coupons/tests/test_redis_gate.py::test_without_redis_existing_coupons_are_returned_and_others_get_503",
)
_plant(
    "How a discount is split over the lines of an order",
    "orders/placement/decisions.py::_build_order",
    "split_discount(discount_amount, discounted_amounts)",
    "split_discount(discount_amount, line_amounts)",
    "orders/tests/test_checkout.py::test_the_discount_counts_over_the_products_lines_and_is_split_over_them",
)
_plant(
    "How a refund is rounded",
    "orders/pricing.py::discounted_amount",
    "discount_amount * count // quantity",
    "-(-discount_amount * count // quantity)",
    "orders/tests/rules/test_pricing.py"
    "::test_units_cost_their_price_less_their_share_of_the_discount_rounded_down",
)
_plant(
    "How a refund is rounded",
    "orders/pricing.py::refund_points_amount",
    "amount * points_amount // total_amount",
    "-(-amount * points_amount // total_amount)",
    "orders/tests/rules/test_pricing.py::test_points_are_refunded_in_proportion",
)
_plant(
    "The text of `insufficient_stock`: which product is short",
    "inventory/availability.py::insufficient_stock",
    "Not enough in stock",
    "Not enough stock",
    "shop/tests/test_api_examples.py::test_every_example_is_what_the_shop_answers",
)
_plant(
    "What a pause stops",
    "inventory/availability.py::check_sold",
    "for id in wanted if stock[id].paused_at is not None",
    "for id in wanted if not stock[id].is_active",
    "orders/tests/test_paused_products.py"
    "::test_an_order_of_a_paused_product_is_409_names_it_and_leaves_nothing",
)
_plant(
    "VAT, or another amount of each line",
    "orders/placement/decisions.py::_build_order",
    "discount_amount=share",
    "discount_amount=0",
    "orders/tests/test_checkout.py::test_a_refund_gives_back_each_lines_price_less_its_own_share",
)
_plant(
    "What counts towards a purchase limit",
    "orders/placement/rows.py::read_holdings",
    "OPEN + PAID",
    "PAID",
    "orders/tests/test_limits.py::test_an_account_cannot_exceed_a_products_limit",
)
_plant(
    "What counts towards a purchase limit",
    "orders/placement/rows.py::UNITS",
    "line.quantity - line.refunded_quantity",
    "line.quantity",
    "orders/tests/test_limits.py::test_an_account_cannot_exceed_a_products_limit",
)
_plant(
    "A cap of a product, such as at most N of it a day",
    "orders/limits.py::check",
    "limited_units + quantity > own_limit",
    "limited_units + quantity >= own_limit",
    "orders/tests/rules/test_limits.py::test_units_within_the_limits_are_allowed",
)
_plant(
    "A field of an order, such as a gift message",
    "foundation/pseudonyms.py::_without_names",
    "replaced[key] = {}",
    "replaced[key] = value",
    "orders/tests/test_order_metadata.py"
    "::test_the_access_report_has_it_and_the_erasure_leaves_none_on_the_order_or_in_the_journal",
)
_plant(
    "How long an unpaid order holds its stock",
    "orders/cancellation.py::_end_orders",
    "[*chain.from_iterable(lines.values())]",
    "[]",
    "orders/tests/test_cancellation.py::test_orders_past_their_time_expire_and_the_others_stay",
)
_plant(
    "A new strategy for orders",
    "orders/placement/strategies/pessimistic.py::place",
    "lock=rows.select_stock_for_update",
    "lock=rows.read_stock",
    "orders/tests/test_limits.py::test_40_orders_at_once_of_one_account_are_held_to_the_limit",
)
_plant(
    "What orders by `redis_gate` do while Redis is away",
    "inventory/mirror.py::admit",
    "redis_client.require(redis_client.call_script(ADMIT, keys, *arguments))",
    'redis_client.call_script(ADMIT, keys, *arguments) or ("admitted",)',
    "orders/tests/test_redis_gate.py"
    "::test_without_redis_only_placing_is_503_and_once_it_is_back_units_cancelled_meanwhile_can_be_ordered",
)
_plant(
    "A new gateway",
    "payments/gateways/simulator.py::charge",
    'declined if found.status == "absent" else found',
    "declined",
    "payments/tests/test_gateway_contract.py"
    "::test_an_unknown_token_is_a_declined_card_unless_its_key_was_charged",
)
_plant(
    "How old the signature of a webhook may be",
    "payments/gateways/signed_events.py::verify",
    "abs(now.timestamp() - int(seconds))",
    "now.timestamp() - int(seconds)",
    "payments/tests/test_gateway_signatures.py"
    "::test_five_minutes_are_accepted_in_both_directions_and_no_more",
)
_plant(
    "How many failures make the gateway, a partner, Redis, the broker or the data platform "
    "unavailable, and for how long",
    "foundation/outbound/circuit_breaker.py::record_failure",
    "self._failures >= self._failures_to_open",
    "self._failures > self._failures_to_open",
    "foundation/tests/test_outbound_calls.py::test_after_a_failure_calls_are_refused_and_then_one_probes",
)
_plant(
    "How long the lease of a saga, and so of its step, is",
    "orders/saga/run.py::renew_leases",
    "LEASE_SECONDS / 3",
    "LEASE_SECONDS",
    "orders/tests/test_saga.py::test_a_lease_is_renewed_once_a_third_of_it_is_over",
)
_plant(
    "What the admin and the commands say of a stuck saga",
    "orders/saga/operator_actions.py::force_compensate",
    "or saga.is_irreversible or",
    "or",
    "orders/tests/test_operating_admin.py"
    "::test_a_refusal_is_shown_and_changes_nothing_and_an_ended_saga_has_no_buttons",
)
_plant(
    "What the admin's page of an order shows, or what its buttons do",
    "orders/admin/order_page.py::read",
    'page, request, "orders.view_refund"',
    'page, request, "orders.view_order"',
    "orders/tests/test_admin_orders.py::test_parts_need_the_permission_to_view_them",
)
_plant(
    "What to do about a kind of difference from the gateway's book",
    "payments/reconciliation/comparison.py::_cause",
    "> 1",
    "> 2",
    "payments/tests/test_comparison.py::test_a_gateway_that_charged_one_key_twice_is_found",
)
_plant(
    "How a refund that was made at the gateway is booked",
    "orders/payment/gateway_bookings.py::_book_refund",
    "taken_amount + amount >= order.total_amount",
    "taken_amount + amount > order.total_amount",
    "orders/tests/test_gateway_bookings.py::test_a_whole_refund_at_the_gateway_makes_the_order_refunded",
)
_plant(
    "What a dispute holds of a charge, and what is booked when it ends",
    "payments/disputes.py::held_amount",
    "amounts.get(Status.OPEN, 0) + amounts.get(Status.LOST, 0)",
    "amounts.get(Status.OPEN, 0)",
    "orders/tests/test_gateway_bookings.py::test_a_lost_dispute_is_booked_as_a_loss_and_leaves_the_rest",
)
_plant(
    "A new step of a saga",
    "orders/payment/purchase.py::SAGA_TYPES[KIND]",
    "do=_debit_points, undo=_credit_points",
    "do=_debit_points",
    "orders/tests/test_crashes.py::test_a_scenario_passes_exactly_these_points",
)
_plant(
    "What happens to a charge of unknown outcome",
    "orders/payment/charging.py::_cancel_or_refund",
    '("cancelled", "declined", "absent")',
    '("cancelled", "declined", "absent", "unsupported")',
    "orders/tests/test_unknown_outcomes.py"
    "::test_a_gateway_that_can_not_cancel_leaves_it_in_doubt_and_raises_the_alarm",
)
_plant(
    "What a customer reads about a declined card",
    "orders/payment/charging.py::_to_step_result",
    "result.failure_detail or NOT_CHARGED[result.status]",
    "NOT_CHARGED[result.status]",
    "orders/tests/test_cards_api.py::test_a_declined_payment_is_explained_in_the_language_of_the_first_call",
)
