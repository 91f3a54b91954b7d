"""The checks of `halftone doctor`. Each module yields findings; nothing here prints."""
