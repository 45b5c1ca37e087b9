"""The OpenAPI document: how views describe themselves, its generation, and the pages that show it.

The apps' `api` and `schemas` import `api_doc`; `shop.settings` names `openapi_generation`, and `shop.urls`
serves `openapi_pages`. No call is answered by any of it.
"""
