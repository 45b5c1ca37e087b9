"""`make screenshots`: starts a shop of its own, lets buyers at it, and takes the pictures in docs/images.

The figures on them differ from run to run, as those of any shop do; everything else is the same.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from scripts.screenshots import demo_data
from scripts.screenshots.demo_data import ShownRows
from scripts.screenshots.shots import SHOTS, Shot
from scripts.stack import SetupError, own_stack, places, ports, welcome
from scripts.stack.instance import Instance
from scripts.stack.programs import chromium

FOLDER = places.PROJECT / "docs" / "images"
MOST_BYTES = 200_000
MOST_HEIGHT = 2_600
COLORS = 128
PATIENCE_MS = 30_000
WARM_UP_SECONDS = 62
"""After which the plots of the board, whose shortest window is a minute, are full."""
SETTLE_SECONDS = 1.5
"""For fonts, plots, and what the page loads after itself."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="make screenshots", description="Take the pictures in docs/images.")
    parser.add_argument(
        "--only", default="", help="names of pictures, with commas between them: all by default"
    )
    wanted = [name for name in parser.parse_args().only.split(",") if name]
    shots = [shot for shot in SHOTS if not wanted or shot.name in wanted]
    unknown = set(wanted) - {shot.name for shot in SHOTS}
    if unknown:
        sys.exit(f"screenshots: there is no picture {', '.join(sorted(unknown))}")
    return own_stack.measure(
        "screenshots",
        "firstcome-screenshots",
        lambda instance: _take_all(instance, shots),
        database="sqlite",
        folder=Path(tempfile.gettempdir()),
    )


def _take_all(instance: Instance, shots: list[Shot]) -> int:
    FOLDER.mkdir(exist_ok=True)
    with (
        own_stack.running(instance, **demo_data.SETTINGS),
        chromium.running() as browser,
    ):
        _say("the shop is ready; orders, refunds and what goes wrong take half a minute")
        shop, rows = demo_data.prepare(instance)
        address = f"http://{ports.HOST}:{instance.port}"
        cookies = _sign_in(browser, address)
        with demo_data.buyers(shop, rows), _watched_board(browser, address, cookies):
            _say("buyers are at it; the board's plots take a minute")
            time.sleep(WARM_UP_SECONDS)
            for shot in shots:
                _take_screenshot(browser, shot, rows, address=address, cookies=cookies, folder=instance.home)
    return 0


def _sign_in(browser: Any, address: str) -> list[Any]:
    """The cookies of a session of the demo's staff account."""
    with browser.new_context(base_url=address, locale="en-GB") as context:
        page = context.new_page()
        page.goto("/admin/login/")
        page.locator("[name=username]").fill(welcome.STAFF_USER)
        page.locator("[name=password]").fill(welcome.STAFF_PASSWORD)
        page.locator("[type=submit]").first.click()
        page.wait_for_url("**/admin/")
        return list(context.cookies())


def _watched_board(browser: Any, address: str, cookies: list[Any]) -> Any:
    """An open board: plots have the time in which one is open."""
    context = browser.new_context(base_url=address)
    context.add_cookies(cookies)
    context.new_page().goto("/admin/board/")
    return context


def _take_screenshot(
    browser: Any, shot: Shot, rows: ShownRows, *, address: str, cookies: list[Any], folder: Path
) -> None:
    if shot.locale.startswith("ko") and not _has_korean_font():
        _say(f"{shot.name} is skipped: no font here has Korean letters (fonts-noto-cjk)")
        return
    width, height = shot.size
    options = {"color_scheme": shot.scheme, "locale": shot.locale, "reduced_motion": "reduce"}
    viewport = {"width": width, "height": height}
    with browser.new_context(base_url=address, viewport=viewport, **options) as context:
        context.add_cookies(cookies)
        context.set_default_timeout(PATIENCE_MS)
        page = context.new_page()
        answer = page.goto(shot.path(rows))
        if answer.status != 200:
            raise SetupError(f"{shot.name}: {page.url} answered {answer.status}")
        if shot.prepare is not None:
            shot.prepare(page, folder)
        page.wait_for_timeout(SETTLE_SECONDS * 1000)
        taken = page.screenshot(animations="disabled", clip=_area(page, shot))
    size = _save(taken, FOLDER / f"{shot.name}.png")
    _say(f"{shot.name}.png, {size / 1000:.0f} KB")


def _area(page: Any, shot: Shot) -> dict[str, float]:
    """What of the page the picture shows. Raises SetupError where it would be too tall."""
    width, height = shot.size
    # A window as tall as the page: bars that stick to an end of the window are at the page's.
    height = max(height, page.evaluate("document.scrollingElement.scrollHeight"))
    page.set_viewport_size({"width": width, "height": height})
    page.wait_for_timeout(SETTLE_SECONDS * 1000)
    if shot.ends_at:
        box = page.locator(shot.ends_at).first.bounding_box()
        height = min(height, round(box["y"] + box["height"]) + shot.margin)
    if height > MOST_HEIGHT:
        raise SetupError(f"{shot.name}: the picture would be {height} px tall, {MOST_HEIGHT} are allowed")
    return {"x": 0, "y": 0, "width": width, "height": height}


def _save(taken: bytes, path: Path) -> int:
    """Write the picture with a palette of few colours; its size. Raises SetupError where it is too large."""
    picture = Image.open(BytesIO(taken)).convert("RGB")
    written = BytesIO()
    picture.quantize(COLORS, dither=Image.Dither.NONE).save(written, "PNG", optimize=True)
    if len(written.getvalue()) > MOST_BYTES:
        raise SetupError(f"{path.name} has {len(written.getvalue()):,} bytes, {MOST_BYTES:,} are allowed")
    return path.write_bytes(written.getvalue())


def _has_korean_font() -> bool:
    program = shutil.which("fc-list")
    return program is not None and bool(subprocess.run([program, ":lang=ko"], capture_output=True).stdout)


def _say(text: str) -> None:
    print(f"screenshots: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
