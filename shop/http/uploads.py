"""Uploads: files larger than other bodies, which are read once they are known to come from staff who may."""

from collections.abc import Callable
from io import BytesIO

from shop.configuration import UploadPage

UPLOAD_KEY = "firstcome.upload"
"""The key in the WSGI environment, which is `request.META`, of a body that is an `Upload`."""


class Upload(BytesIO):
    """The body of an upload: empty until a page's middleware has it fetched."""

    def __init__(self, page: UploadPage, fetch: Callable[[], bytes]) -> None:
        super().__init__()
        self.page = page
        self._fetch = fetch

    def fetch(self) -> None:
        """Read all of it; it blocks the thread, never a loop's. Raises `Overloaded`, `BodyIncomplete`."""
        self.write(self._fetch())
        self.seek(0)
