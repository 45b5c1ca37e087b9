"""What a process says of itself: logs, request metrics, gauges."""
