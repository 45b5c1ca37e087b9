from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, TypeVar, cast

from attrs import define as _attrs_define

from ..models.create_sale_input_admission_type_0 import CreateSaleInputAdmissionType0
from ..types import UNSET, Unset

T = TypeVar("T", bound="CreateSaleInput")


@_attrs_define
class CreateSaleInput:
    """With `admission` `queue` at most `rate_per_minute` accounts are admitted in any 60 seconds.

    Each has `admitted_for_seconds` to order.

        Attributes:
            name (str):
            products (list[int]):
            opens_at (datetime.datetime):
            closes_at (datetime.datetime):
            admission (CreateSaleInputAdmissionType0 | None | Unset): `"open"` if it is absent.
            rate_per_minute (int | None | Unset): `600` if it is absent.
            admitted_for_seconds (int | None | Unset): `300` if it is absent.
    """

    name: str
    products: list[int]
    opens_at: datetime.datetime
    closes_at: datetime.datetime
    admission: CreateSaleInputAdmissionType0 | None | Unset = UNSET
    rate_per_minute: int | None | Unset = UNSET
    admitted_for_seconds: int | None | Unset = UNSET

    def to_dict(self) -> dict[str, Any]:
        name = self.name

        products = self.products

        opens_at = self.opens_at.isoformat()

        closes_at = self.closes_at.isoformat()

        admission: None | str | Unset
        if isinstance(self.admission, Unset):
            admission = UNSET
        elif isinstance(self.admission, CreateSaleInputAdmissionType0):
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

        field_dict.update(
            {
                "name": name,
                "products": products,
                "opens_at": opens_at,
                "closes_at": closes_at,
            }
        )
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
        name = d.pop("name")

        products = cast(list[int], d.pop("products"))

        opens_at = datetime.datetime.fromisoformat(d.pop("opens_at"))

        closes_at = datetime.datetime.fromisoformat(d.pop("closes_at"))

        def _parse_admission(data: object) -> CreateSaleInputAdmissionType0 | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                admission_type_0 = CreateSaleInputAdmissionType0(data)

                return admission_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(CreateSaleInputAdmissionType0 | None | Unset, data)

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

        create_sale_input = cls(
            name=name,
            products=products,
            opens_at=opens_at,
            closes_at=closes_at,
            admission=admission,
            rate_per_minute=rate_per_minute,
            admitted_for_seconds=admitted_for_seconds,
        )

        return create_sale_input
