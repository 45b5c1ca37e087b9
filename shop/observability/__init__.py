"""Observability of a process: logs, request metrics, gauges."""
