"""The facts of an image as clients see them.

Separate from results.py because codec processes do not import pydantic.
"""

from typing import Annotated, Literal, cast

from pydantic import Field
from typing_extensions import TypedDict

from halftone_shared.model.json_types import Count
from halftone_shared.model.results import FACT_NAMES, ImageFacts
from halftone_shared.model.states import Action


class CheckObject(TypedDict):
    """Whether an image meets a rule of the preset, and why."""

    rule: str
    result: Annotated[
        Literal["pass", "warn", "fail"],
        Field(
            description="`warn`: the image breaks advice, or the rule could not be measured;"
            ' the message then begins with "Not measured".'
        ),
    ]
    message: str


class FactsObject(TypedDict):
    """ImageFacts as clients see them. Null if the image has not succeeded. A test compares both."""

    action: Annotated[
        Action | None,
        Field(description="`kept_original`: compressing would not have made it smaller."),
    ]
    format: str | None
    width: Annotated[Count | None, Field(description="In pixels, of the output.")]
    height: Annotated[Count | None, Field(description="In pixels, of the output.")]
    bytes_in: Count | None
    bytes_out: Count | None
    source_width: Annotated[Count | None, Field(description="In pixels, of the input.")]
    source_height: Annotated[Count | None, Field(description="In pixels, of the input.")]
    score: Annotated[
        float | None, Field(description="With `mode=visual`: the SSIMULACRA2 score it reached.")
    ]
    checks: Annotated[
        list[CheckObject], Field(description="With `preset`: one entry for each of its rules.")
    ]
    warnings: list[str]


def facts_object(facts: ImageFacts | None) -> FactsObject:
    if facts is not None:
        return cast("FactsObject", facts.to_json())
    empty = dict.fromkeys(FACT_NAMES) | {"checks": [], "warnings": []}
    return cast("FactsObject", empty)
