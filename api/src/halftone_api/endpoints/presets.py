"""The presets that an upload can name: a marketplace's options and rules."""

from typing import Annotated, Any

from pydantic import Field
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from typing_extensions import TypedDict

from halftone_api.endpoints.authentication import find_caller
from halftone_api.endpoints.declaration import Answer, Tag, endpoint
from halftone_shared.presets import Preset, Rule, RuleKind, load_presets


class PresetRule(TypedDict):
    """A rule that each output is checked against; `level` is the severity of a breach."""

    rule: str
    kind: str
    value: Annotated[
        float | list[str],
        Field(description="In pixels, bytes, megapixels or a share of 1; formats as a list."),
    ]
    level: Annotated[
        str, Field(description="What a violation is: `fail` for a condition, `warn` for advice.")
    ]
    enforced_from: Annotated[
        str | None, Field(description="The date from which a violation fails. Before, it warns.")
    ]
    source: str


class PresetObject(TypedDict):
    """A marketplace: defaults of an upload's options, and the rules that outputs must meet."""

    name: str
    title: str
    as_of: Annotated[str, Field(description="The date at which the rules were read.")]
    sources: list[str]
    options: dict[str, Any]
    rules: list[PresetRule]


class Presets(TypedDict):
    presets: list[PresetObject]


@endpoint(
    "GET",
    "/api/presets",
    name="presets",
    tag=Tag.UPLOAD,
    summary="The presets that an upload can name",
    answers={200: Answer("The presets by name, each with its options and rules.", Presets)},
)
def list_presets(request: Request) -> Response:
    find_caller(request)
    presets: Presets = {"presets": [preset_object(preset) for preset in load_presets().values()]}
    return JSONResponse(presets)


def preset_object(preset: Preset) -> PresetObject:
    return {
        "name": preset.name,
        "title": preset.title,
        "as_of": preset.as_of.isoformat(),
        "sources": list(preset.sources),
        "options": dict(preset.options),
        "rules": [_rule_object(rule) for rule in preset.rules],
    }


def _rule_object(rule: Rule) -> PresetRule:
    return {
        "rule": rule.name,
        "kind": rule.kind,
        "value": list(rule.formats) if rule.kind is RuleKind.FORMATS else rule.value,
        "level": rule.level,
        "enforced_from": rule.enforced_from.isoformat() if rule.enforced_from else None,
        "source": rule.source,
    }
