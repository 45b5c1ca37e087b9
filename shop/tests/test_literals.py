"""Instants and numbers in one form alone, in every field of every call.

A campaign that was to open on "20270301" opened at once: the digits were taken for seconds since 1970.
"""

import typing
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

import shop.urls  # noqa: F401 - imports every call's schemas
from shop import literals
from shop.http.validation import Input, Query

NO_INSTANTS = (
    *(
        "20270301",
        "20270301100000",
        "46082",
        "0",
        "-1",
        "1772355600",
        "1772355600.5",
        "1e9",
        "Infinity",
        "NaN",
    ),
    *("2026-02-30T10:00:00Z", "2026-11-25", "2026-11-25T10:00:00", "2026-11-25 10:00:00Z", "10:00:00Z"),
    *("2026-11-25T10:00Z", "2026-11-25T24:00:00Z", "2026-12-31T23:59:60Z", "2026-11-25T10:00:00+0900"),
    *(
        "0000-01-01T00:00:00Z",
        "10000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+09:00",
        "9999-12-31T23:59:59-09:00",
    ),
    *(
        "２０２６-11-25T10:00:00Z",
        "٢٠٢٦-11-25T10:00:00Z",
        " 2026-11-25T10:00:00Z",
        "2026-11-25T10:00:00Z\n",
        "",
    ),
    *("2026-W48-3T10:00:00Z", "20261125T100000Z", "11/25/2026", "Nov 25 2026", "2026-11-25T10:00:00,5Z"),
)
NO_NUMBERS = (
    "1e3",
    "Infinity",
    "NaN",
    "٣",
    "３",
    "1_000",
    "1,000",
    "1.0",
    " 1",
    "1 ",
    "+1",
    "0x1",
    "1\n",
    "½",
    "",
    "9" * 20,
)
OF_OTHER_TYPES = (
    True,
    False,
    1,
    0,
    -1,
    1.0,
    1.5,
    [],
    [1],
    {},
    {"a": 1},
    "text",
    "1",
    "true",
    *NO_NUMBERS,
    *NO_INSTANTS,
)


def shapes(of: type[Any]) -> Iterator[type[Any]]:
    for each in of.__subclasses__():
        yield each
        yield from shapes(each)


def types_of(annotation: Any) -> set[Any]:
    """The plain types that a field takes."""
    inner = typing.get_args(annotation)
    return set().union(*map(types_of, inner)) if inner else {annotation}


FIELDS = [
    (shape, name, types_of(field.annotation) - {type(None)})
    for shape in sorted(shapes(Input), key=lambda shape: shape.__qualname__)
    for name, field in shape.model_fields.items()
]
ALONE = {
    kind: [(shape, name) for shape, name, kinds in FIELDS if kinds == {kind}]
    for kind in (int, bool, str, datetime, UUID)
}


def is_refused(shape: type[Any], name: str, value: object) -> bool:
    """Whether validation names the field, whatever else is missing."""
    with pytest.raises(ValidationError) as refusal:
        shape.model_validate({name: value, "no such field": 1})
    return any(error["loc"][0] == name for error in refusal.value.errors())


def test_every_kind_of_field_is_there() -> None:
    assert all(ALONE.values()) and len(FIELDS) > 60


@settings(max_examples=400)
@given(field=st.sampled_from(ALONE[datetime]), miss=st.sampled_from(OF_OTHER_TYPES))
def test_an_instant_is_rfc_3339_and_nothing_else(field: tuple[type[Any], str], miss: object) -> None:
    assert is_refused(*field, miss)


@settings(max_examples=400)
@given(
    field=st.sampled_from(ALONE[int]),
    miss=st.sampled_from([one for one in OF_OTHER_TYPES if type(one) is not int]),
)
def test_a_number_is_a_number_of_json(field: tuple[type[Any], str], miss: object) -> None:
    assert is_refused(*field, miss)


@settings(max_examples=200)
@given(
    field=st.sampled_from(ALONE[bool]),
    miss=st.sampled_from([one for one in OF_OTHER_TYPES if type(one) is not bool]),
)
def test_a_truth_value_is_one_of_json(field: tuple[type[Any], str], miss: object) -> None:
    assert is_refused(*field, miss)


@settings(max_examples=200)
@given(
    field=st.sampled_from(ALONE[str]),
    miss=st.sampled_from([one for one in OF_OTHER_TYPES if not isinstance(one, str)]),
)
def test_text_is_text_of_json(field: tuple[type[Any], str], miss: object) -> None:
    assert is_refused(*field, miss)


@given(
    field=st.sampled_from(ALONE[UUID]),
    miss=st.sampled_from([*OF_OTHER_TYPES, "0" * 32, "{" + "0" * 8 + "}", "urn:uuid:1"]),
)
def test_an_id_is_a_uuid_as_the_api_writes_it(field: tuple[type[Any], str], miss: object) -> None:
    assert is_refused(*field, miss)


def test_query_parameters_take_no_other_digits() -> None:
    taken = []
    for shape in shapes(Query):
        for name, field in shape.model_fields.items():
            kinds = types_of(field.annotation) - {type(None)}
            misses = NO_NUMBERS if kinds == {int} else ["0" * 32] if kinds == {UUID} else []
            for miss in misses:
                try:
                    taken.append((shape.__name__, name, miss, shape.model_validate({name: miss})))
                except ValidationError:
                    continue
    assert taken == []


@given(st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)), st.integers(-1439, 1439))
def test_every_instant_of_that_form_is_read(at: datetime, offset: int) -> None:
    sign, minutes = "-" if offset < 0 else "+", abs(offset)
    text = f"{at.isoformat(timespec='microseconds')}{sign}{minutes // 60:02}:{minutes % 60:02}"
    assert literals.instant(text) == datetime.fromisoformat(text).astimezone(UTC)
    assert literals.instant(f"{at.isoformat(timespec='seconds')}Z".lower()).tzinfo == UTC


@given(st.integers(-(10**18), 10**18))
def test_every_whole_number_is_read(number: int) -> None:
    assert literals.whole_number(str(number)) == number
