from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from attrs import define as _attrs_define

from ..models.change_campaign_input_code_source_type_0 import ChangeCampaignInputCodeSourceType0
from ..models.change_campaign_input_eligible_type_0 import ChangeCampaignInputEligibleType0
from ..models.change_campaign_input_strategy_type_0 import ChangeCampaignInputStrategyType0
from ..types import UNSET, Unset

if TYPE_CHECKING:
    from ..models.change_discount_input import ChangeDiscountInput


T = TypeVar("T", bound="ChangeCampaignInput")


@_attrs_define
class ChangeCampaignInput:
    """Only the given fields change; `products: []` has the discount count over all lines again.

    Attributes:
        name (None | str | Unset):
        strategy (ChangeCampaignInputStrategyType0 | None | Unset):
        quantity (int | None | Unset):
        opens_at (datetime.datetime | None | Unset):
        closes_at (datetime.datetime | None | Unset):
        code_source (ChangeCampaignInputCodeSourceType0 | None | Unset):
        shared_code (None | str | Unset):
        partner (None | str | Unset):
        discount (ChangeDiscountInput | None | Unset):
        coupon_valid_for_days (int | None | Unset):
        products (list[int] | None | Unset):
        first_order_only (bool | None | Unset):
        eligible (ChangeCampaignInputEligibleType0 | None | Unset):
    """

    name: None | str | Unset = UNSET
    strategy: ChangeCampaignInputStrategyType0 | None | Unset = UNSET
    quantity: int | None | Unset = UNSET
    opens_at: datetime.datetime | None | Unset = UNSET
    closes_at: datetime.datetime | None | Unset = UNSET
    code_source: ChangeCampaignInputCodeSourceType0 | None | Unset = UNSET
    shared_code: None | str | Unset = UNSET
    partner: None | str | Unset = UNSET
    discount: ChangeDiscountInput | None | Unset = UNSET
    coupon_valid_for_days: int | None | Unset = UNSET
    products: list[int] | None | Unset = UNSET
    first_order_only: bool | None | Unset = UNSET
    eligible: ChangeCampaignInputEligibleType0 | None | Unset = UNSET

    def to_dict(self) -> dict[str, Any]:
        from ..models.change_discount_input import ChangeDiscountInput  # noqa: PLC0415

        name: None | str | Unset
        if isinstance(self.name, Unset):
            name = UNSET
        else:
            name = self.name

        strategy: None | str | Unset
        if isinstance(self.strategy, Unset):
            strategy = UNSET
        elif isinstance(self.strategy, ChangeCampaignInputStrategyType0):
            strategy = self.strategy.value
        else:
            strategy = self.strategy

        quantity: int | None | Unset
        if isinstance(self.quantity, Unset):
            quantity = UNSET
        else:
            quantity = self.quantity

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
        elif isinstance(self.code_source, ChangeCampaignInputCodeSourceType0):
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

        discount: dict[str, Any] | None | Unset
        if isinstance(self.discount, Unset):
            discount = UNSET
        elif isinstance(self.discount, ChangeDiscountInput):
            discount = self.discount.to_dict()
        else:
            discount = self.discount

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
        elif isinstance(self.eligible, ChangeCampaignInputEligibleType0):
            eligible = self.eligible.value
        else:
            eligible = self.eligible

        field_dict: dict[str, Any] = {}

        field_dict.update({})
        if name is not UNSET:
            field_dict["name"] = name
        if strategy is not UNSET:
            field_dict["strategy"] = strategy
        if quantity is not UNSET:
            field_dict["quantity"] = quantity
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
        if discount is not UNSET:
            field_dict["discount"] = discount
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
        from ..models.change_discount_input import ChangeDiscountInput  # noqa: PLC0415

        d = dict(src_dict)

        def _parse_name(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        name = _parse_name(d.pop("name", UNSET))

        def _parse_strategy(data: object) -> ChangeCampaignInputStrategyType0 | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                strategy_type_0 = ChangeCampaignInputStrategyType0(data)

                return strategy_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(ChangeCampaignInputStrategyType0 | None | Unset, data)

        strategy = _parse_strategy(d.pop("strategy", UNSET))

        def _parse_quantity(data: object) -> int | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(int | None | Unset, data)

        quantity = _parse_quantity(d.pop("quantity", UNSET))

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

        def _parse_code_source(data: object) -> ChangeCampaignInputCodeSourceType0 | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                code_source_type_0 = ChangeCampaignInputCodeSourceType0(data)

                return code_source_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(ChangeCampaignInputCodeSourceType0 | None | Unset, data)

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

        def _parse_discount(data: object) -> ChangeDiscountInput | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                discount_type_0 = ChangeDiscountInput.from_dict(data)

                return discount_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(ChangeDiscountInput | None | Unset, data)

        discount = _parse_discount(d.pop("discount", UNSET))

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

        def _parse_eligible(data: object) -> ChangeCampaignInputEligibleType0 | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                eligible_type_0 = ChangeCampaignInputEligibleType0(data)

                return eligible_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(ChangeCampaignInputEligibleType0 | None | Unset, data)

        eligible = _parse_eligible(d.pop("eligible", UNSET))

        change_campaign_input = cls(
            name=name,
            strategy=strategy,
            quantity=quantity,
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
        )

        return change_campaign_input
