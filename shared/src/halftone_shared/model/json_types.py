"""Types of JSON members, with format, bounds and description, which Python's types cannot express.

TypedDicts made of them describe every answer; OpenAPI's schemas are generated from these. They cost
nothing at run time: an answer is a plain dict, checked by mypy.
"""

from typing import Annotated

from pydantic import Field, WithJsonSchema

Count = Annotated[int, Field(ge=0)]
Number = Annotated[int, Field(ge=1)]
Url = Annotated[str, WithJsonSchema({"type": "string", "format": "uri"})]
Time = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
Uuid = Annotated[str, WithJsonSchema({"type": "string", "format": "uuid"})]
