from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..models.discount_body_type import DiscountBodyType

T = TypeVar("T", bound="DiscountBody")


@_attrs_define
class DiscountBody:
    """
    Attributes:
        type_ (DiscountBodyType):
        value (int):
        min_order_amount (int):
        max_discount_amount (int | None):
    """

    type_: DiscountBodyType
    value: int
    min_order_amount: int
    max_discount_amount: int | None
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        type_ = self.type_.value

        value = self.value

        min_order_amount = self.min_order_amount

        max_discount_amount: int | None
        max_discount_amount = self.max_discount_amount

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "type": type_,
                "value": value,
                "min_order_amount": min_order_amount,
                "max_discount_amount": max_discount_amount,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        type_ = DiscountBodyType(d.pop("type"))

        value = d.pop("value")

        min_order_amount = d.pop("min_order_amount")

        def _parse_max_discount_amount(data: object) -> int | None:
            if data is None:
                return data
            return cast(int | None, data)

        max_discount_amount = _parse_max_discount_amount(d.pop("max_discount_amount"))

        discount_body = cls(
            type_=type_,
            value=value,
            min_order_amount=min_order_amount,
            max_discount_amount=max_discount_amount,
        )

        discount_body.additional_properties = d
        return discount_body

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
