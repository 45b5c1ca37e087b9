from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, cast

from attrs import define as _attrs_define

from ..models.discount_input_type import DiscountInputType
from ..types import UNSET, Unset

T = TypeVar("T", bound="DiscountInput")


@_attrs_define
class DiscountInput:
    """`value` is an amount, or a percentage of 1 to 100.

    Attributes:
        type_ (DiscountInputType):
        value (int):
        min_order_amount (int | None | Unset): `0` if it is absent.
        max_discount_amount (int | None | Unset):
    """

    type_: DiscountInputType
    value: int
    min_order_amount: int | None | Unset = UNSET
    max_discount_amount: int | None | Unset = UNSET

    def to_dict(self) -> dict[str, Any]:
        type_ = self.type_.value

        value = self.value

        min_order_amount: int | None | Unset
        if isinstance(self.min_order_amount, Unset):
            min_order_amount = UNSET
        else:
            min_order_amount = self.min_order_amount

        max_discount_amount: int | None | Unset
        if isinstance(self.max_discount_amount, Unset):
            max_discount_amount = UNSET
        else:
            max_discount_amount = self.max_discount_amount

        field_dict: dict[str, Any] = {}

        field_dict.update(
            {
                "type": type_,
                "value": value,
            }
        )
        if min_order_amount is not UNSET:
            field_dict["min_order_amount"] = min_order_amount
        if max_discount_amount is not UNSET:
            field_dict["max_discount_amount"] = max_discount_amount

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        type_ = DiscountInputType(d.pop("type"))

        value = d.pop("value")

        def _parse_min_order_amount(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        min_order_amount = _parse_min_order_amount(d.pop("min_order_amount", UNSET))

        def _parse_max_discount_amount(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        max_discount_amount = _parse_max_discount_amount(d.pop("max_discount_amount", UNSET))

        discount_input = cls(
            type_=type_,
            value=value,
            min_order_amount=min_order_amount,
            max_discount_amount=max_discount_amount,
        )

        return discount_input
