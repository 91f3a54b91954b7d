"""One module for each subject: handlers, each with its declaration beside it.

A new module in this package is found without being registered.
"""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from halftone_api.endpoints.declaration import Endpoint, declared_endpoints


@cache
def all_endpoints() -> tuple[Endpoint, ...]:
    """Every endpoint of the API and every page, in the order of `/docs`."""
    for package in (__name__, "halftone_api.pages"):
        for module in iter_modules(import_module(package).__path__):
            import_module(f"{package}.{module.name}")
    return tuple(declared_endpoints())
