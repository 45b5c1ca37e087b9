from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, cast

from attrs import define as _attrs_define

from ..models.change_discount_input_type_type_0 import ChangeDiscountInputTypeType0
from ..types import UNSET, Unset

T = TypeVar("T", bound="ChangeDiscountInput")


@_attrs_define
class ChangeDiscountInput:
    """Only the given fields change.

    Attributes:
        type_ (ChangeDiscountInputTypeType0 | None | Unset):
        value (int | None | Unset):
        min_order_amount (int | None | Unset):
        max_discount_amount (int | None | Unset):
    """

    type_: ChangeDiscountInputTypeType0 | None | Unset = UNSET
    value: int | None | Unset = UNSET
    min_order_amount: int | None | Unset = UNSET
    max_discount_amount: int | None | Unset = UNSET

    def to_dict(self) -> dict[str, Any]:
        type_: None | str | Unset
        if isinstance(self.type_, Unset):
            type_ = UNSET
        elif isinstance(self.type_, ChangeDiscountInputTypeType0):
            type_ = self.type_.value
        else:
            type_ = self.type_

        value: int | None | Unset
        if isinstance(self.value, Unset):
            value = UNSET
        else:
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

        field_dict.update({})
        if type_ is not UNSET:
            field_dict["type"] = type_
        if value is not UNSET:
            field_dict["value"] = value
        if min_order_amount is not UNSET:
            field_dict["min_order_amount"] = min_order_amount
        if max_discount_amount is not UNSET:
            field_dict["max_discount_amount"] = max_discount_amount

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)

        def _parse_type_(data: object) -> ChangeDiscountInputTypeType0 | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                type_type_0 = ChangeDiscountInputTypeType0(data)

                return type_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(ChangeDiscountInputTypeType0 | None | Unset, data)

        type_ = _parse_type_(d.pop("type", UNSET))

        def _parse_value(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        value = _parse_value(d.pop("value", UNSET))

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

        change_discount_input = cls(
            type_=type_,
            value=value,
            min_order_amount=min_order_amount,
            max_discount_amount=max_discount_amount,
        )

        return change_discount_input
