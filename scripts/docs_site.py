"""`make docs`: builds the documentation's site from docs/ by Zensical, and serves it on loopback."""

import contextlib
import os
import re
import shutil
import sys
from pathlib import Path, PurePosixPath

import drf_spectacular_sidecar

from scripts import options
from scripts.stack import SetupError, children, places, ports

CONFIGURATION = places.PROJECT / "mkdocs.yml"
DOCS = places.PROJECT / "docs"
# Pages outside of docs/, and where they are in the copy.
PROJECT_PAGES = {
    "README.md": "project/README.md",
    "CONTRIBUTING.md": "project/CONTRIBUTING.md",
    "CHANGELOG.md": "project/CHANGELOG.md",
    "SECURITY.md": "project/SECURITY.md",
    "clients/python/README.md": "clients/python.md",
    "clients/typescript/README.md": "clients/typescript.md",
}
# The page that shows openapi.yaml, by the script that an installed package brings.
CALLS = places.PROJECT / "scripts/calls.html"
REDOC = "static/drf_spectacular_sidecar/redoc/bundles/redoc.standalone.js"
LINK_OR_CODE = re.compile(r"^```.*?^```|(!?)\[([^\]]*)\]\(([^)\s]+)\)", re.DOTALL | re.MULTILINE)


def main() -> int:
    port = ports.parse(
        options.read("make docs", port="where to serve it: 8009 by default").port or "8009"
    )  # beside an instance of the shop, 8000 to 8006
    site = build(places.private_folder(places.state()) / "docs")
    ports.require_free(port, command="make docs")
    children.say(f"The documentation is at http://{ports.HOST}:{port}/; Ctrl-C ends it.")
    with contextlib.suppress(KeyboardInterrupt):
        children.start(
            [sys.executable, "-m", "http.server", str(port), "--bind", ports.HOST, "--directory", site],
            log=site.parent / "server.log",
        ).wait()
    return 0


def build(home: Path) -> Path:
    """Build the site in that folder; the folder with its pages. Raises SetupError with each warning."""
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(DOCS, home / "docs")
    for page in [*DOCS.rglob("*.md"), *(places.PROJECT / name for name in PROJECT_PAGES)]:
        path = PurePosixPath(page.relative_to(places.PROJECT))
        target = home / "docs" / (_staged(path) or path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(_rewrite_links(page.read_text(), path))
    calls = home / "docs/reference/calls"
    calls.mkdir(parents=True)
    shutil.copy(CALLS, calls / "index.html")
    shutil.copy(Path(drf_spectacular_sidecar.__file__).parent / REDOC, calls)
    # Every decision is in the navigation.
    index = "          - adr/README.md\n"
    pages = "".join(f"          - adr/{page.name}\n" for page in sorted((DOCS / "adr").glob("[0-9]*.md")))
    (home / "mkdocs.yml").write_text(CONFIGURATION.read_text().replace(index, index + pages))
    program = Path(sys.executable).with_name("zensical")
    words = ("build", "--strict", "--clean", "--config-file=mkdocs.yml")
    ran = children.run([program, *words], within_seconds=120, folder=home)
    if ran.returncode != 0:
        said = re.sub(r"\x1b\[[0-9;]*m", "", ran.stdout + ran.stderr).partition("Traceback (most recent")[0]
        raise SetupError(f"the documentation can't be built:\n{said.strip() or ran.stderr}")
    return home / "site"


def _staged(path: PurePosixPath) -> PurePosixPath | None:
    """Where a file of the project is in the copy; None if it is not part of the site."""
    if path.parts[:1] == ("docs",):
        inside = path.relative_to("docs")
        if (DOCS / inside).is_dir():
            return inside / "README.md"
        return inside
    if str(path) in PROJECT_PAGES:
        return PurePosixPath(PROJECT_PAGES[str(path)])
    return None


def _rewrite_links(text: str, page: PurePosixPath) -> str:
    """The page's text with its relative links as they have to be in the copy; code stays as it is."""

    def rewritten(found: re.Match[str]) -> str:
        mark, name, link = found.groups()
        address, hash_mark, anchor = (link or "").partition("#")
        if not address or "://" in address or address.startswith(("mailto:", "/")):
            return found[0]
        target = _staged(PurePosixPath(os.path.normpath(page.parent / address)))
        if target is None:
            return str(name)
        return f"{mark}[{name}]({os.path.relpath(target, folder)}{hash_mark}{anchor})"

    folder = (_staged(page) or page).parent
    return LINK_OR_CODE.sub(rewritten, text)


if __name__ == "__main__":
    children.end_with(main)
