"""Files that operators send with an action's form: kept until it is confirmed, for an hour at most."""

import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import UploadedFile
from django.utils.functional import lazy
from django.utils.translation import gettext, gettext_lazy as _
from unfold.widgets import UnfoldAdminFileFieldWidget

from foundation import clock, journal
from foundation.admin_base.actions import CONFIRMED, ActionForm, FormData
from foundation.errors import FirstcomeError, Overloaded, Rejected, Unavailable
from foundation.lazy_texts import mark

PREFIX = "firstcome-upload-"
BROKEN_OFF = "tmp*.upload*"
"""What a process that was killed has left of a file that arrived."""
KEPT_SECONDS = 3_600
MOST_BYTES_OF_ACCOUNT = settings.MAX_UPLOAD_BYTES
"""Of an operator's unconfirmed files: the oldest make room for another."""
reading_slots = threading.BoundedSemaphore(2)
"""Of a process: each reads a whole file, which a small request may ask for again and again."""


class UploadForm(ActionForm):
    """A form with a file. `cleaned_data` has the `path` under which it is kept, by the form's id."""

    file = forms.FileField(
        label=_("File"), required=False, widget=UnfoldAdminFileFieldWidget(attrs={"accept": ".csv,.txt"})
    )

    def clean(self) -> FormData:
        """Keep the file, also if another field is refused: it need not be chosen again."""
        data = self.cleaned_data
        if "form_id" in data:
            owner = str(journal.current_actor().id or 0)
            data["path"] = Path(tempfile.gettempdir(), f"{PREFIX}{owner}.{data['form_id']}")
            if data.get("file"):
                _keep(data["file"], data["path"], owner)
            elif CONFIRMED not in self.data and not data["path"].exists():
                self.add_error("file", ValidationError(_("This field is required."), code="required"))
            self.fields["file"].help_text = lazy(self._kept_text, str)()
        return super().clean()

    def _kept_text(self) -> str:
        """Said when the form is shown: a refused file is gone by then."""
        is_kept = self.cleaned_data["path"].exists()
        return gettext("The file is kept. Choose one only to replace it.") if is_kept else ""


@contextmanager
def opened(data: FormData, *, is_confirmed: bool) -> Iterator[BinaryIO]:
    """The form's file, which is deleted once it is used, or refused. Raises `Rejected` `upload_gone`, and
    `Overloaded` while others are read.
    """
    path: Path = data["path"]
    if not reading_slots.acquire(blocking=False):
        raise Overloaded(mark("Other uploads are being processed; nothing was done. Try again."))
    try:
        with path.open("rb") as file:
            yield file
    except FileNotFoundError:
        raise Rejected(
            mark(
                "The file is not on this server, and nothing of it was imported: it was deleted after an "
                "hour, or it was uploaded to another server. Upload it again."
            ),
            code="upload_gone",
        ) from None
    except FirstcomeError as error:
        # What passes by itself is tried again with the same file.
        if not isinstance(error, Unavailable):
            path.unlink(missing_ok=True)
        raise
    finally:
        reading_slots.release()
    if is_confirmed:
        path.unlink(missing_ok=True)


def clear() -> None:
    """Delete the files in this machine's folder that have not been confirmed in time."""
    deadline = clock.seconds() - KEPT_SECONDS
    folder = Path(tempfile.gettempdir())
    for path in (*folder.glob(f"{PREFIX}*"), *folder.glob(BROKEN_OFF)):
        with suppress(FileNotFoundError):  # confirmed meanwhile
            if path.lstat().st_mtime < deadline:
                path.unlink()


def _keep(file: UploadedFile, path: Path, owner: str) -> None:
    # Cleared here as well as in the sweep, which doesn't see the folder of another container.
    clear()
    kept = sorted(path.parent.glob(f"{PREFIX}{owner}.*"))  # ids are in order of time
    with suppress(FileNotFoundError):  # confirmed meanwhile
        while kept and (file.size or 0) + sum(one.stat().st_size for one in kept) > MOST_BYTES_OF_ACCOUNT:
            kept.pop(0).unlink(missing_ok=True)
    path.touch(mode=0o600)
    with path.open("wb") as copy:
        shutil.copyfileobj(file, copy)
