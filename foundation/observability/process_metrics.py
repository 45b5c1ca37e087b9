"""Metrics of a process: processor time, memory, garbage collections, and what other modules sample.

Web processes write their gauges into a shared folder, which prometheus_client's own collectors don't.
"""

import gc
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from prometheus_client import Counter, Gauge, Histogram

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
MEMORY = Path("/proc/self/statm")

PROCESSES = Gauge("firstcome_processes", "Processes that run.", multiprocess_mode="livesum")
PROCESSOR_SECONDS = Counter("firstcome_processor_seconds", "Processor time of the processes.")
RESIDENT_BYTES = Gauge(
    "firstcome_resident_bytes", "Memory of the processes that is resident.", multiprocess_mode="livesum"
)
GC_PAUSES = Histogram(
    "firstcome_gc_pause_seconds",
    "How long garbage collections stopped a process.",
    ["generation"],
    buckets=(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1),
)
_pause_histograms = [GC_PAUSES.labels(str(generation)) for generation in range(3)]

_mutex = threading.Lock()
_samplers: list[Callable[[], None]] = []
_processor_seconds = 0.0
_collection_began_at = 0.0
# Not observed by the callback itself: a collection may begin while its thread holds prometheus_client's lock.
_pauses: deque[tuple[int, float]] = deque(maxlen=10_000)


def add_sampler(sampler: Callable[[], None]) -> None:
    """Have `sampler`, which sets gauges of its module, called every few seconds and before each scrape."""
    _samplers.append(sampler)


def sample() -> None:
    """Write the present values. From the first call on, the pauses of garbage collections are noted."""
    with _mutex:
        if _note_collection not in gc.callbacks:
            gc.callbacks.append(_note_collection)
        for sampler in (_sample_process, *_samplers):
            sampler()


def _sample_process() -> None:
    global _processor_seconds
    now = time.process_time()
    PROCESSOR_SECONDS.inc(now - _processor_seconds)
    _processor_seconds = now
    PROCESSES.set(1)
    with suppress(OSError):
        RESIDENT_BYTES.set(int(MEMORY.read_text().split()[1]) * PAGE_BYTES)
    while _pauses:
        generation, seconds = _pauses.popleft()
        _pause_histograms[generation].observe(seconds)


def _note_collection(phase: str, info: Mapping[str, int]) -> None:
    global _collection_began_at
    if phase == "start":
        _collection_began_at = time.perf_counter()
    else:
        _pauses.append((info["generation"], time.perf_counter() - _collection_began_at))
