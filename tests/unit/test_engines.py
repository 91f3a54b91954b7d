"""engines(): which optional parts of the codec are installed."""

import importlib.metadata

import pytest

from halftone_workers.codec.engines import engines


def test_engine_that_is_installed_has_its_version() -> None:
    pytest.importorskip("halftone_jpeg")
    (engine,) = engines()
    assert engine.name == "halftone-jpeg"
    assert engine.version == importlib.metadata.version("halftone-jpeg")


def test_engine_that_is_missing_says_what_that_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("halftone_workers.codec.engines.version", missing)
    (engine,) = engines()
    assert engine.version is None
    assert "by Pillow" in engine.meaning
