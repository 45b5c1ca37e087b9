"""Crashes under load: clients that record each answer, the faults, and the checks afterwards."""
