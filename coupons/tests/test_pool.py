"""Pools of codes: added once, generated or read from files, renamed while available, never lost."""

import re
from io import BytesIO

import pytest
from hypothesis import given, strategies as st

from coupons.codes import code_format, line_files, pool
from coupons.tests.factories import CampaignFactory, add_codes, coupon_of
from coupons.tests.outcomes import refusal
from foundation.tests.case_tables import in_one_test

pytestmark = pytest.mark.django_db


@pytest.fixture
def campaign():
    return CampaignFactory(code_source="pool")


def test_codes_that_exist_anywhere_are_skipped_and_listed(campaign):
    other = CampaignFactory()
    borne = coupon_of(other).code
    add_codes(other, "THEIRS")
    add_codes(campaign, "OURS")

    added = add_codes(campaign, "NEW", "OURS", "THEIRS", borne, "NEW", "new")

    assert added == pool.Added(added=2, skipped=["OURS", "THEIRS", borne, "NEW"], total=3)
    assert list(campaign.pool.order_by("id").values_list("code", flat=True)) == ["OURS", "NEW", "new"]


def test_codes_are_added_over_several_chunks(campaign):
    given = [f"C{number}" for number in range(2 * pool.CHUNK + 1)]

    first, second = (pool.add(campaign_id=campaign.pk, codes=given) for _ in range(2))

    assert first == pool.Added(added=2_001, skipped=[], total=2_001)
    assert second == pool.Added(added=0, skipped=given, total=2_001)


def test_only_codes_of_the_campaign_are_renamed_and_to_none_that_a_coupon_bears(campaign):
    other = CampaignFactory()
    add_codes(campaign, "ONE")
    add_codes(other, "THEIRS")
    borne = coupon_of(other).code

    assert pool.rename(campaign_id=campaign.pk, code="ONE", to="ONE").code == "ONE"
    assert refusal(lambda: pool.rename(campaign_id=campaign.pk, code="ONE", to=borne)) == "code_exists"
    assert refusal(lambda: pool.rename(campaign_id=campaign.pk, code="THEIRS", to="X")) == "not_found"


def errors_of(data: bytes) -> list[tuple[int, str]]:
    pieces = line_files.pieces(BytesIO(data), kind=line_files.CODES)
    return [(bad.line, bad.code) for piece in pieces for bad in piece.errors]


@in_one_test(
    "data",
    [
        b"A1\nB2\n",
        b"A1\nB2",
        b"code\nA1\nB2\n",
        b"Code\r\nA1\r\nB2\r\n",
        b'"code"\r\n"A1"\r\n"B2"\r\n',
        b"\xef\xbb\xbfcode\nA1\n\n  B2 \n\n",
        b"\xef\xbb\xbfA1\nB2\n",
        "code\r\nA1\r\nB2\r\n".encode("utf-16"),
        # Of several columns, and by other headers:
        "쿠폰번호\nA1\nB2\n".encode("cp949"),
        "쿠폰 번호\nA1\nB2\n".encode(),
        b"Voucher\nA1\nB2\n".replace(b"Voucher", "발급된 난수".encode()),
        "번호,쿠폰번호,비고\n1,A1,\n2,B2,VIP\n".encode("cp949").replace("번호".encode("cp949"), b"no", 1),
        "이름\tCoupon Code\n미나\tA1\n준\tB2\n".encode("utf-16"),
    ],
)
def test_a_code_in_each_line_however_a_spreadsheet_writes_it_and_by_its_columns_header(data):
    [piece] = line_files.pieces(BytesIO(data), kind=line_files.CODES)
    assert (piece.texts, piece.errors) == (["A1", "B2"], [])


@in_one_test(
    ("data", "column"),
    [
        (b"Kim,AX7-33KQ,2026-11-21\nLee,BX7-91MN,2026-11-22\n", 1),
        ("이름,받은 것\n김,AX7-33KQ\n이,BX7-91MN\n".encode(), 1),
        ("번호,쿠폰번호\n1,AX7-33KQ\n2,BX7-91MN\n".encode(), 1),
        (b"AX7-33KQ,BX7-91MN\n", None),
        (b"Kim,Lee\n", None),
    ],
)
def test_the_column_of_codes_is_the_only_one_that_looks_so_or_unknown(data, column):
    assert line_files.find_layout(BytesIO(data), line_files.CODES).column == column


def test_lines_are_numbered_on_in_later_pieces_where_a_header_is_a_code():
    data = b"\n" * line_files.LINES_AT_ONCE + b"code\nA1\n"
    _, piece = line_files.pieces(BytesIO(data), kind=line_files.CODES)
    assert piece.lines == [(4_001, "code"), (4_002, "A1")]


def test_a_line_in_cp949_is_shown_in_its_letters():
    for header in ("할인코드 1", "똠방각하!"):
        [piece] = line_files.pieces(BytesIO(f"{header}\r\nA1\r\n".encode("cp949")), kind=line_files.CODES)
        [wrong] = piece.errors
        assert (wrong.line, piece.texts) == (1, ["A1"])
        assert wrong.detail.startswith(f"“{header}” is no code")


@in_one_test(
    ("data", "expected"),
    [
        (b"A1\nB2,new\n", [(2, "wrong_number_of_cells")]),
        (b"code,status\nA1\n,new\n", [(3, "not_a_code")]),
        (b"status,code\nnew\n", [(2, "wrong_number_of_cells")]),
        (b"A1;B2\n", [(1, "not_a_code")]),
        (b"A1\n" + b"x" * 10_000_000 + b"\nB2\n", [(2, "too_long")]),
        (b"A" * 65, [(1, "not_a_code")]),
        (b"A1\nB\x002\n", [(2, "not_a_code")]),
        ("A1\n쿠폰\n".encode(), [(2, "not_a_code")]),
        ("A1\n쿠폰\n".encode("euc-kr"), [(2, "not_a_code")]),
        ("code\nA1\n".encode("utf-16-be"), [(1, "not_a_code"), (2, "not_a_code")]),
        (b"A1\rB2\r", [(1, "not_a_code")]),
        (b'"A1\nB2"\n', [(1, "not_a_code"), (2, "not_a_code")]),
        (
            b"=1+1\n+A\n-A\n@A\n\tA\n'A\n",
            [(1, "not_a_code"), (2, "not_a_code"), (3, "not_a_code"), (4, "not_a_code"), (6, "not_a_code")],
        ),
        (b"a/b\na b\n", [(1, "not_a_code"), (2, "not_a_code")]),
    ],
)
def test_each_bad_line_is_named(data, expected):
    assert errors_of(data) == expected


HOUR_CHARACTERS = 2
BODY_CHARACTERS = HOUR_CHARACTERS + code_format.RANDOM_CHARACTERS
NOON = 1_795_262_400  # 2026-11-21 12:00 UTC
bodies = st.text(code_format.ALPHABET, min_size=BODY_CHARACTERS, max_size=BODY_CHARACTERS)


def test_codes_are_14_characters_of_crockfords_alphabet_and_differ():
    made = code_format.make_several(10_000)

    assert all(re.fullmatch(r"[0-9A-HJKMNP-TV-Z]{14}", code) for code in made)
    assert len(set(made)) == 10_000
    assert all(code_format.check_character(code[:-1]) == code[-1] for code in made)
    for place in range(HOUR_CHARACTERS, BODY_CHARACTERS):
        assert {code[place] for code in made} == set(code_format.ALPHABET), "behind the hour each is random"


def test_codes_of_an_hour_begin_alike_and_the_next_hours_sort_behind(monkeypatch):
    hours = [code_format.hour_characters(NOON + seconds) for seconds in (0, 3_599, 3_600)]
    monkeypatch.setattr(code_format.clock, "seconds", lambda: NOON + 60)

    made = code_format.make_several(100)

    assert hours[0] == hours[1] < hours[2]
    assert {code[:HOUR_CHARACTERS] for code in made} == {hours[0]}


@given(bodies, st.integers(0, BODY_CHARACTERS - 1), st.sampled_from(code_format.ALPHABET))
def test_one_wrong_character_never_passes(body, place, other):
    mistyped = body[:place] + other + body[place + 1 :]

    assert (code_format.check_character(mistyped) == code_format.check_character(body)) == (mistyped == body)
