"""The signature of a message: these bytes were sent just now by a sender with the secret."""

import hmac
import re
import time

HEADER = "Firstcome-Signature"
FORM = re.compile(r"t=([0-9]{1,15})((,v1=[0-9a-f]{64}){1,5})")
TOLERANCE_SECONDS = 300


def header(secret: str, body: bytes) -> str:
    seconds = int(time.time())
    return f"t={seconds},v1={_digest(secret, seconds, body)}"


def is_valid(secret: str, body: bytes, text: str) -> bool:
    """Whether the header was made of the body with the secret, not long ago; one `v1` that fits is enough."""
    read = FORM.fullmatch(text)
    if read is None or abs(time.time() - int(read[1])) > TOLERANCE_SECONDS:
        return False
    expected = _digest(secret, int(read[1]), body)
    return any(hmac.compare_digest(expected, one) for one in read[2].split(",v1=")[1:])


def _digest(secret: str, seconds: int, body: bytes) -> str:
    return hmac.new(secret.encode(), b"%d.%b" % (seconds, body), "sha256").hexdigest()
