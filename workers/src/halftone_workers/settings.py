"""The workers' own settings, in addition to those they share with the API."""

import os
from importlib.metadata import version

from pydantic import Field

from halftone_shared.runtime.settings import CommonSettings

# Slow webhook receivers must not take the places of products.
WEBHOOKS_AT_ONCE = 4


class WorkerSettings(CommonSettings):
    """`halftone-worker` and the worker processes of `halftone up`."""

    products_at_once: int = Field(8, ge=1, le=1000, description="a whole number from 1 to 1000")
    codec_processes: int = Field(
        os.cpu_count() or 1,
        ge=1,
        le=256,
        description="a whole number from 1 to 256; one a core is right",
    )
    max_image_bytes: int = Field(52428800, ge=1, description="a whole number of bytes, at least 1")
    max_image_pixels: int = Field(
        50000000, ge=1, description="a whole number of pixels, at least 1"
    )
    max_image_frames: int = Field(500, ge=1, description="a whole number of frames, at least 1")
    download_timeout_seconds: float = Field(
        30, gt=0, allow_inf_nan=False, description="a number of seconds above 0"
    )
    encode_timeout_seconds: float = Field(
        30, gt=0, allow_inf_nan=False, description="a number of seconds above 0"
    )
    product_timeout_seconds: float = Field(
        300, gt=0, allow_inf_nan=False, description="a number of seconds above 0"
    )
    connections_per_host: int = Field(4, ge=1, le=1000, description="a whole number from 1 to 1000")
    max_redirects: int = Field(5, ge=0, le=50, description="a whole number from 0 to 50")
    user_agent: str = Field(
        "",
        pattern=r"^[ -~]*$",
        description="printable ASCII; nothing for halftone/VERSION (+HALFTONE_PUBLIC_URL)",
    )
    fetch_memory_bytes: int = Field(
        268435456, ge=1048576, description="a whole number of bytes, at least 1048576"
    )
    metrics_host: str = Field(
        "127.0.0.1", description="an address of this machine, 0.0.0.0 for all"
    )
    metrics_port: int | None = Field(
        None, ge=1, le=65535, description="a port number, or nothing for no metrics"
    )
    shutdown_grace_seconds: float = Field(
        25, ge=0, allow_inf_nan=False, description="a number of seconds, at least 0"
    )

    @property
    def sent_user_agent(self) -> str:
        """The User-Agent of image fetches and webhooks: names the service and a contact."""
        return self.user_agent or f"halftone/{version('halftone-workers')} (+{self.public_url})"

    @property
    def product_messages(self) -> int:
        """How many messages a worker holds: one for each place, and as many that wait for one."""
        return 2 * self.products_at_once
