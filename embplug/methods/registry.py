"""All methods by their role and kind: those of this package and those that others register."""

from __future__ import annotations

import importlib
import math
import pkgutil
from collections.abc import Callable
from dataclasses import fields
from functools import cache, wraps
from types import MappingProxyType
from typing import Any, Literal, TypeVar, get_args

from pydantic import ValidationError

from embplug.common.validation import explained, first_complaint
from embplug.errors import InvalidArgumentError

Role = Literal[
    "transform",
    "adapter",
    "dense_codes",
    "token_codes",
    "encoding",
    "query_weights",
    "reduction",
    "query_reduction",
]
"""The field of a recipe in which a method can stand."""

ROLES: tuple[Role, ...] = get_args(Role)

FOLDERS = ("transforms", "adapters", "quantizers", "token_codes", "encodings", "reductions")
"""Folders of ``embplug.methods`` whose modules define methods."""

_registered: dict[Role, dict[str, type[Any]]] = {role: {} for role in ROLES}
_Class = TypeVar("_Class", bound=type[Any])


def register(kind: str, *, roles: tuple[Role, ...]) -> Callable[[_Class], _Class]:
    """Register a class as a method, so that recipes can name it by its kind.

    A method of another package has to be registered before a recipe that names it is read.

    Parameters
    ----------
    kind : str
        Value of the field ``kind`` of the class.
    roles : tuple of str
        Fields of a recipe in which the method can stand: ``transform``, ``adapter``, ``dense_codes``,
        ``token_codes``, ``encoding``, ``query_weights``, ``reduction`` or ``query_reduction``.

    Returns
    -------
    callable
        A decorator, which stands above ``@dataclass`` and returns the class.

    Raises
    ------
    InvalidArgumentError
        The class has another kind, a role is unknown, or another class has this role and kind.

    Examples
    --------
    >>> from typing import Literal
    >>> from pydantic.dataclasses import dataclass
    >>> from embplug.methods import Transform, register
    >>> @register("reversed", roles=("transform",))
    ... @dataclass
    ... class Reversed(Transform):
    ...     kind: Literal["reversed"] = "reversed"
    ...     def output_dim(self, dim):
    ...         return dim
    ...     def _transform(self, vectors):
    ...         return vectors[:, ::-1]
    """
    if isinstance(roles, str):
        raise InvalidArgumentError("roles", f"a tuple of roles, such as ({roles!r},)", repr(roles))
    for role in roles:
        if role not in ROLES:
            raise InvalidArgumentError("roles", f"some of {ROLES}", repr(role))

    def add(cls: _Class) -> _Class:
        fields: Any = getattr(cls, "__dataclass_fields__", {})
        default = fields["kind"].default if "kind" in fields else None
        if default != kind:
            raise InvalidArgumentError(
                "kind", f"{kind!r} as the default of {cls.__name__}.kind", repr(default)
            )
        names_parameters(cls)
        for role in roles:
            other = _registered[role].setdefault(kind, cls)
            # A module that is loaded anew defines its classes anew.
            if (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
                raise ValueError(
                    f"kind: {kind!r} is {other.__name__} for the role {role!r}, not {cls.__name__}"
                )
            _registered[role][kind] = cls
        return cls

    return add


def registered(role: Role) -> MappingProxyType[str, type[Any]]:
    """Return the methods of a role.

    Parameters
    ----------
    role : str
        See :func:`register`.

    Returns
    -------
    mapping of str to class
        The classes by their kind, in alphabetical order.

    Raises
    ------
    InvalidArgumentError
        There is no such role.
    """
    if role not in ROLES:
        raise InvalidArgumentError("role", f"one of {ROLES}", repr(role))
    _load_built_in()
    return MappingProxyType(dict(sorted(_registered[role].items())))


def registered_class(name: str) -> type[Any] | None:
    """Return the registered class of this name, or None."""
    _load_built_in()
    classes = (cls for of_role in _registered.values() for cls in of_role.values())
    return next((cls for cls in classes if cls.__name__ == name), None)


def is_built_in(cls: type[Any]) -> bool:
    """Whether a class is one of this package."""
    return cls.__module__.startswith("embplug.methods.")


def names_parameters(cls: _Class) -> _Class:
    """Decorate a class so that its constructor raises errors that name the class and the parameter."""
    construct = cls.__init__
    if getattr(construct, "names_parameters", False):
        return cls

    @wraps(construct)
    def constructor(self: Any, /, *args: Any, **parameters: Any) -> None:
        try:
            construct(self, *args, **parameters)
        except ValidationError as error:
            raise _parameter_error(cls, error) from None
        _check_bounds(self)

    constructor.names_parameters = True  # type: ignore[attr-defined]
    cls.__init__ = constructor
    return cls


MOST_SIZE = 65536
"""Largest size, number or width: no vector of Qdrant is longer."""

MOST_REPEATED = 100_000_000
"""Most steps, or documents and tokens to learn from."""

_REPEATED = ("batch", "iterations", "rotation_iterations", "rounds", "sample", "sample_tokens", "steps")
_UNBOUNDED = ("seed",)


def _check_bounds(method: Any) -> None:
    """Refuse numbers that no memory or patience suffices for, before anything is allocated by them."""
    for field in fields(method):
        value = getattr(method, field.name)
        argument = f"{type(method).__name__}.{field.name}"
        if isinstance(value, float) and not math.isfinite(value):
            raise InvalidArgumentError(argument, "a finite number", value)
        most = MOST_REPEATED if field.name in _REPEATED else MOST_SIZE
        if type(value) is int and field.name not in _UNBOUNDED and value > most:
            raise InvalidArgumentError(argument, f"at most {most:,}", f"{value:,}")


def _parameter_error(cls: type[Any], error: ValidationError) -> InvalidArgumentError:
    """Turn pydantic's complaint into an error that names the class and the parameter."""
    names = [field.name for field in fields(cls)]
    first = first_complaint(error)
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, InvalidArgumentError):
        return type(cause)(f"{cls.__name__}.{cause.argument}", cause.expected, cause.got)
    # Parameters by position are named by their number.
    location = [*first["loc"]]
    if location and isinstance(location[0], int) and location[0] < len(names):
        location[0] = names[location[0]]
    argument = ".".join(map(str, [cls.__name__, *location]))
    if cause is not None:
        return InvalidArgumentError(argument, "parameters that agree", cause)
    return InvalidArgumentError(argument, *explained(first, [name for name in names if name != "kind"]))


@cache
def _load_built_in() -> None:
    """Import the modules of this package that define methods; their decorators register them."""
    for folder in FOLDERS:
        package = importlib.import_module(f"embplug.methods.{folder}")
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
