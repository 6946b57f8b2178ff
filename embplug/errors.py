"""The typed exceptions of embplug. Every one derives from :class:`EmbplugError`."""

from __future__ import annotations

from typing import Any


class EmbplugError(Exception):
    """Base of everything that embplug raises on purpose."""


class InvalidArgumentError(EmbplugError, ValueError):
    """An argument is not what was expected.

    Attributes:
        argument: name of the argument, with the index of the first offender: ``tokens[3]``.
        expected: what would have been accepted.
        got: what came.
    """

    def __init__(self, argument: str, expected: str, got: Any) -> None:
        self.argument = argument
        self.expected = expected
        self.got = got
        super().__init__(f"{argument}: expected {expected}, got {got}")


class DimensionError(InvalidArgumentError):
    """A vector or token matrix has the wrong number of dimensions."""


class NonFiniteError(InvalidArgumentError):
    """A vector or token matrix holds NaN or an infinite value."""


class EmptyTokensError(InvalidArgumentError):
    """A token matrix has no rows."""


class LengthMismatchError(InvalidArgumentError):
    """Arguments that run in parallel have different lengths."""


class DuplicateIdError(InvalidArgumentError):
    """An id stands twice in one call."""


class PointTooLargeError(InvalidArgumentError):
    """A point exceeds what the engine accepts, so it was not sent."""


class FilterError(InvalidArgumentError):
    """A filter condition that the engine cannot evaluate, or whose type contradicts the payload index."""


class RecipeError(InvalidArgumentError):
    """A recipe is contradictory or has unknown fields."""


class RecipeMismatchError(EmbplugError):
    """The collection exists with another recipe.

    Attributes:
        differences: dotted field -> (stored value, given value).
    """

    def __init__(self, name: str, differences: dict[str, tuple[Any, Any]]) -> None:
        self.name = name
        self.differences = differences
        listed = "; ".join(
            f"{field}: stored {old!r}, given {new!r}" for field, (old, new) in differences.items()
        )
        super().__init__(f"collection {name!r} exists with another recipe ({listed})")


class RecipeVersionError(EmbplugError):
    """The recipe was written by a newer embplug than this one."""


class CollectionNotFoundError(EmbplugError):
    """No collection of that name on the engine."""


class NotAnEmbplugCollectionError(EmbplugError):
    """The collection exists, but embplug did not make it: it has no recipe."""


class NotFittedError(EmbplugError):
    """A method that learns from data is used before ``fit``."""


class StateError(EmbplugError):
    """Fitted state of a collection is missing, truncated or altered."""


class CapabilityError(EmbplugError):
    """The engine, at its version, cannot do what was asked."""


class EngineError(EmbplugError):
    """The engine failed, or refused for a reason that no other class names."""


class EngineLockedError(EmbplugError):
    """Another process owns the embedded collection."""


class EngineConnectionError(EmbplugError, ConnectionError):
    """The engine cannot be reached."""


class IngestError(EmbplugError):
    """Some batches could not be written after all retries.

    Attributes:
        report: the ``AddReport`` of the call: ``report.failed`` lists the ids and the reasons.
    """

    def __init__(self, message: str, report: Any) -> None:
        self.report = report
        super().__init__(message)


class MigrationError(EmbplugError):
    """A migration cannot go on; what it wrote stays, and the next call goes on from there."""


class UpgradeError(EmbplugError):
    """An upgrade to a new model cannot begin or go on.

    Attributes:
        report: the ``UpgradeReport`` where the recall was too low, else ``None``.
    """

    def __init__(self, message: str, report: Any = None) -> None:
        self.report = report
        super().__init__(message)


class VerificationError(MigrationError):
    """The copy is not what was asked for, so no alias was switched.

    Attributes:
        report: the ``MigrationReport`` as far as it got.
    """

    def __init__(self, message: str, report: Any) -> None:
        self.report = report
        super().__init__(message)


class RerankError(EmbplugError):
    """A reranker failed or took too long; its own error is the cause."""


class MissingExtraError(EmbplugError, ImportError):
    """An optional dependency is not installed."""

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an optional dependency: pip install 'embplug[{extra}]'")
        self.feature = feature
        self.extra = extra
