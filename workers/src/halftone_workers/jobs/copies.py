"""Waits until copies of earlier outputs are on the disk, once for all products that wait."""

from collections.abc import Sequence

from halftone_shared.storage import ImageStore
from halftone_workers.jobs.batching import Batched, Call


class Copies:
    """Products that come together share a sync, which takes milliseconds."""

    def __init__(self, store: ImageStore) -> None:
        self._store = store
        self._syncs: Batched[Sequence[str], None] = Batched(self._sync)

    def sync(self, names: Sequence[str]) -> None:
        """On return these copies are on the disk. Raises StorageUnavailable."""
        if names and not self._store.is_remote:
            self._syncs.do(names)

    def _sync(self, calls: Sequence[Call[Sequence[str], None]]) -> None:
        self._store.sync_copies(name for call in calls for name in call.item)
        for call in calls:
            call.set_result(None)
