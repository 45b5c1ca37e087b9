"""Webhook endpoints: addresses of other systems, to which workers deliver the events that they want."""
