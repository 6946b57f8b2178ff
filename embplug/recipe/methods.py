"""Types of the recipe's fields that hold methods: each accepts what is registered for its role."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, TypeAlias

from pydantic import Discriminator, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, Tag, TypeAdapter
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from embplug.methods import roles
from embplug.methods.registry import Role, registered


@dataclass(frozen=True)
class OneOf:
    """Validates a method of a role, or a mapping of its parameters, by its ``kind``.

    The registry is read when a recipe is validated, so that a method can be registered at any time before.

    Attributes
    ----------
    role : Role
        Role in which the method is registered.
    error_type : str
        Type of the pydantic error for an unknown kind.
    expected : str, default="one of"
        Beginning of the message of this error. The registered methods follow it.
    default : str, default=None
        Kind of a mapping without ``kind``. None refuses such a mapping.
    """

    role: Role
    error_type: str
    expected: str = "one of"
    default: str | None = None

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Return a schema that calls :meth:`validate`."""
        return core_schema.no_info_plain_validator_function(self.validate)

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Return the JSON schema of a mapping of any kind that is registered now."""
        kinds = [handler(TypeAdapter(cls).core_schema) for cls in registered(self.role).values()]
        return {"oneOf": kinds, "type": "object"}

    def validate(self, value: Any) -> Any:
        """Return a method as it is, or build it from a mapping of its parameters.

        Parameters
        ----------
        value : method or dict
            A method, or its parameters with its ``kind``.

        Returns
        -------
        method
            The method.

        Raises
        ------
        PydanticCustomError
            No method of that kind is registered for the role.
        """
        methods = registered(self.role)
        if isinstance(value, dict):
            kind = value.get("kind", self.default)
            if isinstance(kind, str) and kind in methods:
                return TypeAdapter(methods[kind]).validate_python(value)
        elif any(type(value) is cls for cls in methods.values()):
            return value
        if isinstance(value, str) and value in methods:
            expected = f"a mapping such as {{kind: {value}}}"
        else:
            listed = ", ".join(f"{cls.__name__} (kind: {kind})" for kind, cls in methods.items())
            expected = f"{self.expected} {listed}"
        raise PydanticCustomError(self.error_type, "{expected}", {"expected": expected})


Encoding: TypeAlias = Annotated[
    roles.Encoding,
    OneOf("encoding", "encoding_kind", "an encoding, one of", default="fde"),
]

TokenCodes: TypeAlias = Annotated[
    roles.Quantizer | roles.TokenCodes, OneOf("token_codes", "codes_kind", default="residual")
]

DenseCodes: TypeAlias = Annotated[roles.Quantizer, OneOf("dense_codes", "dense_codes_kind")]

Reduction: TypeAlias = Annotated[
    roles.Reduction, OneOf("reduction", "reduction_kind", "pooling or pruning, one of")
]

Reductions: TypeAlias = Annotated[
    Annotated[Reduction, Tag("[single]")]
    | Annotated[tuple[Reduction, ...], Field(min_length=1), Tag("[several]")],
    Discriminator(lambda value: "[several]" if isinstance(value, (list, tuple)) else "[single]"),
]

QueryReduction: TypeAlias = Annotated[
    roles.Reduction, OneOf("query_reduction", "query_reduction_kind", default="ball_carving")
]

QueryWeights: TypeAlias = Annotated[
    roles.QueryWeights, OneOf("query_weights", "query_weights_kind", default="idf")
]

Transform: TypeAlias = Annotated[roles.Transform, OneOf("transform", "transform_kind", "a transform, one of")]

Adapter: TypeAlias = Annotated[roles.Adapter, OneOf("adapter", "adapter_kind", "an adapter, one of")]
