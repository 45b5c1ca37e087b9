"""What was measured, for people: tables in Markdown, plots as SVG, results as JSON, the machine and the
commit."""

import io
import json
import os
import platform
import re
import sys
import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot
from redis import Redis

from lab import stage
from lab.stack import database
from scripts.stack import Json, Words, children, places
from scripts.stack.instance import Instance

DOCS = places.PROJECT / "docs"
Steps = Sequence[Mapping[str, Any]]
pyplot.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "firstcome", "font.size": 9})


def markdown(header: Words, lines: Iterable[Words]) -> str:
    rows = [header, ["---"] * len(header), *lines]
    return "".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |\n" for row in rows)


def number(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def read(file: Path) -> Any:
    if file.exists():
        return json.loads(file.read_text())
    return {}


def write(file: Path, content: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    places.write_whole(file, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def put_inside(page: Path, name: str, new: str) -> None:
    """Replace the text between `<!-- name -->` and `<!-- end of name -->`."""
    start = f"<!-- {name} -->\n"
    end = f"<!-- end of {name} -->\n"
    before, _, rest = page.read_text().partition(start)
    places.write_whole(page, before + start + new + end + rest.partition(end)[2])


def git(*words: str) -> str:
    return children.printed(children.run(["git", *words], within_seconds=120)).strip()


def circumstances(instance: Instance) -> Json:
    """Kept with the figures, for rows of one report may be of different days."""
    model = re.search(r"(?m)^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text())
    commit = git("rev-parse", "--short", "HEAD")
    if git("status", "--porcelain", "--untracked-files=no"):
        commit += " with changes"
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    processor = model[1] if model else platform.machine()
    system = f"{platform.system()} {platform.release()}"
    machine = {
        "cores": os.cpu_count(),
        "memory_gib": round(memory_bytes / 2**30),
        "processor": processor,
        "system": system,
        "load_before": round(stage.LOAD_BEFORE, 1),
        "versions": versions(instance),
    }
    measured_at = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return {"measured_at": measured_at, "commit": commit, "circumstances": machine}


def versions(instance: Instance) -> dict[str, str]:
    server: Any = Redis(unix_socket_path=str(instance.redis_socket)).info()
    python = platform.python_version()
    # Debian's and the image's are built with profiles; without, the shop's code takes a fifth longer.
    options = sysconfig.get_config_var("CONFIG_ARGS") or ""
    if sys.base_prefix != "/usr" and "--enable-optimizations" not in options:
        python += ", not optimised"
    found = {
        "MariaDB": database.value(instance, "SELECT VERSION()"),
        "Redis": server["redis_version"],
        "Python": python,
    }
    for name in ("Django", "uvicorn", "k6"):
        found[name] = metadata.version(name)
    return found


def machine(one: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in one["versions"].items())
    return (
        f"{one['cores']} cores of {one['processor']}, {one['memory_gib']} GB, {one['system']}; load average "
        f"{one['load_before']} before; {versions}; `innodb_flush_log_at_trx_commit=1`"
    )


def curves(path: Path, lines: Mapping[str, Steps], x: str, titles: Mapping[str, str]) -> None:
    """An SVG of two plots beside each other: these figures of each line's steps over their `x`."""
    figure, both = pyplot.subplots(1, 2, figsize=(7.2, 3.2), layout="constrained")
    for axes, (name, title) in zip(both, titles.items(), strict=True):
        for label, steps in lines.items():
            axes.plot([step[x] for step in steps], [step[name] for step in steps], marker=".", label=label)
        axes.set_title(title)
        axes.set_ylim(bottom=0)
    figure.legend(*both[0].get_legend_handles_labels(), ncols=4, loc="outside lower center", frameon=False)
    written = io.StringIO()
    figure.savefig(written, format="svg", bbox_inches="tight", metadata={"Date": None})
    pyplot.close(figure)
    # A hundredth of a point is enough, and matplotlib's millionths are half of the file.
    text = re.sub(r' d="[^"]*"', lambda found: re.sub(r"(\.\d\d)\d+", r"\1", found[0]), written.getvalue())
    path.parent.mkdir(parents=True, exist_ok=True)
    places.write_whole(path, text.rstrip() + "\n")
