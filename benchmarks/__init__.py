"""Benchmarks: the figures of performance.md and durability.md in docs/explanation, each with its
comparison.
"""
