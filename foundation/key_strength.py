"""How hard the key is to guess that signs tokens and sessions."""

SHORTEST_SECRET_KEY_LENGTH = 50
FEWEST_DISTINCT_CHARACTERS = 10
DEBUG_SECRET_KEY = "only-for-debug-" * 4
KNOWN_SECRET_KEYS = (
    "only-for-debug",
    "django-insecure-",
    "changeme",
    "change-me",
    "replace-me",
    "your-secret-key",
)
"""Prefixes of keys in documentation, templates and this repository."""


def weakness(key: str) -> str:
    """What is weak about the key, after its name; empty for a strong one."""
    if key.lower().startswith(KNOWN_SECRET_KEYS):
        return "is a known default"
    if len(key) < SHORTEST_SECRET_KEY_LENGTH:
        return f"has {len(key)} characters, fewer than {SHORTEST_SECRET_KEY_LENGTH}"
    if len(set(key)) < FEWEST_DISTINCT_CHARACTERS:
        return f"has {len(set(key))} different characters, fewer than {FEWEST_DISTINCT_CHARACTERS}"
    return ""
