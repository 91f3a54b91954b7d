"""Benchmarks: the figures of performance.md and durability.md in docs/explanation, each beside what
it is compared with.
"""
