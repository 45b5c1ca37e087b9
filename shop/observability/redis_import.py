"""Imports redis-py without OpenTelemetry, which it imports wherever that is installed.

Nothing in the shop uses redis-py's own metrics, and the import takes 40 ms and 3 MB of every process.
"""

import importlib
import sys


def import_plainly() -> None:
    """Import redis-py, unless a module did before, as if OpenTelemetry were not installed."""
    if "redis" in sys.modules or "opentelemetry" in sys.modules:
        return
    # An import of a module that is None here raises `ImportError`, which redis-py expects.
    sys.modules["opentelemetry"] = None  # type: ignore[assignment]
    try:
        importlib.import_module("redis")
    finally:
        del sys.modules["opentelemetry"]
