"""The tables of data that modules of the lab declare in TOML."""

import tomllib
from pathlib import Path

from scripts.stack import Json

PROJECT = Path(__file__).parents[1]


def declared(path: str) -> Json:
    """What the TOML file of this path below the project's folder declares."""
    return tomllib.loads((PROJECT / path).read_text())
