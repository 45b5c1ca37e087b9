"""What a browser sends of a page's form."""

from html.parser import HTMLParser


def fields_of(page: str, **changed: str) -> dict[str, str]:
    """The fields of the page's forms that send data, as they were shown, with these changes."""
    parser = _Fields()
    parser.feed(page)
    return parser.found | changed


class _Fields(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: dict[str, str] = {}
        self._select = self._textarea = ""
        self._is_posted = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        name, value = given.get("name") or "", given.get("value") or ""
        if tag == "form":
            self._is_posted = given.get("method", "") == "post"
        if not self._is_posted:
            return
        if tag == "select":
            self._select = name
        if tag == "option" and "selected" in given:
            self.found[self._select] = value
        if tag == "textarea":
            self._textarea = name
            self.found[name] = ""
        if tag == "input" and name:
            self._add_input(name, value, given)

    def _add_input(self, name: str, value: str, given: dict[str, str | None]) -> None:
        kind = given.get("type")
        if kind in ("checkbox", "radio"):
            if "checked" in given:
                self.found[name] = value or "on"
        elif kind != "submit":
            self.found[name] = value

    def handle_data(self, data: str) -> None:
        if self._textarea:
            self.found[self._textarea] += data.removeprefix("\n")

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            self._textarea = ""
        if tag == "form":
            self._is_posted = False
