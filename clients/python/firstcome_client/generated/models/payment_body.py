from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast
from uuid import UUID

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..models.payment_body_status import PaymentBodyStatus

if TYPE_CHECKING:
    from ..models.dispute_body import DisputeBody
    from ..models.failure_body import FailureBody
    from ..models.next_action_body import NextActionBody


T = TypeVar("T", bound="PaymentBody")


@_attrs_define
class PaymentBody:
    """
    Attributes:
        id (UUID):
        order (None | UUID):
        status (PaymentBodyStatus):
        points_amount (int):
        card_amount (int):
        failure (FailureBody | None):
        dispute (DisputeBody | None):
        created_at (datetime.datetime):
        next_action (NextActionBody | None):
    """

    id: UUID
    order: None | UUID
    status: PaymentBodyStatus
    points_amount: int
    card_amount: int
    failure: FailureBody | None
    dispute: DisputeBody | None
    created_at: datetime.datetime
    next_action: NextActionBody | None
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        from ..models.dispute_body import DisputeBody  # noqa: PLC0415
        from ..models.failure_body import FailureBody  # noqa: PLC0415
        from ..models.next_action_body import NextActionBody  # noqa: PLC0415

        id = str(self.id)

        order: None | str
        if isinstance(self.order, UUID):
            order = str(self.order)
        else:
            order = self.order

        status = self.status.value

        points_amount = self.points_amount

        card_amount = self.card_amount

        failure: dict[str, Any] | None
        if isinstance(self.failure, FailureBody):
            failure = self.failure.to_dict()
        else:
            failure = self.failure

        dispute: dict[str, Any] | None
        if isinstance(self.dispute, DisputeBody):
            dispute = self.dispute.to_dict()
        else:
            dispute = self.dispute

        created_at = self.created_at.isoformat()

        next_action: dict[str, Any] | None
        if isinstance(self.next_action, NextActionBody):
            next_action = self.next_action.to_dict()
        else:
            next_action = self.next_action

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "id": id,
                "order": order,
                "status": status,
                "points_amount": points_amount,
                "card_amount": card_amount,
                "failure": failure,
                "dispute": dispute,
                "created_at": created_at,
                "next_action": next_action,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.dispute_body import DisputeBody  # noqa: PLC0415
        from ..models.failure_body import FailureBody  # noqa: PLC0415
        from ..models.next_action_body import NextActionBody  # noqa: PLC0415

        d = dict(src_dict)
        id = UUID(d.pop("id"))

        def _parse_order(data: object) -> None | UUID:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                order_type_0 = UUID(data)

                return order_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(None | UUID, data)

        order = _parse_order(d.pop("order"))

        status = PaymentBodyStatus(d.pop("status"))

        points_amount = d.pop("points_amount")

        card_amount = d.pop("card_amount")

        def _parse_failure(data: object) -> FailureBody | None:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                failure_type_0 = FailureBody.from_dict(data)

                return failure_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(FailureBody | None, data)

        failure = _parse_failure(d.pop("failure"))

        def _parse_dispute(data: object) -> DisputeBody | None:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                dispute_type_0 = DisputeBody.from_dict(data)

                return dispute_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(DisputeBody | None, data)

        dispute = _parse_dispute(d.pop("dispute"))

        created_at = datetime.datetime.fromisoformat(d.pop("created_at"))

        def _parse_next_action(data: object) -> NextActionBody | None:
            if data is None:
                return data
            try:
                if not isinstance(data, dict):
                    raise TypeError()
                next_action_type_0 = NextActionBody.from_dict(data)

                return next_action_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(NextActionBody | None, data)

        next_action = _parse_next_action(d.pop("next_action"))

        payment_body = cls(
            id=id,
            order=order,
            status=status,
            points_amount=points_amount,
            card_amount=card_amount,
            failure=failure,
            dispute=dispute,
            created_at=created_at,
            next_action=next_action,
        )

        payment_body.additional_properties = d
        return payment_body

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
