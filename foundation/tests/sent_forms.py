"""What a browser sends of a page's form."""

import lxml.html


def fields_of(page: str, **changed: str) -> dict[str, str]:
    """The fields of the page's forms that send data, as they were shown, with these changes."""
    # A page that takes a POST alone answers a GET with nothing.
    forms = [form for form in lxml.html.fromstring(page or "<p>").iter("form") if form.method == "POST"]
    for form in forms:
        # lxml leaves out what has no value, and a browser does not.
        for field in form.xpath(".//input[not(@value or @type='checkbox' or @type='radio')]"):
            field.set("value", "")
    sent = [field for form in forms for field in form.form_values()]
    # A browser drops the line break with which a text area begins.
    return {name: value.removeprefix("\n") for name, value in sent} | changed
