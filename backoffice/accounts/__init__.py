"""The operators' page of one account: what it has in every app, its limits, and the actions on it."""
