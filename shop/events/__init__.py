"""The journal, and the outbox that delivers its outgoing lines to the data platform."""
