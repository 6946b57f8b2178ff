"""An open collection that follows what other processes decide about it."""

from __future__ import annotations

import logging
from collections.abc import Callable

from embplug.branches.documents import CheckedSample
from embplug.branches.pipeline import Pipeline
from embplug.collection.fitting import learn_steps, record_encoders_steps
from embplug.collection.restore import reload_steps
from embplug.collection.revision import read_revision_steps
from embplug.encoders import Encoder
from embplug.engines import AnyEngine
from embplug.engines.calls import Steps, T
from embplug.errors import CollectionNotFoundError, EmbplugError, EngineError, InvalidArgumentError

logger = logging.getLogger(__name__)

ATTEMPTS = 20


class Handle:
    """A collection as an object of this process knows it.

    Parameters
    ----------
    engine : client
        Client that speaks to the engine.
    name : str
        Name of the collection, or of an alias.
    pipeline : Pipeline
        Recipe and fitted state at the moment.

    Attributes
    ----------
    pipeline : Pipeline
        Recipe and fitted state. It is replaced, never changed, when the collection has changed.
    """

    def __init__(self, engine: AnyEngine, name: str, pipeline: Pipeline) -> None:
        self.engine = engine
        self.name = name
        self.pipeline = pipeline

    def reload_steps(self, encoder: Encoder | str | None = None) -> Steps[None]:
        """Read recipe and fitted state again."""
        self.pipeline = yield from reload_steps(self.engine, self.name, self.pipeline, encoder)

    def follow_steps(self) -> Steps[None]:
        """Read recipe and fitted state again if the collection has another revision by now."""
        if self.pipeline.revision is not None and not (yield from self.is_current_steps(self.pipeline)):
            yield from self.reload_steps()

    def replace_steps(self, outdated: Pipeline) -> Steps[None]:
        """Read recipe and fitted state again, unless that was done since ``outdated`` was taken."""
        if self.pipeline is outdated:
            logger.info("collection %r was changed by another process: its recipe is read again", self.name)
            yield from self.reload_steps()

    def learn_steps(self, sample: CheckedSample | None) -> Steps[None]:
        """Take over what the collection has learned, else learn from a sample; see :func:`learn_steps`."""
        self.pipeline = yield from learn_steps(self.engine, self.name, self.pipeline, sample)

    def record_encoders_steps(self, used: Pipeline) -> Steps[None]:
        """Let the collection remember which encoders have made vectors of it."""
        self.pipeline = yield from record_encoders_steps(self.engine, self.name, self.pipeline, used)

    def is_current_steps(self, pipeline: Pipeline) -> Steps[bool]:
        """Return whether the collection still is of the revision of ``pipeline``."""
        manifest = (yield from read_revision_steps(self.name)).manifest
        return manifest.identity == pipeline.revision

    def run_steps(self, work: Callable[[Pipeline], Steps[T]]) -> Steps[T]:
        """Do ``work`` with the pipeline of the collection, and once more if that has changed meanwhile.

        The engine refuses requests under the alias of a revision that has passed. For a pipeline without
        such an alias the revision is read once more after the work.

        Parameters
        ----------
        work : callable
            Takes a pipeline and returns steps, which may be done more than once.

        Returns
        -------
        object
            What the steps return.

        Raises
        ------
        CollectionNotFoundError
            There is no such collection any more.
        EngineError
            The collection changes all the time.
        """
        for _ in range(ATTEMPTS):
            if not self.pipeline.fitted:
                yield from self.learn_steps(None)
            pipeline = self.pipeline
            try:
                result = yield from work(pipeline)
            except (CollectionNotFoundError, InvalidArgumentError) as error:
                # What does not fit this recipe may fit the one that the collection has now.
                if not (yield from self.changed_steps(pipeline, error)):
                    raise
            else:
                if pipeline.alias is not None or pipeline.revision is None:
                    return result
                if (yield from self.is_current_steps(pipeline)):
                    return result
                yield from self.replace_steps(pipeline)
        raise self.overtaken_error()

    def checked_steps(self, work: Callable[[Pipeline], Steps[T]]) -> Steps[T]:
        """Do ``work`` that encodes nothing, and once more if what it refuses may fit by now."""
        for _ in range(ATTEMPTS):
            pipeline = self.pipeline
            try:
                return (yield from work(pipeline))
            except InvalidArgumentError as error:
                if not (yield from self.changed_steps(pipeline, error)):
                    raise
        raise self.overtaken_error()

    def overtaken_error(self) -> EngineError:
        """Error of work that was repeated as often as is worth while."""
        return EngineError(f"collection {self.name!r} is changed by other processes all the time")

    def changed_steps(self, pipeline: Pipeline, error: EmbplugError) -> Steps[bool]:
        """Return whether it is worth while to repeat what failed, with what the collection is now."""
        if pipeline.revision is None:
            return False
        if isinstance(error, InvalidArgumentError):
            try:
                if (yield from self.is_current_steps(pipeline)):
                    return False
            except EmbplugError:
                # The error of the user's own argument says more than that of the engine.
                return False
        yield from self.replace_steps(pipeline)
        return True
