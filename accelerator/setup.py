"""The one thing that pyproject.toml cannot say: that cffi compiles a module."""

from setuptools import setup

setup(cffi_modules=["native/build.py:builder"])
