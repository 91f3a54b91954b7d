"""The ZIP of `halftone doctor --bundle`: what a bug report needs, without secrets."""

import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import distributions
from pathlib import Path
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

from halftone_cli.checkup.configuration import Setting
from halftone_cli.checkup.findings import Finding
from halftone_shared.db.workers import LiveWorker


def write_bundle(
    path: Path,
    findings: Sequence[Finding],
    settings: Sequence[Setting],
    workers: Sequence[LiveWorker],
) -> None:
    """Write findings, settings, workers and a description of this machine. Raises OSError."""
    files: dict[str, Any] = {
        "findings.json": [asdict(finding) for finding in findings],
        "settings.json": [asdict(setting) for setting in settings],
        "workers.json": [asdict(worker) for worker in workers],
        "machine.json": _machine(),
    }
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, json.dumps(content, indent=2, default=str, ensure_ascii=False))


def _machine() -> dict[str, Any]:
    return {
        "made_at": datetime.now(UTC).isoformat(),
        "system": platform.platform(),
        "processor": platform.machine(),
        "python": sys.version,
        "distributions": sorted(
            f"{each.metadata['Name']} {each.version}" for each in distributions()
        ),
    }
