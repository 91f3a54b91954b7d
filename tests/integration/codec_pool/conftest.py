"""Event loops to run a pool on, and an image that takes several seconds."""

import asyncio
from typing import Any

import pytest
import uvloop
from PIL import Image

from tests.support.codec_pool import Run, running_on
from tests.support.images import encoded


@pytest.fixture
def run() -> Run[Any]:
    """On the event loop that workers run on."""
    return running_on(uvloop.new_event_loop)


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run_on_both(request: pytest.FixtureRequest) -> Run[Any]:
    """On both kinds of event loop. They differ in how they close a socket that a task waits for."""
    return running_on(request.param)


@pytest.fixture(scope="module")
def slow_image() -> bytes:
    return encoded(Image.effect_noise((2400, 2100), 80).convert("RGB"))
