"""Codes: their format, unpredictability and check character."""

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given, strategies as st

from coupons import codes

HOUR_CHARACTERS = 2
BODY_CHARACTERS = HOUR_CHARACTERS + codes.RANDOM_CHARACTERS
NOON = 1_795_262_400  # 2026-11-21 12:00 UTC
bodies = st.text(codes.ALPHABET, min_size=BODY_CHARACTERS, max_size=BODY_CHARACTERS)


def test_codes_are_14_characters_of_crockfords_alphabet_and_differ() -> None:
    made = codes.make_several(10_000)

    assert all(re.fullmatch(r"[0-9A-HJKMNP-TV-Z]{14}", code) for code in made)
    assert len(set(made)) == 10_000
    assert all(codes.check_character(code[:-1]) == code[-1] for code in made)


def test_every_place_of_a_code_behind_the_hour_is_random() -> None:
    made = codes.make_several(2_000)

    for place in range(HOUR_CHARACTERS, BODY_CHARACTERS):
        assert {code[place] for code in made} == set(codes.ALPHABET)


def test_codes_of_an_hour_begin_alike_and_the_next_hours_sort_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    hours = [codes.hour_characters(NOON + seconds) for seconds in (0, 3_599, 3_600)]
    monkeypatch.setattr(codes.clock, "now", lambda: datetime.fromtimestamp(NOON + 60, UTC))

    made = codes.make_several(100)

    assert hours[0] == hours[1] < hours[2]
    assert {code[:HOUR_CHARACTERS] for code in made} == {hours[0]}


@given(bodies, st.integers(0, BODY_CHARACTERS - 1), st.sampled_from(codes.ALPHABET))
def test_one_wrong_character_never_passes(body: str, place: int, other: str) -> None:
    mistyped = body[:place] + other + body[place + 1 :]

    assert (codes.check_character(mistyped) == codes.check_character(body)) == (mistyped == body)
