"""Campaigns of `make chaos CAMPAIGN=…`: a counted list of faults of one kind, and a row of results."""
