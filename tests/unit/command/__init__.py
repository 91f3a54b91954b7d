"""The `halftone` command against a server that answers as a test says, without a service."""
