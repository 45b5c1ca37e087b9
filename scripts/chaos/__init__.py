"""Crashes under load: clients that remember each answer, the faults, and the checks afterwards."""
