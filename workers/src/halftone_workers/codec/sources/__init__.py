"""What each input format needs before Pillow decodes it, one module a format.

A module's `prepare` reads the file's structure within limits, repairs faults that browsers ignore,
and collects what Pillow does not report: declared colours, metadata to keep, animation frames.
"""
