"""Observability of a process: logs, traces, request metrics, gauges."""
