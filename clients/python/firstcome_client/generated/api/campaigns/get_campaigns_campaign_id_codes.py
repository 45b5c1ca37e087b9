from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.get_campaigns_campaign_id_codes_status import GetCampaignsCampaignIdCodesStatus
from ...models.pool_code_body_page import PoolCodeBodyPage
from ...models.problem import Problem
from ...types import UNSET, Response, Unset


def _get_kwargs(
    campaign_id: int,
    *,
    cursor: str | Unset = UNSET,
    limit: int | Unset = UNSET,
    status: GetCampaignsCampaignIdCodesStatus | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    if not isinstance(firstcome_account, Unset):
        headers["Firstcome-Account"] = firstcome_account

    params: dict[str, Any] = {}

    params["cursor"] = cursor

    params["limit"] = limit

    json_status: str | Unset = UNSET
    if not isinstance(status, Unset):
        json_status = status.value

    params["status"] = json_status

    params = {k: v for k, v in params.items() if v is not UNSET and v is not None}

    _kwargs: dict[str, Any] = {
        "method": "get",
        "url": "/api/v1/campaigns/{campaign_id}/codes".format(
            campaign_id=quote(str(campaign_id), safe=""),
        ),
        "params": params,
    }

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> PoolCodeBodyPage | Problem | None:
    if response.status_code == 200:
        response_200 = PoolCodeBodyPage.from_dict(response.json())

        return response_200

    if response.status_code == 400:
        response_400 = Problem.from_dict(response.json())

        return response_400

    if response.status_code == 401:
        response_401 = Problem.from_dict(response.json())

        return response_401

    if response.status_code == 403:
        response_403 = Problem.from_dict(response.json())

        return response_403

    if response.status_code == 404:
        response_404 = Problem.from_dict(response.json())

        return response_404

    if response.status_code == 429:
        response_429 = Problem.from_dict(response.json())

        return response_429

    if response.status_code == 503:
        response_503 = Problem.from_dict(response.json())

        return response_503

    if client.raise_on_unexpected_status:
        raise errors.UnexpectedStatus(response.status_code, response.content)
    else:
        return None


def _build_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> Response[PoolCodeBodyPage | Problem]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    campaign_id: int,
    *,
    client: AuthenticatedClient,
    cursor: str | Unset = UNSET,
    limit: int | Unset = UNSET,
    status: GetCampaignsCampaignIdCodesStatus | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> Response[PoolCodeBodyPage | Problem]:
    """The pool of a campaign, oldest first (staff)

    Args:
        campaign_id (int):
        cursor (str | Unset):
        limit (int | Unset):
        status (GetCampaignsCampaignIdCodesStatus | Unset):
        firstcome_account (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[PoolCodeBodyPage | Problem]
    """

    kwargs = _get_kwargs(
        campaign_id=campaign_id,
        cursor=cursor,
        limit=limit,
        status=status,
        firstcome_account=firstcome_account,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    campaign_id: int,
    *,
    client: AuthenticatedClient,
    cursor: str | Unset = UNSET,
    limit: int | Unset = UNSET,
    status: GetCampaignsCampaignIdCodesStatus | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> PoolCodeBodyPage | Problem | None:
    """The pool of a campaign, oldest first (staff)

    Args:
        campaign_id (int):
        cursor (str | Unset):
        limit (int | Unset):
        status (GetCampaignsCampaignIdCodesStatus | Unset):
        firstcome_account (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        PoolCodeBodyPage | Problem
    """

    return sync_detailed(
        campaign_id=campaign_id,
        client=client,
        cursor=cursor,
        limit=limit,
        status=status,
        firstcome_account=firstcome_account,
    ).parsed


async def asyncio_detailed(
    campaign_id: int,
    *,
    client: AuthenticatedClient,
    cursor: str | Unset = UNSET,
    limit: int | Unset = UNSET,
    status: GetCampaignsCampaignIdCodesStatus | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> Response[PoolCodeBodyPage | Problem]:
    """The pool of a campaign, oldest first (staff)

    Args:
        campaign_id (int):
        cursor (str | Unset):
        limit (int | Unset):
        status (GetCampaignsCampaignIdCodesStatus | Unset):
        firstcome_account (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[PoolCodeBodyPage | Problem]
    """

    kwargs = _get_kwargs(
        campaign_id=campaign_id,
        cursor=cursor,
        limit=limit,
        status=status,
        firstcome_account=firstcome_account,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    campaign_id: int,
    *,
    client: AuthenticatedClient,
    cursor: str | Unset = UNSET,
    limit: int | Unset = UNSET,
    status: GetCampaignsCampaignIdCodesStatus | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> PoolCodeBodyPage | Problem | None:
    """The pool of a campaign, oldest first (staff)

    Args:
        campaign_id (int):
        cursor (str | Unset):
        limit (int | Unset):
        status (GetCampaignsCampaignIdCodesStatus | Unset):
        firstcome_account (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        PoolCodeBodyPage | Problem
    """

    return (
        await asyncio_detailed(
            campaign_id=campaign_id,
            client=client,
            cursor=cursor,
            limit=limit,
            status=status,
            firstcome_account=firstcome_account,
        )
    ).parsed
