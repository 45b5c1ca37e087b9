"""Codes: of the right shape, not guessable, and mistypings don't pass."""

import re

from hypothesis import given
from hypothesis import strategies as st

from coupons import codes

bodies = st.text(codes.ALPHABET, min_size=codes.RANDOM_CHARACTERS, max_size=codes.RANDOM_CHARACTERS)


def test_codes_are_12_characters_of_crockfords_alphabet_and_differ() -> None:
    made = [codes.make() for _ in range(10_000)]

    assert all(re.fullmatch(r"[0-9A-HJKMNP-TV-Z]{12}", code) for code in made)
    assert len(set(made)) == 10_000
    assert all(codes.check_character(code[:-1]) == code[-1] for code in made)


def test_every_place_of_a_code_is_random() -> None:
    made = [codes.make() for _ in range(2_000)]

    for place in range(codes.RANDOM_CHARACTERS):
        assert {code[place] for code in made} == set(codes.ALPHABET)


@given(bodies, st.integers(0, codes.RANDOM_CHARACTERS - 1), st.sampled_from(codes.ALPHABET))
def test_one_wrong_character_never_passes(body: str, place: int, other: str) -> None:
    mistyped = body[:place] + other + body[place + 1 :]

    assert (codes.check_character(mistyped) == codes.check_character(body)) == (mistyped == body)


def test_codes_made_here_could_be_given_too() -> None:
    assert all(re.match(codes.GIVEN_PATTERN, codes.make()) for _ in range(1_000))
