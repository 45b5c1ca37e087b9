from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..models.availability import Availability

T = TypeVar("T", bound="ProductBody")


@_attrs_define
class ProductBody:
    """`availability` is about the stock alone: a product that staff have paused shows it as well.

    Attributes:
        id (int):
        sku (str):
        name (str):
        price (int):
        available (int):
        availability (Availability): `RESERVED`: nothing is available now, but unpaid orders that hold stock may expire.
        is_active (bool):
        limit_per_account (int | None):
    """

    id: int
    sku: str
    name: str
    price: int
    available: int
    availability: Availability
    is_active: bool
    limit_per_account: int | None
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        id = self.id

        sku = self.sku

        name = self.name

        price = self.price

        available = self.available

        availability = self.availability.value

        is_active = self.is_active

        limit_per_account: int | None
        limit_per_account = self.limit_per_account

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "id": id,
                "sku": sku,
                "name": name,
                "price": price,
                "available": available,
                "availability": availability,
                "is_active": is_active,
                "limit_per_account": limit_per_account,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        id = d.pop("id")

        sku = d.pop("sku")

        name = d.pop("name")

        price = d.pop("price")

        available = d.pop("available")

        availability = Availability(d.pop("availability"))

        is_active = d.pop("is_active")

        def _parse_limit_per_account(data: object) -> int | None:
            if data is None:
                return data
            return cast(int | None, data)

        limit_per_account = _parse_limit_per_account(d.pop("limit_per_account"))

        product_body = cls(
            id=id,
            sku=sku,
            name=name,
            price=price,
            available=available,
            availability=availability,
            is_active=is_active,
            limit_per_account=limit_per_account,
        )

        product_body.additional_properties = d
        return product_body

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
