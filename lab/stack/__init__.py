"""What the lab has beside a stack: its rows, moved clocks, a RabbitMQ, a Prometheus and exporters."""
