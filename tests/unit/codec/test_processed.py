"""Outputs of an external image processing service are used when they match the request."""

import pytest

from halftone_shared.model.error_codes import ImageErrorCode
from halftone_shared.model.options import parse_options
from halftone_shared.model.states import Action
from halftone_workers.codec.options import CodecLimits
from halftone_workers.codec.pipeline import compress_outputs
from halftone_workers.errors import ImageRefused
from tests.support.images import encoded, picture

SOURCE = encoded(picture((200, 100)), "JPEG", quality=95)
SMALLER = encoded(picture((200, 100)), "JPEG", quality=40)


def judge(output: bytes, **options: str) -> str:
    with pytest.raises(ImageRefused) as refused:
        compress_outputs(SOURCE, parse_options(options), CodecLimits(), {}, {"": output})
    assert refused.value.code is ImageErrorCode.PROCESSOR_FAILED
    return refused.value.message


def test_output_that_is_smaller_is_used_as_it_is() -> None:
    made = compress_outputs(SOURCE, parse_options({}), CodecLimits(), {}, {"": SMALLER})

    assert (made.data, made.action) == (SMALLER, Action.COMPRESSED)
    assert (made.width, made.height, made.source_width) == (200, 100, 200)


def test_output_that_is_not_smaller_is_not_used() -> None:
    larger = encoded(picture((200, 100)), "JPEG", quality=95, subsampling=0) + b"\0" * 10_000
    made = compress_outputs(SOURCE, parse_options({}), CodecLimits(), {}, {"": larger})

    assert made.action is Action.KEPT_ORIGINAL


def test_every_variant_is_judged_by_its_own_options() -> None:
    options = parse_options({"variants": '[{"name": "thumb", "width": 50}]'})
    thumb = encoded(picture((50, 25)), "JPEG")

    made = compress_outputs(SOURCE, options, CodecLimits(), {}, {"": SMALLER, "thumb": thumb})

    assert made.variants["thumb"].data == thumb
    with pytest.raises(ImageRefused, match="not the size"):
        compress_outputs(SOURCE, options, CodecLimits(), {}, {"": SMALLER, "thumb": SMALLER})


@pytest.mark.parametrize(
    ("output", "options", "reason"),
    [
        (b"", {}, "cannot be used"),
        (b"<html>busy</html>", {}, "page"),
        (SMALLER[: len(SMALLER) // 2], {}, "cannot be used"),
        (encoded(picture((200, 100)), "PNG"), {}, "its output is PNG, and JPEG"),
        (encoded(picture((100, 50)), "JPEG"), {}, "100 × 50"),
        (SMALLER, {"mode": "scale"}, "200 × 100"),
        (SMALLER, {"width": "150", "height": "150", "fit": "pad"}, "200 × 100"),
        (SMALLER, {"format": "webp"}, "its output is JPEG, and WEBP"),
    ],
)
def test_output_that_is_something_else_fails_with_the_reason(
    output: bytes, options: dict[str, str], reason: str
) -> None:
    assert reason in judge(output, **options)
