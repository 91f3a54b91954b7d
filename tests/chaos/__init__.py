"""Proof that nothing accepted is lost: real servers and processes, killed at random moments from a
seed, then counted.

`make chaos SECONDS=600 SEED=1` runs it; a short run is part of `make test`.
"""
