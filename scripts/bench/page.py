"""The measured figures in docs/performance.md: between two marks, and nobody's to write but the bench's.

`python -m scripts.bench.page` writes them anew from docs/bench.json, after a change of a row's words.
"""

from pathlib import Path
from typing import Any

from scripts import places
from scripts.bench import results, table
from scripts.bench.results import Report
from scripts.bench.rows import ROWS

PAGE = places.PROJECT / "docs" / "performance.md"
BEGIN, END = "<!-- figures of make bench -->\n", "<!-- end of figures -->\n"
CALLS_BEGIN, CALLS_END = "<!-- rows of make bench -->\n", "<!-- end of rows -->\n"
PLOTS = """![Answers a second, and p95, of null, coupons and orders, by buyers at once](bench/buyers.svg)

![Coupons a second, and the same × null, with up to five million coupons in the table](bench/table.svg)
"""
NONE_YET = "None yet: `make bench` measures them, and writes them here.\n"


def write(report: Report | None, *, page: Path = PAGE) -> None:
    """Put the figures of this run on the page, in place of those before, and what each row calls."""
    text = _between(page.read_text(), BEGIN, END, figures(report))
    places.write_whole(page, _between(text, CALLS_BEGIN, CALLS_END, calls()))


def shown(*, page: Path = PAGE) -> tuple[str, str]:
    """What is on the page: what each row calls, and the figures."""
    text = page.read_text()
    return _inside(text, CALLS_BEGIN, CALLS_END), _inside(text, BEGIN, END)


def calls() -> str:
    """What each row of the table calls."""
    lines = [f"| {row.name} | {row.calls} |\n" for row in ROWS.values()]
    return "| row | the call |\n| --- | --- |\n" + "".join(lines)


def figures(report: Report | None) -> str:
    """The table of a run, and what it was measured on."""
    if report is None:
        return NONE_YET
    return f"{circumstances(report)}\n\n{table.markdown(report['rows'])}\n{PLOTS}"


def circumstances(report: Report) -> str:
    """Machine, versions and size in a few lines."""
    told: dict[str, Any] = report["circumstances"]
    size = report["size"]
    versions = ", ".join(f"{name} {version}" for name, version in told["versions"].items())
    minutes = report["seconds"] / 60
    return (
        f"`make bench` on {report['measured_at'][:10]}, commit {report['commit']}: {told['cores']} cores of "
        f"{told['processor']}, {told['memory_gib']} GB, {told['system']}; load average "
        f"{told['load_before']:.1f} before.\n{versions}; `innodb_flush_log_at_trx_commit=1`.\n"
        f"{size['rounds']} rounds of {size['seconds']} s a row, {minutes:.0f} minutes in all."
    )


def _inside(text: str, begin: str, end: str) -> str:
    return text.partition(begin)[2].partition(end)[0]


def _between(text: str, begin: str, end: str, new: str) -> str:
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return before + begin + new + end + after


if __name__ == "__main__":
    write(results.read().get("full"))
