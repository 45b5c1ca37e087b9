"""What was measured, for people: tables in Markdown, plots as SVG, results as JSON, the machine and the
commit."""

import io
import json
import os
import platform
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot
from matplotlib.figure import Figure
from matplotlib.ticker import StrMethodFormatter

from lab import stage
from scripts.stack import database, environment, places, processes
from scripts.stack.instance import Instance

DOCS = places.PROJECT / "docs"
COLOURS = ("#3b82c4", "#d08a2e", "#4c9f70", "#c4483b", "#8f6bb3", "#2f9aa0", "#b5609a", "#8a8a3a", "#7a7a7a")
NUMBER = StrMethodFormatter("{x:,g}")
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "firstcome",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
pyplot.rcParams.update(STYLE)


def markdown(header: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """The table, for a page and for a terminal."""
    rows = [header, ["---"] * len(header), *lines]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |\n" for row in rows)


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def read(file: Path) -> Any:
    return json.loads(file.read_text()) if file.exists() else {}


def write(file: Path, content: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    places.write_whole(file, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def put_inside(page: Path, name: str, new: str) -> None:
    """Replace the text between `<!-- name -->` and `<!-- end of name -->`."""
    start, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    before, _, rest = page.read_text().partition(start)
    places.write_whole(page, before + start + new + end + rest.partition(end)[2])


def git(*words: str, folder: Path = places.PROJECT) -> str:
    ran = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True, timeout=120)
    return ran.stdout.strip()


def circumstances(instance: Instance) -> dict[str, Any]:
    """When, the commit, the machine, its load before measuring, and the versions: kept with the figures, for
    rows of one report may be of different days."""
    program = processes.command("redis", instance, environment.defaults(instance))[0]
    redis = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    processor = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    is_changed = bool(git("status", "--porcelain", "--untracked-files=no"))
    return {
        "measured_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "commit": git("rev-parse", "--short", "HEAD") + (" with changes" if is_changed else ""),
        "circumstances": {
            "cores": os.cpu_count() or 1,
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30),
            "processor": processor[1] if processor else platform.machine(),
            "system": f"{platform.system()} {platform.release()}",
            "load_before": round(stage.LOAD_BEFORE, 1),
            "versions": {
                "MariaDB": str(database.rows(instance, "SELECT VERSION()")[0][0]),
                "Redis": redis.partition("v=")[2].partition(" ")[0],
                "Python": platform.python_version(),
                **{name: metadata.version(name) for name in ("Django", "uvicorn", "k6")},
            },
        },
    }


def machine(one: Mapping[str, Any]) -> str:
    """Circumstances in a line."""
    versions = ", ".join(f"{name} {version}" for name, version in one["versions"].items())
    return (
        f"{one['cores']} cores of {one['processor']}, {one['memory_gib']} GB, {one['system']}; load average "
        f"{one['load_before']} before; {versions}; `innodb_flush_log_at_trx_commit=1`"
    )


# --- plots ---


def curves(
    path: Path,
    lines: Mapping[str, Sequence[Mapping[str, Any]]],
    x: str,
    titles: Mapping[str, str],
    *,
    is_log: bool = False,
) -> None:
    """Two plots beside each other of these figures of each line's steps over their `x`. If `is_log`, `x` and
    the right one have logarithmic axes."""
    figure, both = pyplot.subplots(1, 2, figsize=(7.2, 3.2), layout="constrained")
    for axes, (name, title) in zip(both, titles.items(), strict=True):
        for (label, steps), colour in zip(lines.items(), COLOURS * 3, strict=False):
            xs, ys = [step[x] for step in steps], [step[name] for step in steps]
            axes.plot(xs, ys, marker="o", markersize=3, color=colour, label=label)
        axes.set_title(title)
        if is_log:
            ticks = sorted({step[x] for steps in lines.values() for step in steps})
            axes.set_xscale("log")
            axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
            axes.minorticks_off()
        if is_log and axes is both[1]:
            axes.set_yscale("log")
        else:
            axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(NUMBER)
    handles, names = both[0].get_legend_handles_labels()
    figure.legend(handles, names, ncols=4, loc="outside lower center", frameon=False)
    _write_svg(path, figure)


def bars(path: Path, names: Sequence[str], numbers: Mapping[str, Sequence[float]]) -> None:
    """A plot of bars for each title, beside one another, a bar for each name."""
    figure, several = pyplot.subplots(
        1, len(numbers), sharey=True, figsize=(7.2, 0.8 + 0.3 * len(names)), layout="constrained"
    )
    for axes, (title, each), colour in zip(several, numbers.items(), COLOURS, strict=False):
        drawn = axes.barh(range(len(names)), each, color=colour, height=0.7)
        axes.set_yticks(range(len(names)), names)
        axes.bar_label(drawn, [f"{one:,.0f}" for one in each], padding=3)
        axes.margins(x=0.18)
        axes.set_title(title)
        axes.xaxis.set_visible(False)
    several[0].invert_yaxis()
    _write_svg(path, figure)


def _write_svg(path: Path, figure: Figure) -> None:
    """Without a date, and with hundredths of points: matplotlib's millionths are half of the file."""
    written = io.StringIO()
    figure.savefig(written, format="svg", bbox_inches="tight", metadata={"Date": None})
    pyplot.close(figure)
    text = re.sub(r"<metadata>.*?</metadata>", "", written.getvalue(), flags=re.DOTALL)
    text = re.sub(r' d="[^"]*"', lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found[0]), text)
    path.parent.mkdir(parents=True, exist_ok=True)
    places.write_whole(path, text.rstrip() + "\n")
