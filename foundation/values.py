"""Values by their names: columns of a row, arguments of a call, members of a JSON object."""

from collections.abc import Mapping
from typing import Any

Values = dict[str, Any]
GivenValues = Mapping[str, Any]
"""Which the function that gets them doesn't change."""
