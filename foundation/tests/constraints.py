"""Tables that lack a constraint for a while."""

from collections.abc import Callable
from contextlib import contextmanager

from django.db import connection
from django.db.models import Model


@contextmanager
def without_constraint(model: type[Model], name: str, mend: Callable[[], object] | None = None):
    """Run the block without one of the table's constraints, as after a faulty migration; mend its rows."""
    constraint = next(one for one in model._meta.constraints if one.name == name)
    with connection.schema_editor() as editor:
        editor.remove_constraint(model, constraint)
    try:
        yield
    finally:
        (mend or model._default_manager.all().delete)()
        with connection.schema_editor() as editor:
            editor.add_constraint(model, constraint)
