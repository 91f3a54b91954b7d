"""A worker's runtime in this process: its event loop, its codec processes and its database
connections.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from halftone_workers.runtime import Runtime
from halftone_workers.settings import WorkerSettings
from tests.support.halftone import WEBHOOK_SECRET


@contextmanager
def running_runtime(database_url: str, folder: Path, **settings: Any) -> Iterator[Runtime]:
    common = {
        "database_url": database_url,
        "rabbitmq_url": "in-process",
        "storage_url": folder.as_uri(),
        "webhook_secret": WEBHOOK_SECRET,
        "codec_processes": 1,
    }
    runtime = Runtime(WorkerSettings.model_validate(common | settings))
    runtime.start()
    try:
        yield runtime
    finally:
        runtime.close()
