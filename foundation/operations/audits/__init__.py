"""Audits of the laws: their reports, what a scheduled one checks, its state, and the status of each law."""
