"""halftone's HTTP API: it accepts a CSV, returns a request ID, reports progress and serves the
result.
"""
