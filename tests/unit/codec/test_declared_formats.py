"""Each format is declared once. A place that lacks one of them fails here."""

from halftone_shared.model.image_formats import MEDIA_TYPES, WRITTEN, Format
from halftone_shared.model.options import IMAGE_OPTIONS, KEEP
from halftone_workers.codec.encoders import OUTPUTS
from halftone_workers.codec.opening import _PREPARE


def test_every_format_that_is_read_can_be_opened() -> None:
    assert _PREPARE.keys() == {form for form in Format if form.facts.is_read}


def test_every_output_format_can_be_asked_for_written_and_served() -> None:
    asked_for = {Format(word.upper()) for word in IMAGE_OPTIONS["format"].schema["enum"][1:]}
    assert set(WRITTEN) == OUTPUTS.keys() == asked_for
    assert IMAGE_OPTIONS["format"].schema["enum"][0] == KEEP
    assert {form.facts.media_type for form in WRITTEN} == set(MEDIA_TYPES.values())
    assert len(MEDIA_TYPES) == len(WRITTEN), "two formats share an extension"
