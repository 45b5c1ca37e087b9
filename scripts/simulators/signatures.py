"""The signature of a message: these bytes were sent just now by a sender with the secret."""

import hashlib
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
    if read is None:
        return False
    seconds = int(read[1])
    is_fresh = abs(time.time() - seconds) <= TOLERANCE_SECONDS
    expected = _digest(secret, seconds, body)
    fits = [hmac.compare_digest(expected, one) for one in read[2].split(",v1=")[1:]]
    return is_fresh and any(fits)


def _digest(secret: str, seconds: int, body: bytes) -> str:
    signed = str(seconds).encode() + b"." + body
    return hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
