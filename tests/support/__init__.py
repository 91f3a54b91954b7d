"""Real servers and processes for tests: PostgreSQL, RabbitMQ, an HTTP origin, a webhook receiver,
and halftone itself.
"""
