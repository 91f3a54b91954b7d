"""The main job against real containers: `make containers`."""
