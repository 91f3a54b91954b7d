"""What each input format needs before Pillow decodes it, one module a format.

A module's `prepare` reads the file's structure within limits, mends what browsers look past, and
collects what Pillow does not tell: declared colours, metadata to keep, animation frames.
"""
