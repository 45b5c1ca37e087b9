"""The API's endpoints for staff who make, rotate and revoke API keys."""
