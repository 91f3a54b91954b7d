"""Outgoing HTTP: the address guard, connections, and fetching an image.

Every request that leaves halftone goes through `client`.
"""
