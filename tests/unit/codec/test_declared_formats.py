"""What is said of each format is said of all: a format that one place forgets fails here."""

from halftone_shared.model.image_names import MEDIA_TYPES
from halftone_shared.model.options import OutputFormat
from halftone_workers.codec.encoders import OUTPUTS
from halftone_workers.codec.formats import FACTS, WRITTEN, Format
from halftone_workers.codec.opening import _PREPARE


def test_every_format_has_facts_and_can_be_opened() -> None:
    assert list(FACTS) == list(Format)
    assert _PREPARE.keys() == FACTS.keys()


def test_every_output_format_can_be_asked_for_written_and_served() -> None:
    asked_for = {Format(option.value.upper()) for option in OutputFormat if option != "keep"}
    assert set(WRITTEN) == OUTPUTS.keys() == asked_for
    assert {FACTS[form].extension for form in WRITTEN} <= MEDIA_TYPES.keys()
