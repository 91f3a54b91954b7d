"""The work of the queues: products, images, webhooks.

An actor reads a message and calls one function here.
"""
