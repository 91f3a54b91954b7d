"""The fit of the quality scale's calibration: benchmarks/calibrate.py."""

import json
from pathlib import Path
from types import ModuleType

import pytest

from halftone_workers.codec import quality_scale


@pytest.fixture(scope="module")
def calibrate() -> ModuleType:
    for needed in ("numpy", "halftone_jpeg"):
        pytest.importorskip(needed)
    from benchmarks import calibrate

    return calibrate


def _photographs() -> list[tuple[float, float, float]]:
    """Terms of 40 photographs: 1, the detail and its square."""
    details = [at / 10 - 2 for at in range(40)]
    return [(1.0, detail, detail**2) for detail in details]


def _parameter(terms: tuple[float, float, float]) -> float:
    return 40 + 10 * terms[1] - 2 * terms[2]


def test_fit_finds_the_coefficients(calibrate: ModuleType) -> None:
    terms = _photographs()
    found = calibrate.coefficients(terms, [_parameter(each) for each in terms], [1.0] * 40)
    assert found == pytest.approx([40, 10, -2], abs=0.3)


def test_photograph_unlike_all_others_hardly_moves_the_fit(calibrate: ModuleType) -> None:
    terms = _photographs()
    parameters = [_parameter(each) for each in terms]
    parameters[20] += 60
    found = calibrate.coefficients(terms, parameters, [1.0] * 40)
    assert found == pytest.approx([40, 10, -2], abs=0.6)


def test_photograph_whose_score_hardly_changes_counts_little(calibrate: ModuleType) -> None:
    terms = _photographs()
    slopes = [1.0] * 30 + [0.001] * 10
    parameters = [
        _parameter(each) + (slope < 1) * 30 for each, slope in zip(terms, slopes, strict=True)
    ]
    found = calibrate.coefficients(terms, parameters, slopes)
    assert found == pytest.approx([40, 10, -2], abs=0.5)


def test_calibration_is_written_as_it_is_read(calibrate: ModuleType) -> None:
    path = Path(quality_scale.__file__).with_name("calibration.json")
    text = path.read_text()
    assert calibrate._as_text(json.loads(text)) == text
