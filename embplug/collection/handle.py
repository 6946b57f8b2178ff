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
from embplug.engines.calls import Steps, T, is_transient
from embplug.errors import CollectionNotFoundError, EmbplugError, EngineConnectionError, EngineError

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

    def is_outdated_steps(self, pipeline: Pipeline, error: Exception | None = None) -> Steps[bool]:
        """Return whether the collection has another revision by now than requests that were made.

        Parameters
        ----------
        pipeline : Pipeline
            What made the requests.
        error : Exception, default=None
            Error with which they ended. By default the engine has answered them, which it does under the
            alias of a revision for that revision alone.
        """
        if pipeline.revision is None or (error is None and pipeline.alias is not None):
            return False
        if isinstance(error, CollectionNotFoundError):
            return True
        if error is not None and is_transient(error):
            return False
        try:
            return not (yield from self.is_current_steps(pipeline))
        except (CollectionNotFoundError, EngineConnectionError, EngineError):
            if error is None:
                raise
            # The error of the user's own request says more.
            return False
        except EmbplugError:
            # Reading the recipe again tells what stands under the name now.
            return True

    def run_steps(self, work: Callable[[Pipeline], Steps[T]]) -> Steps[T]:
        """Do ``work`` with the pipeline of the collection, and once more if that has changed meanwhile.

        The engine refuses requests under the alias of a revision that has passed. For a pipeline without
        such an alias the revision is read once more after the work. It is also read after each error that
        may come of another revision.

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
            except (EmbplugError, ValueError) as error:
                # What does not fit this recipe may fit the one that the collection has now.
                if not (yield from self.changed_steps(pipeline, error)):
                    raise
            else:
                if not (yield from self.changed_steps(pipeline)):
                    return result
        raise self.overtaken_error()

    def checked_steps(self, work: Callable[[Pipeline], Steps[T]]) -> Steps[T]:
        """Do ``work`` that encodes nothing, and once more if what it refuses may fit by now."""
        for _ in range(ATTEMPTS):
            pipeline = self.pipeline
            try:
                return (yield from work(pipeline))
            except (EmbplugError, ValueError) as error:
                if not (yield from self.changed_steps(pipeline, error)):
                    raise
        raise self.overtaken_error()

    def overtaken_error(self) -> EngineError:
        """Error of work that was repeated as often as is worth while."""
        return EngineError(f"collection {self.name!r} is changed by other processes all the time")

    def changed_steps(self, pipeline: Pipeline, error: Exception | None = None) -> Steps[bool]:
        """Take over what the collection is now if it has changed; see :meth:`is_outdated_steps`."""
        if not (yield from self.is_outdated_steps(pipeline, error)):
            return False
        yield from self.replace_steps(pipeline)
        return True
