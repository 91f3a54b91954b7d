"""Types of JSON members, with what a type checker cannot say: format, bounds, description.

TypedDicts made of them describe every answer; OpenAPI's schemas are generated from these. They cost
nothing at run time: an answer is a plain dict that mypy checks.
"""

from typing import Annotated

from pydantic import Field, WithJsonSchema

Count = Annotated[int, Field(ge=0)]
Number = Annotated[int, Field(ge=1)]
Url = Annotated[str, WithJsonSchema({"type": "string", "format": "uri"})]
Time = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
Uuid = Annotated[str, WithJsonSchema({"type": "string", "format": "uuid"})]
