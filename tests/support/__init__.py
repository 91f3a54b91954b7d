"""Real parts for tests: PostgreSQL, RabbitMQ, an HTTP origin, a webhook receiver, and halftone's
own processes.
"""
