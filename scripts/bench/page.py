"""The measured figures in docs/performance.md: between two marks, and nobody's to write but the bench's.

`python -m scripts.bench.page` writes them anew from docs/bench.json and docs/bench-against.json, after a
change of a row's words.
"""

from pathlib import Path
from typing import Any

from scripts import places
from scripts.bench import comparison_table, results, table
from scripts.bench.results import Report
from scripts.bench.rows import ROWS

PAGE = places.PROJECT / "docs" / "performance.md"
BEGIN, END = "<!-- figures of make bench -->\n", "<!-- end of figures -->\n"
CALLS_BEGIN, CALLS_END = "<!-- rows of make bench -->\n", "<!-- end of rows -->\n"
PLOTS = """![Answers a second, and p95, of null, coupons and orders, by buyers at once](bench/buyers.svg)

![Coupons a second, and the same × null, with up to five million coupons in the table](bench/table.svg)
"""
AGAINST_BEGIN, AGAINST_END = "<!-- figures of make bench AGAINST -->\n", "<!-- end of AGAINST -->\n"
NONE_AGAINST_YET = "None yet: `make bench AGAINST=<commit>` measures them, and writes them here.\n"
NONE_YET = "None yet: `make bench` measures them, and writes them here.\n"


def write(report: Report | None, *, page: Path = PAGE) -> None:
    """Put the figures of this run on the page, in place of those before, and what each row calls."""
    text = _between(page.read_text(), BEGIN, END, figures(report))
    places.write_whole(page, _between(text, CALLS_BEGIN, CALLS_END, calls()))


def write_against(report: Report | None, *, page: Path = PAGE) -> None:
    """Put the figures of a comparison on the page, in place of those before."""
    text = page.read_text()
    places.write_whole(page, _between(text, AGAINST_BEGIN, AGAINST_END, against_figures(report)))


def shown_against(*, page: Path = PAGE) -> str:
    """The figures of a comparison that are on the page."""
    return _inside(page.read_text(), AGAINST_BEGIN, AGAINST_END)


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


def against_figures(report: Report | None) -> str:
    """The table of a comparison, and what it was measured on."""
    if report is None:
        return NONE_AGAINST_YET
    return f"{against_circumstances(report)}\n\n{comparison_table.markdown(report['rows'])}"


def against_circumstances(report: Report) -> str:
    """Both commits, machine, versions and size in a few lines."""
    told: dict[str, Any] = report["circumstances"]
    size, against = report["size"], report["against"]
    changed = " with uncommitted changes" if report["is_changed"] else ""
    versions = ", ".join(f"{name} {version}" for name, version in told["versions"].items())
    return (
        f"`make bench AGAINST={against['name']}` on {report['measured_at'][:10]}: this is commit "
        f"{report['commit']}{changed}, other is {against['commit']}.\n"
        f"{told['cores']} cores of {told['processor']}, {told['memory_gib']} GB, {told['system']}; "
        f"load average {told['load_before']:.1f} before.\n{versions}.\n"
        f"{size['rounds']} rounds, this and other in turn, {size['seconds']} s a load, "
        f"{size['paid_seconds']} s one of paid orders that waits and {size['accepted_seconds']} s one that "
        f"doesn't, {report['seconds'] / 60:.0f} minutes in all.\nThe number is the median of the rounds, of "
        '"oldest waiting", "answered 503" and "a web process" the largest;\nin brackets the lowest and the '
        "highest. µs are processor time a request, of paid orders an order until it is settled,\n"
        "of buyers who wait a second of waiting."
    )


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
    write_against(results.read(results.AGAINST_FILE).get("full"))
