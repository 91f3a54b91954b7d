"""Reading server-sent events. No I/O: lines go in, statuses come out."""

from __future__ import annotations

import json

from halftone._declared import RequestStatus


class EventReader:
    """The lines of an event stream, read one by one, over any number of connections.

    `last_event_id`: of the newest event, to go on from. `ended`: the last event came.
    """

    def __init__(self) -> None:
        self.last_event_id: str | None = None
        self.ended = False
        self._data: list[str] = []

    def feed(self, line: str) -> RequestStatus | None:
        """The status of the event that this line completes; None where it completes none.

        >>> reader = EventReader()
        >>> reader.feed("id: 7"), reader.last_event_id
        (None, '7')
        """
        if not line:
            return self._complete()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "id":
            self.last_event_id = value
        return None

    def _complete(self) -> RequestStatus | None:
        if not self._data:
            return None
        text, self._data = "\n".join(self._data), []
        status = RequestStatus.from_json(json.loads(text))
        self.ended = status.completed_at is not None
        return status
