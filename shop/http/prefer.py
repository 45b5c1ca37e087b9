"""What a caller prefers: the `Prefer` header (RFC 7240). What can't be read in it is ignored."""

import re

MAX_WAIT_SECONDS = 30
# Commas part the preferences, except inside a quoted string; semicolons part one from its parameters.
PREFERENCE = r'(?:[^,"]|"(?:[^"\\]|\\.)*+")*+'
PREFERENCES = re.compile(rf"{PREFERENCE}(?:,{PREFERENCE})*+")
WAIT = re.compile(r'\s*wait\s*=\s*(?:0*([0-9]+)|"0*([0-9]+)")\s*(?:;.*)?', re.IGNORECASE)


def wait_seconds(prefer: str | None) -> int | None:
    """How long the caller would wait, from `wait=N`: the first one that can be read, at most 30 s.

    None where the caller doesn't say: then a call may choose a wait of its own.
    """
    if not prefer or not PREFERENCES.fullmatch(prefer):
        return None
    for found in map(WAIT.fullmatch, re.findall(PREFERENCE, prefer)):
        if found:
            digits = found[1] or found[2]
            return min(int(digits), MAX_WAIT_SECONDS) if len(digits) < 3 else MAX_WAIT_SECONDS
    return None
