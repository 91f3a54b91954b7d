"""The API's own settings, in addition to those it shares with the workers."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field
from pydantic_settings import NoDecode

from halftone_shared.model.rate_limit import RateLimit, parse_rate_limit
from halftone_shared.runtime.settings import BaseUrl, CommonSettings


def _parse_limit(value: object) -> object:
    return parse_rate_limit(value) if isinstance(value, str) else value


def _parse_hosts(value: object) -> object:
    if isinstance(value, str):
        return tuple(name.strip().lower() for name in value.split(",") if name.strip())
    return value


HostNames = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_parse_hosts)]
UploadRateLimit = Annotated[RateLimit | None, NoDecode, BeforeValidator(_parse_limit)]


class ApiSettings(CommonSettings):
    """`halftone-api` and the API process of `halftone up`."""

    api_host: str = Field("127.0.0.1", description="an address of this machine, 0.0.0.0 for all")
    api_port: int = Field(8000, ge=0, le=65535, description="a port number")
    auth: Literal["keys", "off"] = Field("keys", description="keys or off")
    allowed_hosts: HostNames = Field(
        (), description="host names separated by commas, without ports"
    )
    image_base_url: BaseUrl = Field(
        "", description="http(s)://host[/path] that serves the storage, or nothing for the API"
    )
    max_upload_bytes: int = Field(
        104857600, ge=1, description="a whole number of bytes, at least 1"
    )
    max_rows: int = Field(
        1000000, ge=1, le=100000000, description="a whole number of rows, at least 1"
    )
    max_urls_per_product: int = Field(
        100, ge=1, le=10000, description="a whole number from 1 to 10000"
    )
    upload_timeout_seconds: float = Field(
        300, gt=0, allow_inf_nan=False, description="a number of seconds above 0"
    )
    upload_idle_seconds: float = Field(
        30, gt=0, allow_inf_nan=False, description="a number of seconds above 0"
    )
    upload_space_bytes: int = Field(
        1073741824, ge=1, description="a whole number of bytes, at least 1"
    )
    upload_rate_limit: UploadRateLimit = Field(
        RateLimit(60, 60),
        description="off, or a number per second, minute, hour or day, like 60/minute",
    )
    database_pool_size: int = Field(
        16, ge=1, le=1000, description="a whole number of connections, at least 1"
    )
