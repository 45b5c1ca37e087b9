"""Mutants that survive and are no hole: why no test can, or should, tell them from the code."""

EQUIVALENT: dict[str, str] = {}
