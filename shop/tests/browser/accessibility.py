"""What axe-core and a phone's width find on a page."""

from collections.abc import Mapping
from typing import Any

from axe_playwright_python.base import AXE_SCRIPT

SEVERE = ("serious", "critical")
PHONE = {"width": 390, "height": 844}
# What is not ours to fix: a rule of axe-core, and the end of the element's selector.
ALLOWED = {
    # The help that SelectFilter2.js of Django puts beside its fields to filter by: an empty
    # element, with a name for screen readers. Hidden, it would leave the fields their placeholders for names.
    ("aria-prohibited-attr", ".help-tooltip.search-label-icon")
}
EVERYTHING = {"resultTypes": ["violations"]}
CONTRAST_ONLY = EVERYTHING | {"runOnly": {"type": "rule", "values": ["color-contrast"]}}
# Only what is severe is handed over: a page has hundreds of other results.
RUN = """async ([options, severe]) => {
    const {violations} = await axe.run(options);
    return violations.filter(one => severe.includes(one.impact));
}"""
OVERFLOW = """() => {
    const {scrollWidth, clientWidth} = document.scrollingElement;
    if (scrollWidth <= clientWidth) return [];
    const wide = [...document.querySelectorAll("body *")].filter(one => {
        const box = one.getBoundingClientRect();
        return box.width && box.right > clientWidth + 1;
    });
    return [`${scrollWidth} px wide`, ...wide.slice(0, 5).map(one => one.outerHTML.slice(0, 160))];
}"""


def findings(page: Any, options: Mapping[str, Any] = EVERYTHING) -> list[str]:
    """The serious and critical findings of axe-core on the page as it is now."""
    # Half a megabyte, which a page keeps until it is left.
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE_SCRIPT)
    return [
        f"{violation['impact']}: {violation['id']}: {target}: {node['html'][:200]}"
        for violation in page.evaluate(RUN, [dict(options), SEVERE])
        for node in violation["nodes"]
        for target in [" ".join(map(str, node["target"]))]
        if not any(violation["id"] == rule and target.endswith(end) for rule, end in ALLOWED)
    ]


def findings_in_both_themes_and_on_a_phone(page: Any) -> list[str]:
    """The findings in light and dark, and what is wider than a phone; leaves the page at that width."""
    found = findings(page)
    page.emulate_media(color_scheme="dark")
    found += [f"dark: {one}" for one in findings(page, CONTRAST_ONLY)]
    page.set_viewport_size(PHONE)
    found += [f"phone: {one}" for one in page.evaluate(OVERFLOW)]
    page.emulate_media(color_scheme="light")
    return found
