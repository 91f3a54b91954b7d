"""HTTP protocol, middleware and the RabbitMQ publisher."""
