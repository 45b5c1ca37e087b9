from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..models.campaign_body_code_source import CampaignBodyCodeSource
from ..models.campaign_body_eligible import CampaignBodyEligible
from ..models.campaign_body_status import CampaignBodyStatus
from ..models.campaign_body_strategy import CampaignBodyStrategy

if TYPE_CHECKING:
    from ..models.discount_body import DiscountBody


T = TypeVar("T", bound="CampaignBody")


@_attrs_define
class CampaignBody:
    """`remaining` is how many coupons can still be issued: with a pool, no more than it has codes.

    So a campaign whose pool is smaller than its `quantity` is `sold_out` after its last code, and open again
    once codes are added. While staff have paused it, its `status` is `paused` unless it is `closed`. Only
    staff see the `shared_code`, which is null for everyone else. Without `products` the discount counts over
    all lines of an order, else over the lines of these products, and so does its `min_order_amount`.

        Attributes:
            id (int):
            name (str):
            strategy (CampaignBodyStrategy):
            quantity (int):
            issued (int):
            remaining (int):
            opens_at (datetime.datetime):
            closes_at (datetime.datetime | None):
            code_source (CampaignBodyCodeSource):
            shared_code (None | str):
            partner (None | str):
            discount (DiscountBody):
            coupon_valid_for_days (int):
            products (list[int]):
            first_order_only (bool):
            eligible (CampaignBodyEligible):
            status (CampaignBodyStatus):
    """

    id: int
    name: str
    strategy: CampaignBodyStrategy
    quantity: int
    issued: int
    remaining: int
    opens_at: datetime.datetime
    closes_at: datetime.datetime | None
    code_source: CampaignBodyCodeSource
    shared_code: None | str
    partner: None | str
    discount: DiscountBody
    coupon_valid_for_days: int
    products: list[int]
    first_order_only: bool
    eligible: CampaignBodyEligible
    status: CampaignBodyStatus
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        id = self.id

        name = self.name

        strategy = self.strategy.value

        quantity = self.quantity

        issued = self.issued

        remaining = self.remaining

        opens_at = self.opens_at.isoformat()

        closes_at: None | str
        if isinstance(self.closes_at, datetime.datetime):
            closes_at = self.closes_at.isoformat()
        else:
            closes_at = self.closes_at

        code_source = self.code_source.value

        shared_code: None | str
        shared_code = self.shared_code

        partner: None | str
        partner = self.partner

        discount = self.discount.to_dict()

        coupon_valid_for_days = self.coupon_valid_for_days

        products = self.products

        first_order_only = self.first_order_only

        eligible = self.eligible.value

        status = self.status.value

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "id": id,
                "name": name,
                "strategy": strategy,
                "quantity": quantity,
                "issued": issued,
                "remaining": remaining,
                "opens_at": opens_at,
                "closes_at": closes_at,
                "code_source": code_source,
                "shared_code": shared_code,
                "partner": partner,
                "discount": discount,
                "coupon_valid_for_days": coupon_valid_for_days,
                "products": products,
                "first_order_only": first_order_only,
                "eligible": eligible,
                "status": status,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.discount_body import DiscountBody  # noqa: PLC0415

        d = dict(src_dict)
        id = d.pop("id")

        name = d.pop("name")

        strategy = CampaignBodyStrategy(d.pop("strategy"))

        quantity = d.pop("quantity")

        issued = d.pop("issued")

        remaining = d.pop("remaining")

        opens_at = datetime.datetime.fromisoformat(d.pop("opens_at"))

        def _parse_closes_at(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                closes_at_type_0 = datetime.datetime.fromisoformat(data)

                return closes_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        closes_at = _parse_closes_at(d.pop("closes_at"))

        code_source = CampaignBodyCodeSource(d.pop("code_source"))

        def _parse_shared_code(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        shared_code = _parse_shared_code(d.pop("shared_code"))

        def _parse_partner(data: object) -> None | str:
            if data is None:
                return data
            return cast(None | str, data)

        partner = _parse_partner(d.pop("partner"))

        discount = DiscountBody.from_dict(d.pop("discount"))

        coupon_valid_for_days = d.pop("coupon_valid_for_days")

        products = cast(list[int], d.pop("products"))

        first_order_only = d.pop("first_order_only")

        eligible = CampaignBodyEligible(d.pop("eligible"))

        status = CampaignBodyStatus(d.pop("status"))

        campaign_body = cls(
            id=id,
            name=name,
            strategy=strategy,
            quantity=quantity,
            issued=issued,
            remaining=remaining,
            opens_at=opens_at,
            closes_at=closes_at,
            code_source=code_source,
            shared_code=shared_code,
            partner=partner,
            discount=discount,
            coupon_valid_for_days=coupon_valid_for_days,
            products=products,
            first_order_only=first_order_only,
            eligible=eligible,
            status=status,
        )

        campaign_body.additional_properties = d
        return campaign_body

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
