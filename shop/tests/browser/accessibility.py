"""What axe-core, the names that are read aloud and a phone's width show to be wrong with a page."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from axe_playwright_python.base import AXE_SCRIPT

from shop.tests.test_plain_words import NOT_SAID

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

# What only a mouse can press, and icons whose names are read aloud: "search", "more_vert".
FOR_MOUSE_ALONE = """() => [...document.querySelectorAll("body *")]
    .filter(one => one.checkVisibility() && getComputedStyle(one).cursor === "pointer")
    .filter(one => !one.closest("a[href], button, input, select, textarea, label, summary, [tabindex='0']"))
    .filter(one => !one.querySelector("[tabindex='0'][role=button]"))
    // Options are chosen by arrows, and what the second kind chose is taken away by the backspace key.
    .filter(one => !one.closest("[role=option], .select2-container"))
    .map(one => one.outerHTML.slice(0, 160))"""
ICONS_WITH_NAMES = """() => [...document.querySelectorAll(".material-symbols-outlined")]
    .filter(one => one.checkVisibility() && !one.closest("[aria-hidden=true], [aria-label]"))
    .map(one => (one.closest("a, button") ?? one).outerHTML.slice(0, 160))"""


# A line of an aria snapshot: a role, and the name that is read aloud.
NAMED = re.compile(r"""\s*- '?(\w+)(?: "((?:[^"\\]|\\.)*)")?""")
FIELDS = {"textbox", "searchbox", "spinbutton", "combobox", "listbox", "checkbox", "radio", "switch"}
NEED_NAMES = FIELDS | {"link", "button", "heading", "img", "dialog", "tab"}


def wrong_names(page) -> list[str]:
    """What needs a name and has none, is named by a code or an icon, or as another field of the page."""
    lines = page.locator("body").aria_snapshot().splitlines()
    named = [match.groups() for line in lines if (match := NAMED.match(line))]
    counts = Counter(name for role, name in named if role in FIELDS)
    return [
        f"a name: {role} {name!r}"
        for role, name in named
        if (role in NEED_NAMES and not (name or "").strip())
        or NOT_SAID.search(name or "")
        or (role in FIELDS and counts[name] > 1)
    ]


def findings(page, options: Mapping[str, Any] = EVERYTHING) -> list[str]:
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


def findings_in_both_themes_and_on_a_phone(page, *, opens_again=False) -> list[str]:
    """The findings in light and dark, and what is wider than a phone; leaves the page at that width.

    A page that `opens_again` is opened in dark: one that turns dark shows the colours of some parts too late.
    """
    found = findings(page)
    found += [f"for the mouse alone: {one}" for one in page.evaluate(FOR_MOUSE_ALONE)]
    found += [f"an icon with a name: {one}" for one in page.evaluate(ICONS_WITH_NAMES)]
    found += wrong_names(page)
    page.emulate_media(color_scheme="dark")
    if opens_again:
        page.reload()
    found += [f"dark: {one}" for one in findings(page, CONTRAST_ONLY)]
    page.set_viewport_size(PHONE)
    found += [f"phone: {one}" for one in page.evaluate(OVERFLOW)]
    page.emulate_media(color_scheme="light")
    return found
