"""Crashes under load: clients who remember what they were told, the faults, and the reckoning."""
