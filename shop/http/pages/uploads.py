"""Uploads: files larger than other bodies, read only once the sender is known to be permitted staff."""

from collections.abc import Callable
from io import BytesIO

from shop.configuration import UploadPage

UPLOAD_KEY = "firstcome.upload"
"""The key in the WSGI environment, which is `request.META`, of a body that is an `Upload`."""


class Upload(BytesIO):
    """The body of an upload: empty until middleware calls `fetch`."""

    def __init__(self, page: UploadPage, fetch: Callable[[], bytes]) -> None:
        super().__init__()
        self.page = page
        self._fetch = fetch

    def fetch(self) -> None:
        """Read the whole body; blocks the thread. Raises `Overloaded`, `BodyIncomplete`."""
        self.write(self._fetch())
        self.seek(0)
