"""Operators' actions in tests: a form that is filled in, shown for confirmation, and confirmed."""

from typing import Any


def shown(client, address: str, **values):
    """The confirmation, or the form again with its errors, for these values; nothing is done yet."""
    return client.post(address, _filled_in(client.get(address), values))


def to_confirm(client, address: str, **values) -> dict[str, Any]:
    """What the last button sends: that of the confirmation, or of the form of an action that has none."""
    form = client.get(address)
    sent = _filled_in(form, values)
    if form.context["action"].preview is None:
        return sent
    return _sent_values(client.post(address, sent)) | {"confirmed": "yes"}


def confirmed(client, address: str, **values):
    """The response to the confirmed form; or the form again with its errors."""
    page = shown(client, address, **values)
    if not (page.context and "hidden" in page.context):
        return page
    return client.post(address, _sent_values(page) | {"confirmed": "yes"})


def done(client, address: str, **values) -> list[str]:
    """What the operator reads who fills in the form and confirms it: the messages, or why it is refused."""
    return said(client, confirmed(client, address, **values))


def said(client, answer) -> list[str]:
    """The messages on the page to which the answer leads, or the refusals above the form."""
    if answer.status_code == 302:
        return [str(message) for message in client.get(answer["Location"]).context["messages"]]
    return [str(problem) for problem in answer.context["form"].non_field_errors()]


def message_of(client, address: str) -> str:
    [message] = client.get(address).context["messages"]
    return str(message)


def _sent_values(page):
    """The hidden values of a confirmation, as a list where a field has several."""
    values: dict[str, Any] = {}
    for name, value in page.context["hidden"]:
        values[name] = [*values[name], value] if name in values else [value]
    return {name: found[0] if len(found) == 1 else found for name, found in values.items()}


def _filled_in(page, values):
    form = page.context["form"]
    fields = {name: form[name].value() for name in form.fields} | values
    return {name: "" if value is None else value for name, value in fields.items()}
