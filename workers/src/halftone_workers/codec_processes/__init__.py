"""The processes that run the codec: pool, handle, child process, and its sandbox.

`halftone_workers.codec` is what they run.
"""
