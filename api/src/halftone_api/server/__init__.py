"""What a call passes through before a handler, and the connection to RabbitMQ.

HTTP protocol, middleware, publisher.
"""
