"""Everything that compresses: transforms, quantizers, token codes, encodings, reductions, adapters.

The names stand in ``__init__.pyi``; each is imported when it is first used. A class that is registered is
found by its name as well.
"""

from __future__ import annotations

import pkgutil
from typing import Any

import lazy_loader

_lazy_getattr, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str) -> Any:
    try:
        return _lazy_getattr(name)
    except AttributeError:
        # An import of a module of this folder also asks for its name, and needs no method.
        if name.startswith("_") or name in {module.name for module in pkgutil.iter_modules(__path__)}:
            raise
        from embplug.methods.registry import registered_class

        cls = registered_class(name)
        if cls is None:
            raise
        return cls
