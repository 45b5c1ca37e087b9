"""Permissions about accounts that are narrower than Django's own."""

from typing import Any

from django.apps import apps as installed

DISABLE = "auth.disable_user"
EXPORT = "auth.export_user"
ERASE = "auth.erase_user"
NAMES = {
    DISABLE: "Can disable, enable and sign out customers",
    EXPORT: "Can export the personal data of customers",
    ERASE: "Can erase customers",
}


def create(*, using: str, apps: Any = installed, **_: Any) -> None:
    """Create them where they are missing, after each `migrate` and `flush`, if Django has its tables."""
    try:
        kinds = apps.get_model("contenttypes", "ContentType").objects.using(using)
        rights = apps.get_model("auth", "Permission").objects.using(using)
    except LookupError:
        return
    for permission, name in NAMES.items():
        app, codename = permission.split(".")
        kind, _is_new = kinds.get_or_create(app_label=app, model=codename.rpartition("_")[2])
        rights.get_or_create(content_type=kind, codename=codename, defaults={"name": name})
