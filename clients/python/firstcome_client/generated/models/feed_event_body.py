from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from attrs import define as _attrs_define
from attrs import field as _attrs_field

if TYPE_CHECKING:
    from ..models.feed_event_body_data import FeedEventBodyData


T = TypeVar("T", bound="FeedEventBody")


@_attrs_define
class FeedEventBody:
    """Something that happened. `data` depends on the type, and may get further members.

    Attributes:
        id (UUID):
        type_ (str):
        at (datetime.datetime):
        data (FeedEventBodyData):
    """

    id: UUID
    type_: str
    at: datetime.datetime
    data: FeedEventBodyData
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        id = str(self.id)

        type_ = self.type_

        at = self.at.isoformat()

        data = self.data.to_dict()

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "id": id,
                "type": type_,
                "at": at,
                "data": data,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        from ..models.feed_event_body_data import FeedEventBodyData  # noqa: PLC0415

        d = dict(src_dict)
        id = UUID(d.pop("id"))

        type_ = d.pop("type")

        at = datetime.datetime.fromisoformat(d.pop("at"))

        data = FeedEventBodyData.from_dict(d.pop("data"))

        feed_event_body = cls(
            id=id,
            type_=type_,
            at=at,
            data=data,
        )

        feed_event_body.additional_properties = d
        return feed_event_body

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
