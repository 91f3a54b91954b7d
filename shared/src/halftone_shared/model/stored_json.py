"""The type of JSON objects in database columns."""

from typing import Any

# Made by a class's to_json() and read by its from_json(). It may hold members that this version
# does not know, if a newer version wrote it; so only from_json() looks inside.
StoredJson = dict[str, Any]
