"""What the lab has beside a stack: its rows, moved clocks, a Prometheus and exporters."""
