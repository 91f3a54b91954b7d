"""A drill: load and faults for some time, then the verdict, printed."""

import time
from typing import Any

import httpx

from tests.chaos.faults import do_one
from tests.chaos.load import Load
from tests.chaos.verdict import judge
from tests.chaos.world import World, running_world

PAUSE_SECONDS = (0.5, 4.0)
READY_SECONDS = 60


def run_drill(seed: int, seconds: float) -> dict[str, Any]:
    """Run a drill and return its figures. Raises NotProved unless every check passes."""
    with running_world(seed) as world:
        _wait_until_ready(world)
        load = Load(world, seed)
        load.start()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(world.random.uniform(*PAUSE_SECONDS))
            do_one(world)
            world.keep_running()
        _wait_until_ready(world)
        load.stop()
        figures = judge(world, load)
        code = world.stop_halftone()
        assert code == 0, f"halftone up ended with {code}"
        return {
            "seed": seed,
            "seconds": seconds,
            "faults": dict(world.faults),
            "load": dict(load.counts),
            "processor": dict(world.processor.counts) if world.processor else {},
            **figures,
        }


def _wait_until_ready(world: World) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        world.keep_running()
        try:
            if httpx.get(world.url + "/readyz", timeout=5, trust_env=False).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"not ready: {(world.folder / 'halftone.log').read_text()[-4000:]}")
