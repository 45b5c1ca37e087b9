"""What processes say of themselves: logs, request metrics, gauges."""
