"""Background work that any process may run: dispatching and deleting.

Each is a thread with its own connection.
"""
