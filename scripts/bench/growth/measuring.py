"""Measures each table of a filled database, and the files of its archived journal and movements."""

import json
import sys
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import django

SIZES = """
SELECT table_name, data_length, index_length FROM information_schema.tables
WHERE table_schema = DATABASE() AND data_length > 0
"""
AGED = "UPDATE {table} SET at = at - INTERVAL %s SECOND"
EVENTS = "shop_archivedpaidevent"
LEAST_ROWS = 1_000
"""A table with fewer rows does not grow with orders or coupons, or its pages are mostly empty."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table's rows, and the bytes of its rows and of its indexes."""

    name: str
    rows: int
    data: int
    indexes: int


def main(orders: int, folder: Path) -> None:
    from django.db import connection

    from shop import clock
    from shop.db.mysql.patience import long_read_timeout

    with long_read_timeout(connection):
        tables = _read_tables()
        files = _archive(folder)
        [events] = [one for one in _read_tables(least=1) if one.name == EVENTS]
    measured = [asdict(table) | files.get(table.name, {}) for table in tables]
    document = {"orders": orders, "tables": measured, "events": asdict(events)}
    print(json.dumps(document | {"date": f"{clock.now():%Y-%m-%d}"}))


def _read_tables(*, least: int = LEAST_ROWS) -> list[Table]:
    from django.db import connection

    found = []
    with connection.cursor() as cursor:
        cursor.execute(SIZES)
        for name, data, indexes in cursor.fetchall():
            # The statistics that say how large a table is are old after a fill.
            cursor.execute(f"ANALYZE TABLE {name}")
            cursor.fetchall()
            cursor.execute(f"{SIZES} AND table_name = %s", [name])
            [(_, data, indexes)] = cursor.fetchall()
            cursor.execute(f"SELECT COUNT(*) FROM {name}")  # noqa: S608 - names of the database
            [(rows,)] = cursor.fetchall()
            if rows >= least:
                found.append(Table(name=name, rows=rows, data=data, indexes=indexes))
    return sorted(found, key=lambda table: -(table.data + table.indexes))


def _archive(folder: Path) -> dict[str, dict[str, Any]]:
    """Archive all journal lines and movements as those of a finished month; the bytes of the files."""
    from django.db import connection

    from shop import clock
    from shop.db.pacing import Pace
    from shop.management.archives import TABLES
    from shop.operations.archives import archiving
    from shop.operations.archives.archiving import Options

    files = {}
    middle = (clock.now() - timedelta(days=150)).replace(day=15)
    for name in ("journal", "movements"):
        table = TABLES[name].model._meta.db_table
        with connection.cursor() as cursor:
            cursor.execute(AGED.format(table=table), [int((clock.now() - middle).total_seconds())])
        options = Options(reason="It is measured.", pace=Pace(size=1_000, share=1.0))
        done = archiving.archive(TABLES[name], f"{middle:%Y-%m}", folder=folder, options=options)
        assert done is not None
        files[table] = {"archived_rows": done.removed, "file": done.bytes}
    return files


if __name__ == "__main__":
    django.setup()
    main(int(sys.argv[1]), Path(sys.argv[2]))
