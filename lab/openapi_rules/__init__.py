"""The OpenAPI document by the recommended rules of Redocly and Spectral."""
