from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from attrs import define as _attrs_define

from ..models.create_campaign_input_code_source_type_0 import CreateCampaignInputCodeSourceType0
from ..models.create_campaign_input_eligible_type_0 import CreateCampaignInputEligibleType0
from ..models.create_campaign_input_strategy_type_0 import CreateCampaignInputStrategyType0
from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.discount_input import DiscountInput


T = TypeVar("T", bound="CreateCampaignInput")


@_attrs_define
class CreateCampaignInput:
    """Without `opens_at` it opens at once, without `closes_at` it stays open.

    `shared_code` is for the code source `shared`, which demands it. The discount counts over the lines of
    `products` alone; with an empty list it counts over all lines.

        Attributes:
            name (str):
            quantity (int):
            discount (DiscountInput): `value` is an amount, or a percentage of 1 to 100.
            strategy (CreateCampaignInputStrategyType0 | None | Unset): `"group_commit"` if it is absent.
            opens_at (datetime.datetime | None | Unset):
            closes_at (datetime.datetime | None | Unset):
            code_source (CreateCampaignInputCodeSourceType0 | None | Unset): `"generated"` if it is absent.
            shared_code (None | str | Unset):
            partner (None | str | Unset):
            coupon_valid_for_days (int | None | Unset): `30` if it is absent.
            products (list[int] | None | Unset): `[]` if it is absent.
            first_order_only (bool | None | Unset): `false` if it is absent.
            eligible (CreateCampaignInputEligibleType0 | None | Unset): `"all"` if it is absent.
    """

    name: str
    quantity: int
    discount: DiscountInput
    strategy: CreateCampaignInputStrategyType0 | None | Unset = UNSET
    opens_at: datetime.datetime | None | Unset = UNSET
    closes_at: datetime.datetime | None | Unset = UNSET
    code_source: CreateCampaignInputCodeSourceType0 | None | Unset = UNSET
    shared_code: None | str | Unset = UNSET
    partner: None | str | Unset = UNSET
    coupon_valid_for_days: int | None | Unset = UNSET
    products: list[int] | None | Unset = UNSET
    first_order_only: bool | None | Unset = UNSET
    eligible: CreateCampaignInputEligibleType0 | None | Unset = UNSET

    def to_dict(self) -> dict[str, Any]:
        name = self.name

        quantity = self.quantity

        discount = self.discount.to_dict()

        strategy: None | str | Unset
        if isinstance(self.strategy, Unset):
            strategy = UNSET
        elif isinstance(self.strategy, CreateCampaignInputStrategyType0):
            strategy = self.strategy.value
        else:
            strategy = self.strategy

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

        code_source: None | str | Unset
        if isinstance(self.code_source, Unset):
            code_source = UNSET
        elif isinstance(self.code_source, CreateCampaignInputCodeSourceType0):
            code_source = self.code_source.value
        else:
            code_source = self.code_source

        shared_code: None | str | Unset
        if isinstance(self.shared_code, Unset):
            shared_code = UNSET
        else:
            shared_code = self.shared_code

        partner: None | str | Unset
        if isinstance(self.partner, Unset):
            partner = UNSET
        else:
            partner = self.partner

        coupon_valid_for_days: int | None | Unset
        if isinstance(self.coupon_valid_for_days, Unset):
            coupon_valid_for_days = UNSET
        else:
            coupon_valid_for_days = self.coupon_valid_for_days

        products: list[int] | None | Unset
        if isinstance(self.products, Unset):
            products = UNSET
        elif isinstance(self.products, list):
            products = self.products

        else:
            products = self.products

        first_order_only: bool | None | Unset
        if isinstance(self.first_order_only, Unset):
            first_order_only = UNSET
        else:
            first_order_only = self.first_order_only

        eligible: None | str | Unset
        if isinstance(self.eligible, Unset):
            eligible = UNSET
        elif isinstance(self.eligible, CreateCampaignInputEligibleType0):
            eligible = self.eligible.value
        else:
            eligible = self.eligible

        field_dict: dict[str, Any] = {}

        field_dict.update(
            {
                "name": name,
                "quantity": quantity,
                "discount": discount,
            }
        )
        if strategy is not UNSET:
            field_dict["strategy"] = strategy
        if opens_at is not UNSET:
            field_dict["opens_at"] = opens_at
        if closes_at is not UNSET:
            field_dict["closes_at"] = closes_at
        if code_source is not UNSET:
            field_dict["code_source"] = code_source
        if shared_code is not UNSET:
            field_dict["shared_code"] = shared_code
        if partner is not UNSET:
            field_dict["partner"] = partner
        if coupon_valid_for_days is not UNSET:
            field_dict["coupon_valid_for_days"] = coupon_valid_for_days
        if products is not UNSET:
            field_dict["products"] = products
        if first_order_only is not UNSET:
            field_dict["first_order_only"] = first_order_only
        if eligible is not UNSET:
            field_dict["eligible"] = eligible

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.discount_input import DiscountInput  # noqa: PLC0415

        d = dict(src_dict)
        name = d.pop("name")

        quantity = d.pop("quantity")

        discount = DiscountInput.from_dict(d.pop("discount"))

        def _parse_strategy(data: object) -> CreateCampaignInputStrategyType0 | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                strategy_type_0 = CreateCampaignInputStrategyType0(data)

                return strategy_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(CreateCampaignInputStrategyType0 | None | Unset, data)

        strategy = _parse_strategy(d.pop("strategy", UNSET))

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

        def _parse_code_source(data: object) -> CreateCampaignInputCodeSourceType0 | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                code_source_type_0 = CreateCampaignInputCodeSourceType0(data)

                return code_source_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(CreateCampaignInputCodeSourceType0 | None | Unset, data)

        code_source = _parse_code_source(d.pop("code_source", UNSET))

        def _parse_shared_code(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        shared_code = _parse_shared_code(d.pop("shared_code", UNSET))

        def _parse_partner(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        partner = _parse_partner(d.pop("partner", UNSET))

        def _parse_coupon_valid_for_days(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        coupon_valid_for_days = _parse_coupon_valid_for_days(d.pop("coupon_valid_for_days", UNSET))

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

        def _parse_first_order_only(data: object) -> bool | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(bool | None | Unset, data)

        first_order_only = _parse_first_order_only(d.pop("first_order_only", UNSET))

        def _parse_eligible(data: object) -> CreateCampaignInputEligibleType0 | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                eligible_type_0 = CreateCampaignInputEligibleType0(data)

                return eligible_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(CreateCampaignInputEligibleType0 | None | Unset, data)

        eligible = _parse_eligible(d.pop("eligible", UNSET))

        create_campaign_input = cls(
            name=name,
            quantity=quantity,
            discount=discount,
            strategy=strategy,
            opens_at=opens_at,
            closes_at=closes_at,
            code_source=code_source,
            shared_code=shared_code,
            partner=partner,
            coupon_valid_for_days=coupon_valid_for_days,
            products=products,
            first_order_only=first_order_only,
            eligible=eligible,
        )

        return create_campaign_input
