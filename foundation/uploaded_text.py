"""The text of files that people upload, in the encodings in which spreadsheets save CSV."""

from typing import NamedTuple

from django.utils.translation import gettext

from foundation.errors import Invalid

UTF_16_MARKS = (b"\xff\xfe", b"\xfe\xff")
SPREADSHEET_MARKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
"""The first bytes of .xlsx and .ods files, and of .xls files."""
ENCODINGS = {"utf-8-sig": "UTF-8", "cp949": "CP949"}
"""In this order: CP949, in which Excel saves CSV in a Korean Windows, is hardly ever UTF-8 as well."""


class DecodedFile(NamedTuple):
    """The text, and the name of the encoding in which it was read."""

    text: str
    encoding: str


def decode(data: bytes) -> DecodedFile:
    """Decode a whole file. Raises `Invalid` for a spreadsheet's own format and for other encodings."""
    if data.startswith(SPREADSHEET_MARKS):
        raise Invalid(
            gettext(
                "This is a spreadsheet's own file, such as .xlsx, whatever its name says. Save it in the "
                "spreadsheet as “CSV UTF-8”, and upload that."
            ),
            errors=[],
        )
    found = {"utf-16": "UTF-16"} if data.startswith(UTF_16_MARKS) else ENCODINGS
    for encoding, name in found.items():
        try:
            return DecodedFile(data.decode(encoding), name)
        except UnicodeDecodeError:
            continue
    raise Invalid(
        gettext("The file is neither UTF-8 nor UTF-16 nor CP949. Save it as “CSV UTF-8”, and upload that."),
        errors=[],
    )
