"""The metric files of web processes that have ended: merged, once, and never while they are read."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.mmap_dict import MmapedDict, mmap_key

from shop.observability import ended_processes

KEY = mmap_key("firstcome_things", "firstcome_things_total", ["kind"], ["a"], "Things.")
OTHER = mmap_key("firstcome_things", "firstcome_things_total", ["kind"], ["b"], "Things.")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(ended_processes.FOLDER, str(tmp_path))
    return tmp_path


def write(folder: Path, name: str, values: dict[str, float]) -> None:
    written = MmapedDict(str(folder / name))
    for key, value in values.items():
        written.write_value(key, value, 0.0)
    written.close()


def read(folder: Path, name: str) -> dict[str, float]:
    return {key: value for key, value, *_ in MmapedDict.read_all_values_from_file(str(folder / name))}


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def ended() -> int:
    """The id of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


@pytest.mark.boots("a Python process")
def test_counts_are_added_up_in_one_file_and_gauges_are_removed(folder: Path, ended: int) -> None:
    mine = os.getpid()
    write(folder, f"counter_{mine}.db", {KEY: 100})
    for round_ in (1, 2):
        write(folder, f"counter_{ended}.db", {KEY: 2, OTHER: 5})
        write(folder, f"histogram_{ended}.db", {KEY: 3})
        write(folder, f"gauge_livesum_{ended}.db", {KEY: 7})
        ended_processes.merge()
        assert names(folder) == {f"counter_{mine}.db", "counter_ended.db", "histogram_ended.db"}
        assert read(folder, "counter_ended.db") == {KEY: 2 * round_, OTHER: 5 * round_}
        assert read(folder, "histogram_ended.db") == {KEY: 3 * round_}
    assert read(folder, f"counter_{mine}.db") == {KEY: 100}


def test_a_process_that_is_known_to_have_ended_is_merged_though_its_id_runs_again(folder: Path) -> None:
    write(folder, f"counter_{os.getpid()}.db", {KEY: 4})
    ended_processes.merge(os.getpid())
    assert names(folder) == {"counter_ended.db"}


@pytest.mark.boots("a Python process")
def test_nothing_is_merged_while_a_scrape_reads_and_the_next_call_makes_up_for_it(
    folder: Path, ended: int
) -> None:
    write(folder, f"counter_{ended}.db", {KEY: 1})
    with ended_processes.locked(folder, fcntl.LOCK_SH) as is_locked:
        assert is_locked
        ended_processes.merge(ended)
        assert names(folder) == {f"counter_{ended}.db"}
    ended_processes.merge()
    assert read(folder, "counter_ended.db") == {KEY: 1}
