"""Wakes this process's sequencer after a commit that wrote events."""

import threading

_committed = threading.Event()


def wake_sequencer() -> None:
    """End the sequencer's pause: events are committed."""
    _committed.set()


def wait(seconds: float) -> None:
    """Wait for a commit of this process, or for a pause of `seconds`: other processes commit events too."""
    _committed.wait(seconds)
    _committed.clear()
