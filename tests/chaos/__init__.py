"""Proof that no accepted request is lost: real servers and processes are killed at random moments
(from a seed), then the results are counted.

`make chaos SECONDS=600 SEED=1` runs it. A short run is part of `make test`.
"""
