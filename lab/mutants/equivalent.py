"""Mutants that survive and are no hole: why no test can, or should, tell them from the code."""

EQUIVALENT = {
    "coupons/issuing/strategies/optimistic.py::_assign_codes raise 1": (
        "the write that follows compares the campaign's version too, and raises the same"
    ),
    "orders/payment/gateway_facts.py::_ask_about_undone_charge number 4": "a key has one charge, at most",
    "orders/payment/purchase.py::_debit_points boolean 1": "a savepoint more around the same writes",
    "orders/saga/definitions.py::SagaRow.start_compensation number 2": "no code has 64 characters",
    "shop/db/stuck_rows.py::find comparison 1": "no clock is read at the very instant of the deadline",
}
