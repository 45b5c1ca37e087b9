from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..models.sale_body_admission import SaleBodyAdmission
from ..models.sale_body_status import SaleBodyStatus

T = TypeVar("T", bound="SaleBody")


@_attrs_define
class SaleBody:
    """`seed` is null until the sale opens.

    Attributes:
        id (int):
        name (str):
        products (list[int]):
        opens_at (datetime.datetime):
        closes_at (datetime.datetime):
        admission (SaleBodyAdmission):
        rate_per_minute (int):
        admitted_for_seconds (int):
        seed_hash (str):
        seed (None | str):
        status (SaleBodyStatus):
    """

    id: int
    name: str
    products: list[int]
    opens_at: datetime.datetime
    closes_at: datetime.datetime
    admission: SaleBodyAdmission
    rate_per_minute: int
    admitted_for_seconds: int
    seed_hash: str
    seed: None | str
    status: SaleBodyStatus
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        id = self.id

        name = self.name

        products = self.products

        opens_at = self.opens_at.isoformat()

        closes_at = self.closes_at.isoformat()

        admission = self.admission.value

        rate_per_minute = self.rate_per_minute

        admitted_for_seconds = self.admitted_for_seconds

        seed_hash = self.seed_hash

        seed: None | str
        seed = self.seed

        status = self.status.value

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "id": id,
                "name": name,
                "products": products,
                "opens_at": opens_at,
                "closes_at": closes_at,
                "admission": admission,
                "rate_per_minute": rate_per_minute,
                "admitted_for_seconds": admitted_for_seconds,
                "seed_hash": seed_hash,
                "seed": seed,
                "status": status,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        id = d.pop("id")

        name = d.pop("name")

        products = cast(list[int], d.pop("products"))

        opens_at = datetime.datetime.fromisoformat(d.pop("opens_at"))

        closes_at = datetime.datetime.fromisoformat(d.pop("closes_at"))

        admission = SaleBodyAdmission(d.pop("admission"))

        rate_per_minute = d.pop("rate_per_minute")

        admitted_for_seconds = d.pop("admitted_for_seconds")

        seed_hash = d.pop("seed_hash")

        def _parse_seed(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        seed = _parse_seed(d.pop("seed"))

        status = SaleBodyStatus(d.pop("status"))

        sale_body = cls(
            id=id,
            name=name,
            products=products,
            opens_at=opens_at,
            closes_at=closes_at,
            admission=admission,
            rate_per_minute=rate_per_minute,
            admitted_for_seconds=admitted_for_seconds,
            seed_hash=seed_hash,
            seed=seed,
            status=status,
        )

        sale_body.additional_properties = d
        return sale_body

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
