"""Money: payments, the double-entry ledger with its wallets, gateways, reconciliation.

Orders may import from here; payments imports shop alone.
"""
