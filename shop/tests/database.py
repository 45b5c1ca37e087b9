"""The test database: made from a dump of its schema, and emptied after each test that commits.

Django's own way costs 78 ms a test: it deletes from each table, and creates every content type and permission
again. Here only tables that have rows are emptied, and content types and permissions stay.
"""

import contextlib
import fcntl
import hashlib
import json
import os

import django
from django.apps import apps
from django.db import connection
from django.db.backends.base.base import BaseDatabaseWrapper

from orders.apps import make_number_counter
from payments.apps import open_shop_accounts
from scripts.stack import places

KEPT = {"django_migrations", "django_content_type", "auth_permission"}
"""Rows that `migrate` writes and no test changes."""
_NAME_IF_FILLED = "SELECT '{0}' WHERE EXISTS (SELECT 1 FROM `{0}`)"


def empty(database: BaseDatabaseWrapper):
    """Delete all rows but those that `migrate` makes: the shop's accounts and the orders' counter."""
    names = sorted({model._meta.db_table for model in apps.get_models(include_auto_created=True)} - KEPT)
    with database.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(map(_NAME_IF_FILLED.format, names)))
        if filled := [name for (name,) in cursor.fetchall()]:
            with database.constraint_checks_disabled():
                for name in filled:
                    cursor.execute(f"DELETE FROM `{name}`")  # noqa: S608 - a table of a model
    open_shop_accounts(using=database.alias)
    make_number_counter(using=database.alias)


@contextlib.contextmanager
def created_from_dump():
    """While this is open, a new test database gets the schema of the dump of these migrations, if it exists.

    `migrate` then finds nothing to do. Without a dump it does its work, while other workers wait, and a
    dump is written.
    """
    dump = _dump_path()
    create = connection.creation._create_test_db

    def create_and_load(*arguments, **options):
        created = create(*arguments, **options)
        if dump.exists():
            _load(dump)
        return created

    with dump.with_suffix(".lock").open("w") as lock:
        if not dump.exists():
            fcntl.flock(lock, fcntl.LOCK_EX)
        connection.creation._create_test_db = create_and_load
        try:
            yield
        finally:
            del connection.creation._create_test_db
        if not dump.exists():
            _write(dump)


def _dump_path():
    """The dump of this kind of server, and of the migrations of the project and of what is installed."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT @@collation_server")
        server = f"{django.__version__} {connection.mysql_server_info} {cursor.fetchone()[0]}"
    content = hashlib.sha256(server.encode())
    for path in sorted(places.PROJECT.glob("*/migrations/*.py")):
        content.update(path.read_bytes())
    content.update((places.PROJECT / "requirements-dev.txt").read_bytes())
    folder = places.state() / "test-schema"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{content.hexdigest()[:16]}.json"


def _write(dump):
    """Write every table and row as statements."""
    statements = []
    with connection.cursor() as cursor:
        for name in connection.introspection.table_names(cursor):
            table = connection.ops.quote_name(name)
            cursor.execute(f"SHOW CREATE TABLE {table}")
            statements.append(cursor.fetchone()[1])
            cursor.execute(f"SHOW COLUMNS FROM {table}")
            columns = ", ".join(
                f"`{row[0]}`" for row in cursor.fetchall() if "GENERATED" not in row[5].upper()
            )
            cursor.execute(f"SELECT {columns} FROM {table}")  # noqa: S608 - of the server's own list
            if rows := cursor.fetchall():
                values = ", ".join(connection.connection.literal(tuple(row)).decode() for row in rows)
                statements.append(f"INSERT INTO {table} ({columns}) VALUES {values}")  # noqa: S608
    unfinished = dump.with_suffix(f".{os.getpid()}")
    unfinished.write_text(json.dumps(statements))
    unfinished.replace(dump)


def _load(dump):
    """Run the dump's statements in the test database, unless it has tables already."""
    with contextlib.closing(connection.copy()) as database:
        database.settings_dict["NAME"] = connection.creation._get_test_db_name()
        with database.constraint_checks_disabled(), database.cursor() as cursor:
            if not database.introspection.table_names(cursor):
                for statement in json.loads(dump.read_text()):
                    cursor.execute(statement)
