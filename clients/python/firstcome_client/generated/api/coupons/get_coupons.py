from http import HTTPStatus
from typing import Any

import httpx

from ... import errors
from ...client import AuthenticatedClient, Client
from ...models.coupon_body_page import CouponBodyPage
from ...models.get_coupons_status import GetCouponsStatus
from ...models.problem import Problem
from ...types import UNSET, Response, Unset


def _get_kwargs(
    *,
    campaign: int | Unset = UNSET,
    cursor: str | Unset = UNSET,
    limit: int | Unset = UNSET,
    status: GetCouponsStatus | Unset = UNSET,
    user: int | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> dict[str, Any]:
    headers: dict[str, Any] = {}
    if not isinstance(firstcome_account, Unset):
        headers["Firstcome-Account"] = firstcome_account

    params: dict[str, Any] = {}

    params["campaign"] = campaign

    params["cursor"] = cursor

    params["limit"] = limit

    json_status: str | Unset = UNSET
    if not isinstance(status, Unset):
        json_status = status.value

    params["status"] = json_status

    params["user"] = user

    params = {k: v for k, v in params.items() if v is not UNSET and v is not None}

    _kwargs: dict[str, Any] = {
        "method": "get",
        "url": "/api/v1/coupons",
        "params": params,
    }

    _kwargs["headers"] = headers
    return _kwargs


def _parse_response(
    *, client: AuthenticatedClient | Client, response: httpx.Response
) -> CouponBodyPage | Problem | None:
    if response.status_code == 200:
        response_200 = CouponBodyPage.from_dict(response.json())

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
) -> Response[CouponBodyPage | Problem]:
    return Response(
        status_code=HTTPStatus(response.status_code),
        content=response.content,
        headers=response.headers,
        parsed=_parse_response(client=client, response=response),
    )


def sync_detailed(
    *,
    client: AuthenticatedClient,
    campaign: int | Unset = UNSET,
    cursor: str | Unset = UNSET,
    limit: int | Unset = UNSET,
    status: GetCouponsStatus | Unset = UNSET,
    user: int | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> Response[CouponBodyPage | Problem]:
    """The caller's coupons, newest first

     Staff see the coupons of all accounts. With `status`, and without `user` or `campaign`, a page of
    theirs looks at 20,000 coupons at most: it may have fewer results than `limit`, or none, while
    `next` leads on.

    Args:
        campaign (int | Unset):
        cursor (str | Unset):
        limit (int | Unset):
        status (GetCouponsStatus | Unset):
        user (int | Unset):
        firstcome_account (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[CouponBodyPage | Problem]
    """

    kwargs = _get_kwargs(
        campaign=campaign,
        cursor=cursor,
        limit=limit,
        status=status,
        user=user,
        firstcome_account=firstcome_account,
    )

    response = client.get_httpx_client().request(
        **kwargs,
    )

    return _build_response(client=client, response=response)


def sync(
    *,
    client: AuthenticatedClient,
    campaign: int | Unset = UNSET,
    cursor: str | Unset = UNSET,
    limit: int | Unset = UNSET,
    status: GetCouponsStatus | Unset = UNSET,
    user: int | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> CouponBodyPage | Problem | None:
    """The caller's coupons, newest first

     Staff see the coupons of all accounts. With `status`, and without `user` or `campaign`, a page of
    theirs looks at 20,000 coupons at most: it may have fewer results than `limit`, or none, while
    `next` leads on.

    Args:
        campaign (int | Unset):
        cursor (str | Unset):
        limit (int | Unset):
        status (GetCouponsStatus | Unset):
        user (int | Unset):
        firstcome_account (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        CouponBodyPage | Problem
    """

    return sync_detailed(
        client=client,
        campaign=campaign,
        cursor=cursor,
        limit=limit,
        status=status,
        user=user,
        firstcome_account=firstcome_account,
    ).parsed


async def asyncio_detailed(
    *,
    client: AuthenticatedClient,
    campaign: int | Unset = UNSET,
    cursor: str | Unset = UNSET,
    limit: int | Unset = UNSET,
    status: GetCouponsStatus | Unset = UNSET,
    user: int | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> Response[CouponBodyPage | Problem]:
    """The caller's coupons, newest first

     Staff see the coupons of all accounts. With `status`, and without `user` or `campaign`, a page of
    theirs looks at 20,000 coupons at most: it may have fewer results than `limit`, or none, while
    `next` leads on.

    Args:
        campaign (int | Unset):
        cursor (str | Unset):
        limit (int | Unset):
        status (GetCouponsStatus | Unset):
        user (int | Unset):
        firstcome_account (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        Response[CouponBodyPage | Problem]
    """

    kwargs = _get_kwargs(
        campaign=campaign,
        cursor=cursor,
        limit=limit,
        status=status,
        user=user,
        firstcome_account=firstcome_account,
    )

    response = await client.get_async_httpx_client().request(**kwargs)

    return _build_response(client=client, response=response)


async def asyncio(
    *,
    client: AuthenticatedClient,
    campaign: int | Unset = UNSET,
    cursor: str | Unset = UNSET,
    limit: int | Unset = UNSET,
    status: GetCouponsStatus | Unset = UNSET,
    user: int | Unset = UNSET,
    firstcome_account: str | Unset = UNSET,
) -> CouponBodyPage | Problem | None:
    """The caller's coupons, newest first

     Staff see the coupons of all accounts. With `status`, and without `user` or `campaign`, a page of
    theirs looks at 20,000 coupons at most: it may have fewer results than `limit`, or none, while
    `next` leads on.

    Args:
        campaign (int | Unset):
        cursor (str | Unset):
        limit (int | Unset):
        status (GetCouponsStatus | Unset):
        user (int | Unset):
        firstcome_account (str | Unset):

    Raises:
        errors.UnexpectedStatus: If the server returns an undocumented status code and Client.raise_on_unexpected_status is True.
        httpx.TimeoutException: If the request takes longer than Client.timeout.

    Returns:
        CouponBodyPage | Problem
    """

    return (
        await asyncio_detailed(
            client=client,
            campaign=campaign,
            cursor=cursor,
            limit=limit,
            status=status,
            user=user,
            firstcome_account=firstcome_account,
        )
    ).parsed
