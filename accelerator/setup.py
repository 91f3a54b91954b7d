"""Tells setuptools that cffi compiles a module, which pyproject.toml cannot express."""

from setuptools import setup

setup(cffi_modules=["native/build.py:builder"])
