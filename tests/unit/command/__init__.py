"""The `halftone` command against a server with responses set by the test, without a service."""
