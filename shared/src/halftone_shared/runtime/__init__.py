"""Starting and stopping a program: settings, logs, traces, supervision, garbage collection.

Nothing here knows about requests, products or images.
"""
