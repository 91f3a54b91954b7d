"""`python -m tests.chaos --seconds 600 --seed 1 --seed 2` prints each drill's figures as JSON."""

import argparse
import json

from tests.chaos.drill import run_drill


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, action="append")
    arguments = parser.parse_args()
    for seed in arguments.seed or [1]:
        print(f"seed {seed}, {arguments.seconds:g} s of faults", flush=True)
        print(json.dumps(run_drill(seed, arguments.seconds), indent=2), flush=True)


main()
