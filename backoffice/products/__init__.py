"""The operators' page of one product: its stock, movements, open orders and sales, and the actions on it."""
