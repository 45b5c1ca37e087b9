from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, cast
from uuid import UUID

from attrs import define as _attrs_define

from ..types import UNSET, Unset

T = TypeVar("T", bound="PayInput")


@_attrs_define
class PayInput:
    """
    Attributes:
        order (UUID):
        token (None | str | Unset):
        keep_on_decline (bool | None | Unset): A refused card leaves the order `awaiting_payment` until `expires_at`, to
            be paid with another one by `POST /payments`; the response is 402 all the same. `false` if it is absent.
    """

    order: UUID
    token: None | str | Unset = UNSET
    keep_on_decline: bool | None | Unset = UNSET

    def to_dict(self) -> dict[str, Any]:
        order = str(self.order)

        token: None | str | Unset
        if isinstance(self.token, Unset):
            token = UNSET
        else:
            token = self.token

        keep_on_decline: bool | None | Unset
        if isinstance(self.keep_on_decline, Unset):
            keep_on_decline = UNSET
        else:
            keep_on_decline = self.keep_on_decline

        field_dict: dict[str, Any] = {}

        field_dict.update(
            {
                "order": order,
            }
        )
        if token is not UNSET:
            field_dict["token"] = token
        if keep_on_decline is not UNSET:
            field_dict["keep_on_decline"] = keep_on_decline

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        order = UUID(d.pop("order"))

        def _parse_token(data: object) -> None | str | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(None | str | Unset, data)

        token = _parse_token(d.pop("token", UNSET))

        def _parse_keep_on_decline(data: object) -> bool | None | Unset:
            if data is None:
                return data
            if isinstance(data, Unset):
                return data
            return cast(bool | None | Unset, data)

        keep_on_decline = _parse_keep_on_decline(d.pop("keep_on_decline", UNSET))

        pay_input = cls(
            order=order,
            token=token,
            keep_on_decline=keep_on_decline,
        )

        return pay_input
