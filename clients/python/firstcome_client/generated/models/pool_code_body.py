from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..models.pool_code_body_status import PoolCodeBodyStatus

T = TypeVar("T", bound="PoolCodeBody")


@_attrs_define
class PoolCodeBody:
    """`position` is the position of the coupon that was issued with the code.

    Attributes:
        code (str):
        status (PoolCodeBodyStatus):
        position (int | None):
        added_at (datetime.datetime):
    """

    code: str
    status: PoolCodeBodyStatus
    position: int | None
    added_at: datetime.datetime
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        code = self.code

        status = self.status.value

        position: int | None
        position = self.position

        added_at = self.added_at.isoformat()

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "code": code,
                "status": status,
                "position": position,
                "added_at": added_at,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        code = d.pop("code")

        status = PoolCodeBodyStatus(d.pop("status"))

        def _parse_position(data: object) -> int | None:
            if data is None:
                return data
            return cast(int | None, data)

        position = _parse_position(d.pop("position"))

        added_at = datetime.datetime.fromisoformat(d.pop("added_at"))

        pool_code_body = cls(
            code=code,
            status=status,
            position=position,
            added_at=added_at,
        )

        pool_code_body.additional_properties = d
        return pool_code_body

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
