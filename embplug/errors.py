"""The typed exceptions of embplug. All of them derive from :class:`EmbplugError`."""

from __future__ import annotations

from typing import Any


class EmbplugError(Exception):
    """Base class of the errors that embplug raises.

    Attributes
    ----------
    retried : bool
        Whether the request that failed was sent again as often as is worth while.
    """

    retried = False


class InvalidArgumentError(EmbplugError, ValueError):
    """An argument is not valid.

    Attributes
    ----------
    argument : str
        Name of the argument, with the index of the first wrong element: ``tokens[3]``.
    expected : str
        Description of valid values.
    got : object
        The value, or a description of it.
    """

    def __init__(self, argument: str, expected: str, got: Any) -> None:
        self.argument = argument
        self.expected = expected
        self.got = got
        super().__init__(f"{argument}: expected {expected}, got {got}")


class DimensionError(InvalidArgumentError):
    """A vector or a token matrix has the wrong number of dimensions."""


class NonFiniteError(InvalidArgumentError):
    """A vector or a token matrix holds NaN or an infinite value."""


class EmptyTokensError(InvalidArgumentError):
    """A token matrix has no rows."""


class LengthMismatchError(InvalidArgumentError):
    """Arguments that belong together element by element have different lengths."""


class DuplicateIdError(InvalidArgumentError):
    """An id occurs twice in one call."""


class PointTooLargeError(InvalidArgumentError):
    """A point is larger than the engine accepts, so it is not sent."""


class ImageError(InvalidArgumentError):
    """An image or a page cannot be read, is blank, or has more pixels than the caller accepts."""


class FilterError(InvalidArgumentError):
    """The engine cannot evaluate a condition of a filter, or its type contradicts the payload index."""


class RecipeError(InvalidArgumentError):
    """A recipe contradicts itself or has unknown fields."""


class RecipeMismatchError(EmbplugError):
    """The collection exists with another recipe.

    Attributes
    ----------
    name : str
        Name of the collection.
    differences : dict of str to tuple
        For each field that differs, by its dotted name, the stored value and the value of the caller.
    """

    def __init__(self, name: str, differences: dict[str, tuple[Any, Any]]) -> None:
        self.name = name
        self.differences = differences
        listed = "; ".join(
            f"{field}: stored {old!r}, passed {new!r}" for field, (old, new) in differences.items()
        )
        super().__init__(f"collection {name!r} exists with another recipe ({listed})")


class RecipeVersionError(EmbplugError):
    """The recipe was written by a newer version of embplug."""


class CollectionNotFoundError(EmbplugError):
    """The engine has no collection of that name."""


class CollectionExistsError(EmbplugError):
    """Another process has created the collection first."""


class NotAnEmbplugCollectionError(EmbplugError):
    """The collection has no recipe, because embplug did not create it."""


class NotFittedError(EmbplugError):
    """A method that learns from data is used before it is fitted."""


class UntrustedModelError(EmbplugError):
    """The recipe of a stored collection names a model that its reader has not allowed.

    Attributes
    ----------
    name : str
        Name of the model.
    argument : str
        Argument by which the model is passed.
    """

    def __init__(self, name: str, argument: str, variable: str) -> None:
        self.name = name
        self.argument = argument
        super().__init__(
            f"{argument}: the recipe of the collection names the model {name!r}, which is not loaded, "
            "because whoever wrote the collection chose it. If you trust it, open the collection with "
            f"{argument}={name!r}, or set the environment variable {variable}={name}"
        )


class EncoderError(EmbplugError):
    """The endpoint of an encoder failed, or its answer holds no vectors.

    Attributes
    ----------
    url : str
        Address of the request.
    reason : str
        What happened, without the key of the endpoint.
    """

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        self.reason = reason
        super().__init__(f"encoder at {url}: {reason}")


class EncoderMismatchError(EmbplugError):
    """The encoder is another model, or another revision of it, than made the vectors of the collection.

    Attributes
    ----------
    spec : str
        Name of the encoder.
    expected : str
        Revision of the model that made the vectors.
    got : str
        Revision of the encoder.
    """

    def __init__(self, spec: str, expected: str, got: str) -> None:
        self.spec = spec
        self.expected = expected
        self.got = got
        super().__init__(
            f"encoder {spec!r} has the revision {got!r}, but the vectors of the collection are of "
            f"{expected!r}. Use the encoder of the collection, or change its model with embplug.upgrade or "
            "embplug.migrate"
        )


class StateError(EmbplugError):
    """The fitted state of a collection is missing, truncated or altered."""


class CapabilityError(EmbplugError):
    """The engine cannot do this in its version."""


class EngineError(EmbplugError):
    """The engine failed, or refused a request for a reason that no other class describes."""


class DiskSpaceError(EngineError):
    """The disk of Qdrant Edge has too little free space, so that nothing was written."""


class EngineLockedError(EmbplugError):
    """Another process owns the directory of Qdrant Edge."""


class EngineConnectionError(EmbplugError, ConnectionError):
    """The engine cannot be reached."""


class EngineAnswerError(EngineError):
    """An answer cannot be read: something else than Qdrant, or another version, may have sent it."""


class IngestError(EmbplugError):
    """Some batches could not be written, even after all retries.

    Attributes
    ----------
    report : AddReport
        Report of the call; ``report.failed`` lists the ids and the reasons.
    """

    def __init__(self, message: str, report: Any) -> None:
        self.report = report
        super().__init__(message)


class MigrationError(EmbplugError):
    """A migration cannot continue. What it has written stays, and the next call continues from there."""


class UpgradeError(EmbplugError):
    """An upgrade to a new model cannot begin or continue.

    Attributes
    ----------
    report : UpgradeReport or None
        The measurements if the recall is too low, otherwise ``None``.
    """

    def __init__(self, message: str, report: Any = None) -> None:
        self.report = report
        super().__init__(message)


class VerificationError(MigrationError):
    """The copy of a migration fails verification, so the alias is not switched.

    Attributes
    ----------
    report : MigrationReport
        Report of the migration up to the failed check.
    """

    def __init__(self, message: str, report: Any) -> None:
        self.report = report
        super().__init__(message)


class RerankError(EmbplugError):
    """A reranker failed or took too long. Its own error is the cause."""


class MissingExtraError(EmbplugError, ImportError):
    """An optional dependency is not installed.

    Attributes
    ----------
    feature : str
        What needs the dependency.
    extra : str
        Extra of embplug that installs it.
    """

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(f"{feature} needs an optional dependency: pip install 'embplug[{extra}]'")
        self.feature = feature
        self.extra = extra
