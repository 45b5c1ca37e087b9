"""The odd things that a fuzz sends, as `odd.toml` declares them."""

import tomllib
from pathlib import Path
from typing import Any


def joined(value: Any) -> str:
    """A value of `odd.toml` as one text."""
    match value:
        case [str(text), int(times)]:
            return text * times
        case [*parts]:
            return "".join(map(joined, parts))
    return str(value)


RAW, FORMS = (
    {name: [joined(value) for value in values] for name, values in part.items()}
    for part in tomllib.loads(Path(__file__).with_name("odd.toml").read_text()).values()
)
