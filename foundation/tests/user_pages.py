"""The admin's page of an account."""

from typing import Any

from django.urls import reverse


def page_of(user) -> str:
    return reverse("admin:auth_user_change", args=[user.pk])


def filled_in(response, **changed) -> dict[str, Any]:
    """The page's form as a browser would send it, with some fields changed."""
    form = response.context["adminform"].form
    initial = {name: form.initial.get(name) for name in form.fields}
    values = initial | {"reason": "A test."} | changed
    sent = {name: value for name, value in values.items() if value not in (None, False, [])}
    joined = sent.pop("date_joined", None)
    if joined:
        sent["date_joined"] = f"{joined:%Y-%m-%dT%H:%M:%S}"
    return sent
