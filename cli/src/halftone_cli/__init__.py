"""halftone on one machine: the launcher with its embedded database, the client, the demo."""
