from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any, TypeVar, cast
from uuid import UUID

from attrs import define as _attrs_define
from attrs import field as _attrs_field

from ..models.new_webhook_endpoint_body_disabled_by_type_0 import NewWebhookEndpointBodyDisabledByType0
from ..models.new_webhook_endpoint_body_kind import NewWebhookEndpointBodyKind

T = TypeVar("T", bound="NewWebhookEndpointBody")


@_attrs_define
class NewWebhookEndpointBody:
    """An endpoint with its new secret, which is shown this once.

    Attributes:
        id (UUID):
        kind (NewWebhookEndpointBodyKind):
        url (str):
        events (list[str]):
        description (str):
        enabled (bool):
        created_at (datetime.datetime):
        failing_since (datetime.datetime | None):
        disabled_at (datetime.datetime | None):
        disabled_by (NewWebhookEndpointBodyDisabledByType0 | None):
        secret (str):
    """

    id: UUID
    kind: NewWebhookEndpointBodyKind
    url: str
    events: list[str]
    description: str
    enabled: bool
    created_at: datetime.datetime
    failing_since: datetime.datetime | None
    disabled_at: datetime.datetime | None
    disabled_by: NewWebhookEndpointBodyDisabledByType0 | None
    secret: str
    additional_properties: dict[str, Any] = _attrs_field(init=False, factory=dict)

    def to_dict(self) -> dict[str, Any]:
        id = str(self.id)

        kind = self.kind.value

        url = self.url

        events = self.events

        description = self.description

        enabled = self.enabled

        created_at = self.created_at.isoformat()

        failing_since: None | str
        if isinstance(self.failing_since, datetime.datetime):
            failing_since = self.failing_since.isoformat()
        else:
            failing_since = self.failing_since

        disabled_at: None | str
        if isinstance(self.disabled_at, datetime.datetime):
            disabled_at = self.disabled_at.isoformat()
        else:
            disabled_at = self.disabled_at

        disabled_by: None | str
        if isinstance(self.disabled_by, NewWebhookEndpointBodyDisabledByType0):
            disabled_by = self.disabled_by.value
        else:
            disabled_by = self.disabled_by

        secret = self.secret

        field_dict: dict[str, Any] = {}
        field_dict.update(self.additional_properties)
        field_dict.update(
            {
                "id": id,
                "kind": kind,
                "url": url,
                "events": events,
                "description": description,
                "enabled": enabled,
                "created_at": created_at,
                "failing_since": failing_since,
                "disabled_at": disabled_at,
                "disabled_by": disabled_by,
                "secret": secret,
            }
        )

        return field_dict

    @classmethod
    def from_dict(cls: type[T], src_dict: Mapping[str, Any]) -> T:
        d = dict(src_dict)
        id = UUID(d.pop("id"))

        kind = NewWebhookEndpointBodyKind(d.pop("kind"))

        url = d.pop("url")

        events = cast(list[str], d.pop("events"))

        description = d.pop("description")

        enabled = d.pop("enabled")

        created_at = datetime.datetime.fromisoformat(d.pop("created_at"))

        def _parse_failing_since(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                failing_since_type_0 = datetime.datetime.fromisoformat(data)

                return failing_since_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        failing_since = _parse_failing_since(d.pop("failing_since"))

        def _parse_disabled_at(data: object) -> datetime.datetime | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                disabled_at_type_0 = datetime.datetime.fromisoformat(data)

                return disabled_at_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(datetime.datetime | None, data)

        disabled_at = _parse_disabled_at(d.pop("disabled_at"))

        def _parse_disabled_by(data: object) -> NewWebhookEndpointBodyDisabledByType0 | None:
            if data is None:
                return data
            try:
                if not isinstance(data, str):
                    raise TypeError()
                disabled_by_type_0 = NewWebhookEndpointBodyDisabledByType0(data)

                return disabled_by_type_0
            except (TypeError, ValueError, AttributeError, KeyError):
                pass
            return cast(NewWebhookEndpointBodyDisabledByType0 | None, data)

        disabled_by = _parse_disabled_by(d.pop("disabled_by"))

        secret = d.pop("secret")

        new_webhook_endpoint_body = cls(
            id=id,
            kind=kind,
            url=url,
            events=events,
            description=description,
            enabled=enabled,
            created_at=created_at,
            failing_since=failing_since,
            disabled_at=disabled_at,
            disabled_by=disabled_by,
            secret=secret,
        )

        new_webhook_endpoint_body.additional_properties = d
        return new_webhook_endpoint_body

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
