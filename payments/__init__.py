"""Money: payments, the double-entry ledger with its wallets, gateways, reconciliation.

Orders import from here; payments import the inventory and what is below it.
"""
