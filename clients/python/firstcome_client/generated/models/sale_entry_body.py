from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, TypeVar, cast
from uuid import UUID

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..models.sale_entry_body_status import SaleEntryBodyStatus

T = TypeVar("T", bound="SaleEntryBody")


@_attrs_define
class SaleEntryBody:
    """`ahead` is how many wait before it, null before the draw at the opening.

    The estimate is null as long as it is unknown, as before the opening or during a pause.

        Attributes:
            id (UUID):
            sale (int):
            status (SaleEntryBodyStatus):
            ahead (int | None):
            estimated_wait_seconds (int | None):
            admitted_until (datetime.datetime | None):
    """

    id: UUID
    sale: int
    status: SaleEntryBodyStatus
    ahead: int | None
    estimated_wait_seconds: int | None
    admitted_until: datetime.datetime | None
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        id = str(self.id)

        sale = self.sale

        status = self.status.value

        ahead: int | None
        ahead = self.ahead

        estimated_wait_seconds: int | None
        estimated_wait_seconds = self.estimated_wait_seconds

        admitted_until: None | str
        if isinstance(self.admitted_until, datetime.datetime):
            admitted_until = self.admitted_until.isoformat()
        else:
            admitted_until = self.admitted_until

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "id": id,
                "sale": sale,
                "status": status,
                "ahead": ahead,
                "estimated_wait_seconds": estimated_wait_seconds,
                "admitted_until": admitted_until,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        id = UUID(d.pop("id"))

        sale = d.pop("sale")

        status = SaleEntryBodyStatus(d.pop("status"))

        def _parse_ahead(data: object) -> int | None:
            if data is None:
                return data
            return cast(int | None, data)

        ahead = _parse_ahead(d.pop("ahead"))

        def _parse_estimated_wait_seconds(data: object) -> int | None:
            if data is None:
                return data
            return cast(int | None, data)

        estimated_wait_seconds = _parse_estimated_wait_seconds(d.pop("estimated_wait_seconds"))

        def _parse_admitted_until(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                admitted_until_type_0 = datetime.datetime.fromisoformat(data)

                return admitted_until_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        admitted_until = _parse_admitted_until(d.pop("admitted_until"))

        sale_entry_body = cls(
            id=id,
            sale=sale,
            status=status,
            ahead=ahead,
            estimated_wait_seconds=estimated_wait_seconds,
            admitted_until=admitted_until,
        )

        sale_entry_body.additional_properties = d
        return sale_entry_body

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
