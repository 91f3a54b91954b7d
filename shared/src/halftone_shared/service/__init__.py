"""What runs in the background of any process: dispatching and deleting.

Each is a thread with a connection of its own.
"""
