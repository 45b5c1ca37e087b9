from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, TypeVar, cast

from attrs import define as _attrs_define

from ..models.change_sale_input_admission_type_0 import ChangeSaleInputAdmissionType0
from ..types import UNSET, Unset

T = TypeVar("T", bound="ChangeSaleInput")


@_attrs_define
class ChangeSaleInput:
    """Only the given fields change; `products` replaces all of them.

    Attributes:
        name (None | str | Unset):
        products (list[int] | None | Unset):
        opens_at (datetime.datetime | None | Unset):
        closes_at (datetime.datetime | None | Unset):
        admission (ChangeSaleInputAdmissionType0 | None | Unset):
        rate_per_minute (int | None | Unset):
        admitted_for_seconds (int | None | Unset):
    """

    name: None | str | Unset = UNSET
    products: list[int] | None | Unset = UNSET
    opens_at: datetime.datetime | None | Unset = UNSET
    closes_at: datetime.datetime | None | Unset = UNSET
    admission: ChangeSaleInputAdmissionType0 | None | Unset = UNSET
    rate_per_minute: int | None | Unset = UNSET
    admitted_for_seconds: int | None | Unset = UNSET

    def to_dict(self) -> dict[str, Any]:
        name: None | str | Unset
        if isinstance(self.name, Unset):
            name = UNSET
        else:
            name = self.name

        products: list[int] | None | Unset
        if isinstance(self.products, Unset):
            products = UNSET
        elif isinstance(self.products, list):
            products = self.products

        else:
            products = self.products

        opens_at: None | str | Unset
        if isinstance(self.opens_at, Unset):
            opens_at = UNSET
        elif isinstance(self.opens_at, datetime.datetime):
            opens_at = self.opens_at.isoformat()
        else:
            opens_at = self.opens_at

        closes_at: None | str | Unset
        if isinstance(self.closes_at, Unset):
            closes_at = UNSET
        elif isinstance(self.closes_at, datetime.datetime):
            closes_at = self.closes_at.isoformat()
        else:
            closes_at = self.closes_at

        admission: None | str | Unset
        if isinstance(self.admission, Unset):
            admission = UNSET
        elif isinstance(self.admission, ChangeSaleInputAdmissionType0):
            admission = self.admission.value
        else:
            admission = self.admission

        rate_per_minute: int | None | Unset
        if isinstance(self.rate_per_minute, Unset):
            rate_per_minute = UNSET
        else:
            rate_per_minute = self.rate_per_minute

        admitted_for_seconds: int | None | Unset
        if isinstance(self.admitted_for_seconds, Unset):
            admitted_for_seconds = UNSET
        else:
            admitted_for_seconds = self.admitted_for_seconds

        field_dict: dict[str, Any] = {}

        field_dict.update({})
        if name is not UNSET:
            field_dict["name"] = name
        if products is not UNSET:
            field_dict["products"] = products
        if opens_at is not UNSET:
            field_dict["opens_at"] = opens_at
        if closes_at is not UNSET:
            field_dict["closes_at"] = closes_at
        if admission is not UNSET:
            field_dict["admission"] = admission
        if rate_per_minute is not UNSET:
            field_dict["rate_per_minute"] = rate_per_minute
        if admitted_for_seconds is not UNSET:
            field_dict["admitted_for_seconds"] = admitted_for_seconds

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)

        def _parse_name(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        name = _parse_name(d.pop("name", UNSET))

        def _parse_products(data: object) -> list[int] | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, list):
                    raise TypeError()
                products_type_0 = cast(list[int], data)

                return products_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(list[int] | None | Unset, data)

        products = _parse_products(d.pop("products", UNSET))

        def _parse_opens_at(data: object) -> datetime.datetime | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                opens_at_type_0 = datetime.datetime.fromisoformat(data)

                return opens_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None | Unset, data)

        opens_at = _parse_opens_at(d.pop("opens_at", UNSET))

        def _parse_closes_at(data: object) -> datetime.datetime | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                closes_at_type_0 = datetime.datetime.fromisoformat(data)

                return closes_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None | Unset, data)

        closes_at = _parse_closes_at(d.pop("closes_at", UNSET))

        def _parse_admission(data: object) -> ChangeSaleInputAdmissionType0 | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                admission_type_0 = ChangeSaleInputAdmissionType0(data)

                return admission_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(ChangeSaleInputAdmissionType0 | None | Unset, data)

        admission = _parse_admission(d.pop("admission", UNSET))

        def _parse_rate_per_minute(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        rate_per_minute = _parse_rate_per_minute(d.pop("rate_per_minute", UNSET))

        def _parse_admitted_for_seconds(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        admitted_for_seconds = _parse_admitted_for_seconds(d.pop("admitted_for_seconds", UNSET))

        change_sale_input = cls(
            name=name,
            products=products,
            opens_at=opens_at,
            closes_at=closes_at,
            admission=admission,
            rate_per_minute=rate_per_minute,
            admitted_for_seconds=admitted_for_seconds,
        )

        return change_sale_input
