from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

T = TypeVar("T", bound="DrawBody")


@_attrs_define
class DrawBody:
    """`count` is how many entries take part, or have joined so far.

    Attributes:
        seed_hash (str):
        seed (None | str):
        entries_hash (None | str):
        count (int):
    """

    seed_hash: str
    seed: None | str
    entries_hash: None | str
    count: int
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        seed_hash = self.seed_hash

        seed: None | str
        seed = self.seed

        entries_hash: None | str
        entries_hash = self.entries_hash

        count = self.count

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "seed_hash": seed_hash,
                "seed": seed,
                "entries_hash": entries_hash,
                "count": count,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        seed_hash = d.pop("seed_hash")

        def _parse_seed(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        seed = _parse_seed(d.pop("seed"))

        def _parse_entries_hash(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        entries_hash = _parse_entries_hash(d.pop("entries_hash"))

        count = d.pop("count")

        draw_body = cls(
            seed_hash=seed_hash,
            seed=seed,
            entries_hash=entries_hash,
            count=count,
        )

        draw_body.additional_properties = d
        return draw_body

    @property
    def additional_keys(self) -> list[str]:
        return list(self.additional_properties.keys())

    def __getitem__(self, key: str) -> Any:
        return self.additional_properties[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self.additional_properties[key] = value

    def __delitem__(self, key: str) -> None:
        del self.additional_properties[key]

    def __contains__(self, key: str) -> bool:
        return key in self.additional_properties
