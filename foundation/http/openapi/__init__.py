"""The OpenAPI document: how views describe themselves, its generation, and the pages that show it."""
