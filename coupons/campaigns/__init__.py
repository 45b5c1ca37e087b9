"""Campaigns: their terms, and pausing and resuming them."""
