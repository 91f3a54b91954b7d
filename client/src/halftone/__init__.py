"""halftone's API as a typed Python library."""
