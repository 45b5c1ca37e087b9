"""The `Prefer` header (RFC 7240). Preferences that can't be parsed are ignored."""

import re

MAX_WAIT_SECONDS = 30
LONGEST_HEADER = 8_192
# Commas separate preferences, except inside a quoted string; semicolons precede a preference's parameters.
PREFERENCE = r'(?:[^,"]|"(?:[^"\\]|\\.)*+")*+'
PREFERENCES = re.compile(rf"{PREFERENCE}(?:,{PREFERENCE})*+")
WAIT = re.compile(r'\s*wait\s*=\s*(?:([0-9]++)|"([0-9]++)")\s*(?:;.*)?', re.IGNORECASE)


def wait_seconds(prefer: str | None) -> int | None:
    """The wait that the caller asks for by `wait=N`: the first valid one, at most 30 s.

    None without a valid one: then a call may choose its own wait.
    """
    if not prefer or len(prefer) > LONGEST_HEADER or not PREFERENCES.fullmatch(prefer):
        return None
    for match in map(WAIT.fullmatch, re.findall(PREFERENCE, prefer)):
        if match:
            digits = (match[1] or match[2]).lstrip("0")
            return min(int(digits or 0), MAX_WAIT_SECONDS) if len(digits) < 3 else MAX_WAIT_SECONDS
    return None
