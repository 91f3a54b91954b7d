"""What `halftone doctor` looks at. Each module yields findings; nothing here prints."""
