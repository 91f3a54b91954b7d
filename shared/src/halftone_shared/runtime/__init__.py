"""A program's start and end: settings, logs, traces, supervision, garbage collection.

Nothing here knows about requests, products or images.
"""
