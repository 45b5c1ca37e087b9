from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, cast

from attrs import define as _attrs_define

from ..types import UNSET, Unset

T = TypeVar("T", bound="CreateProductInput")


@_attrs_define
class CreateProductInput:
    """
    Attributes:
        sku (str):
        name (str):
        price (int):
        is_active (bool | None | Unset): `true` if it is absent.
        low_stock_threshold (int | None | Unset):
        limit_per_account (int | None | Unset):
    """

    sku: str
    name: str
    price: int
    is_active: bool | None | Unset = UNSET
    low_stock_threshold: int | None | Unset = UNSET
    limit_per_account: int | None | Unset = UNSET

    def to_dict(self) -> dict[str, Any]:
        sku = self.sku

        name = self.name

        price = self.price

        is_active: bool | None | Unset
        if isinstance(self.is_active, Unset):
            is_active = UNSET
        else:
            is_active = self.is_active

        low_stock_threshold: int | None | Unset
        if isinstance(self.low_stock_threshold, Unset):
            low_stock_threshold = UNSET
        else:
            low_stock_threshold = self.low_stock_threshold

        limit_per_account: int | None | Unset
        if isinstance(self.limit_per_account, Unset):
            limit_per_account = UNSET
        else:
            limit_per_account = self.limit_per_account

        field_dict: dict[str, Any] = {}

        field_dict.update(
            {
                "sku": sku,
                "name": name,
                "price": price,
            }
        )
        if is_active is not UNSET:
            field_dict["is_active"] = is_active
        if low_stock_threshold is not UNSET:
            field_dict["low_stock_threshold"] = low_stock_threshold
        if limit_per_account is not UNSET:
            field_dict["limit_per_account"] = limit_per_account

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        sku = d.pop("sku")

        name = d.pop("name")

        price = d.pop("price")

        def _parse_is_active(data: object) -> bool | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(bool | None | Unset, data)

        is_active = _parse_is_active(d.pop("is_active", UNSET))

        def _parse_low_stock_threshold(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        low_stock_threshold = _parse_low_stock_threshold(d.pop("low_stock_threshold", UNSET))

        def _parse_limit_per_account(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        limit_per_account = _parse_limit_per_account(d.pop("limit_per_account", UNSET))

        create_product_input = cls(
            sku=sku,
            name=name,
            price=price,
            is_active=is_active,
            low_stock_threshold=low_stock_threshold,
            limit_per_account=limit_per_account,
        )

        return create_product_input
