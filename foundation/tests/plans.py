"""How the database answers a statement, for tests that hold pages to indexes."""

from collections.abc import Collection

from foundation.tests.servers import explain

SCANS = ("ALL", "index")


def assert_read_by_index(statement: str, *, but_for: Collection[str] = ()):
    """No table is read from its beginning to its end, but for derived ones, and for these small ones."""
    for step in explain(statement):
        table = str(step["table"] or "")
        is_derived = table.startswith("<") or not table
        if not is_derived and table not in but_for:
            assert step["type"] not in SCANS and step["key"], f"{step}\n{statement}"
