"""The format of coupon codes, and making new ones.

New ones can't be guessed: 55 random bits in Crockford's base32, then a check character. Two characters before
them give the hour, so that new codes are adjacent in the indexes, on a few pages that stay in memory.
"""

import secrets

from foundation import clock

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
RANDOM_CHARACTERS = 11
HOUR_SECONDS = 3_600
VALUES = {character: value for value, character in enumerate(ALPHABET)}
# Luhn's doubling, in base 32: the value of a character at every second place.
DOUBLED = [2 * value // 32 + 2 * value % 32 for value in range(32)]

# A character for each byte: each character stands for eight bytes, so all are equally likely.
CHARACTERS = (ALPHABET * 8).encode()

# Codes that staff add: they are parts of URLs, so only characters that need no escaping there.
GIVEN_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._~-]{0,63}$"


def make_several(count: int) -> list[str]:
    """That many new codes, from one draw of random bytes: five bits of each make a character."""
    drawn = secrets.token_bytes(RANDOM_CHARACTERS * count).translate(CHARACTERS).decode()
    hour = hour_characters(clock.seconds())
    bodies = [
        hour + drawn[start : start + RANDOM_CHARACTERS] for start in range(0, len(drawn), RANDOM_CHARACTERS)
    ]
    return [body + check_character(body) for body in bodies]


def hour_characters(seconds: float) -> str:
    """The hour of these seconds since the epoch: two characters that sort as hours do, until they repeat."""
    high, low = divmod(int(seconds // HOUR_SECONDS), len(ALPHABET))
    return ALPHABET[high % len(ALPHABET)] + ALPHABET[low]


def check_character(body: str) -> str:
    """The character that follows `body`: Luhn's modulo 32, so that one wrong character never passes."""
    total = sum([DOUBLED[VALUES[character]] for character in body[-1::-2]])
    total += sum([VALUES[character] for character in body[-2::-2]])
    return ALPHABET[-total % 32]
