"""Records callbacks of the image processing service in batches.

A transaction of its own for each callback costs five round trips and a flush to the disk. A service
that ends thousands of jobs at once calls back faster than that.
"""

import asyncio
from collections.abc import Sequence

from sqlalchemy import Engine
from sqlalchemy.exc import DataError, IntegrityError
from starlette.concurrency import run_in_threadpool

from halftone_shared.db.engine import transaction
from halftone_shared.db.processor_jobs import Handled, JobResult, record_callbacks

MAX_BATCH = 200

_Call = tuple[JobResult, "asyncio.Future[Handled]"]


class CallbackBatches:
    """Callbacks that arrive while a transaction runs share the next one. A batch never waits to
    fill, and one runs at a time. All calls come from one event loop.

    `engine` needs one connection, whose statements should be planned once (always_by_index): while
    ten thousand jobs are new to PostgreSQL's statistics, small batches otherwise take it three
    times the processor time.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: list[_Call] = []
        self._running: asyncio.Task[None] | None = None

    async def record(self, result: JobResult) -> Handled:
        """Return when the result is committed. Raises the database's errors."""
        recorded: asyncio.Future[Handled] = asyncio.get_running_loop().create_future()
        self._waiting.append((result, recorded))
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return await recorded

    async def _run(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
            await self._commit(batch)
        self._running = None

    async def _commit(self, batch: Sequence[_Call]) -> None:
        try:
            answers = await run_in_threadpool(self._record, [result for result, _ in batch])
        except Exception as error:  # noqa: BLE001 - each caller raises it
            if len(batch) > 1 and isinstance(error, DataError | IntegrityError):
                # One result cannot be stored. It must not fail the others.
                for call in batch:
                    await self._commit([call])
                return
            for _, recorded in batch:
                if not recorded.done():
                    recorded.set_exception(error)
        else:
            for (_, recorded), answer in zip(batch, answers, strict=True):
                if not recorded.done():
                    recorded.set_result(answer)

    def _record(self, results: Sequence[JobResult]) -> list[Handled]:
        with transaction(self._engine) as connection:
            return record_callbacks(connection, results)
