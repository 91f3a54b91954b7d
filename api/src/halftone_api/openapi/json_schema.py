"""JSON schemas of the types that endpoints answer with."""

from collections.abc import Iterable
from typing import Any

from pydantic import TypeAdapter

from halftone_shared.model.option_kinds import JsonSchema

_REF = "#/components/schemas/"
# Noise that pydantic adds: titles repeat names, docstrings are for programmers.
_NOISE = ("title",)


class Schemas:
    """The schemas of some types and the components that these refer to.

    Named types (TypedDicts, dataclasses) become components under their own names; enumerations are
    written out where they are used, as readers of `/docs` want to see the values there.
    """

    def __init__(self, types: Iterable[Any]) -> None:
        # In a list, a named type always becomes a component; alone it would be written out.
        adapters = [TypeAdapter(list[each]) for each in types]  # type: ignore[valid-type]
        schemas, definitions = TypeAdapter.json_schemas(
            [(number, "serialization", adapter) for number, adapter in enumerate(adapters)],
            ref_template=_REF + "{model}",
        )
        found: dict[str, JsonSchema] = definitions.get("$defs", {})
        self._enums = {name: each for name, each in found.items() if "enum" in each}
        self.components = {
            name: self._clean(each) for name, each in found.items() if name not in self._enums
        }
        self._schemas = [
            self._clean(schemas[number, "serialization"]["items"])
            for number in range(len(adapters))
        ]

    def __getitem__(self, number: int) -> JsonSchema:
        """The schema of the `number`-th type, from 0."""
        schema: JsonSchema = self._schemas[number]
        return schema

    def _clean(self, schema: Any, *, names: bool = False) -> Any:
        """The schema without noise, with enumerations written out. `names`: the keys are names of
        members.
        """
        if isinstance(schema, list):
            return [self._clean(each) for each in schema]
        if not isinstance(schema, dict):
            return schema
        enum = self._enums.get(str(schema.get("$ref", "")).removeprefix(_REF))
        if enum is not None:
            rest = {key: value for key, value in schema.items() if key != "$ref"}
            return {"type": "string", "enum": enum["enum"], **rest}
        kept = {key: each for key, each in schema.items() if names or key not in _NOISE}
        if not names and kept.get("type") == "object":
            kept.pop("description", None)
        return {
            key: self._clean(each, names=not names and key == "properties")
            for key, each in kept.items()
        }


def component(name: str) -> JsonSchema:
    """A reference to a component."""
    return {"$ref": _REF + name}
