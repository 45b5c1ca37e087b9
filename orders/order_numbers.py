"""Order numbers: short, unique, and without a way to tell how many orders there are.

A number is a keyed permutation of a counter, so that none collides: a Feistel network of ten rounds over two
halves (as FF1 of NIST SP 800-38G, whose rounds are AES).
"""

from hashlib import blake2b

ALPHABET = "2346789CDFGHJKMPQRTVWXY"
"""No signs that look alike, and no vowels, so no words."""
LENGTH = 8
GROUP = 4
HALF = len(ALPHABET) ** (LENGTH // 2)
ROUNDS = 10


def parse(text: str) -> str | None:
    """The number that was typed, in either case, with hyphens, blanks and # or without; None if it can't be
    one.
    """
    typed = parse_part(text)
    return typed if typed and len(typed) == LENGTH else None


def parse_part(text: str) -> str | None:
    """The same of a number's beginning or end, of as many signs as a group at least."""
    typed = "".join(text.split()).replace("-", "").lstrip("#").upper()
    return typed if GROUP <= len(typed) <= LENGTH and set(typed) <= set(ALPHABET) else None


def shown(number: str | None) -> str:
    """The number in groups of four, as pages show it; empty for an order that has none yet."""
    number = number or ""
    return "-".join(number[start : start + GROUP] for start in range(0, len(number), GROUP))


def permuted(value: int, key: bytes) -> str:
    """The number of this value of the counter. Raises `OverflowError` past the last one."""
    left, right = divmod(value, HALF)
    if left >= HALF:
        raise OverflowError("There is no order number left.")
    for number in range(ROUNDS):
        hashed = blake2b(b"%d.%d" % (number, right), key=key, digest_size=8).digest()
        left, right = right, (left + int.from_bytes(hashed, "big")) % HALF
    return _written(left) + _written(right)


def _written(half: int) -> str:
    signs = ""
    for _ in range(LENGTH // 2):
        half, sign = divmod(half, len(ALPHABET))
        signs += ALPHABET[sign]
    return signs
