"""Benchmarks: figures for docs/performance.md and docs/durability.md, each beside what it is to be
compared with.
"""
