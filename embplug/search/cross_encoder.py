"""Reranking by a cross-encoder, a model that reads the query and a text together."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from embplug.common.extras import import_extra
from embplug.common.telemetry import span
from embplug.errors import InvalidArgumentError, LengthMismatchError, MissingExtraError, RerankError

if TYPE_CHECKING:
    from embplug.search.types import Hit

CROSS_ENCODER_STAGE = "cross_encoder"

Scorer = Callable[[str, "Sequence[str]"], "Sequence[float]"]
"""Takes a query and texts, and returns one score for each text. Higher is better."""


@dataclass(frozen=True)
class CrossEncoder:
    """Reranks hits by a function that scores texts for a query.

    Parameters
    ----------
    scorer : callable
        Function of a query and a list of texts that returns one score for each text. Higher is better.
    text_key : str, default="text"
        Payload field with the text of a hit.
    batch_size : int, default=32
        Number of texts in one call of the scorer.
    timeout : float, default=None
        Seconds for all calls together. None sets no limit. A running call cannot be stopped: it ends in its
        own thread, and its result is dropped.
    on_failure : {"raise", "keep"}, default="raise"
        What happens if the scorer fails or a hit has no text. ``"raise"`` raises an error. ``"keep"`` keeps
        the order of the hits: a hit without a text keeps its place, and the others are ranked around it. The
        attribute ``skipped`` of every hit without a score then has the reason.

    Raises
    ------
    InvalidArgumentError
        ``batch_size``, ``timeout`` or ``on_failure`` is out of range.

    References
    ----------
    .. [1] Nogueira and Cho, "Passage Re-ranking with BERT", 2019.
    """

    scorer: Scorer
    text_key: str = "text"
    batch_size: int = 32
    timeout: float | None = None
    on_failure: Literal["raise", "keep"] = "raise"

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise InvalidArgumentError("batch_size", "at least 1", self.batch_size)
        if self.timeout is not None and not self.timeout > 0:
            raise InvalidArgumentError("timeout", "more than 0 seconds", self.timeout)
        if self.on_failure not in ("raise", "keep"):
            raise InvalidArgumentError("on_failure", "'raise' or 'keep'", repr(self.on_failure))

    @classmethod
    def from_sentence_transformers(cls, model: Any, **options: Any) -> CrossEncoder:
        """Build a reranker from a cross-encoder of sentence-transformers.

        Parameters
        ----------
        model : sentence_transformers.CrossEncoder or str
            Model, or the name of a model to load.
        **options
            Other parameters of this class.

        Returns
        -------
        CrossEncoder
            The reranker.

        Raises
        ------
        MissingExtraError
            ``model`` is a name and sentence-transformers is not installed.
        """
        return cls(_sentence_transformers_scorer(model), **options)

    @classmethod
    def from_rerankers(cls, ranker: Any, **options: Any) -> CrossEncoder:
        """Build a reranker from a ranker of the package rerankers.

        Parameters
        ----------
        ranker : rerankers.Reranker or str
            Ranker, or the name of a ranker to load.
        **options
            Other parameters of this class.

        Returns
        -------
        CrossEncoder
            The reranker.

        Raises
        ------
        InvalidArgumentError
            The package has no ranker of this name, or a package that the ranker needs is not installed.
        MissingExtraError
            ``ranker`` is a name and rerankers is not installed.
        """
        return cls(_rerankers_scorer(ranker), **options)

    def rerank(self, query: str, hits: Sequence[Hit], limit: int | None = None) -> list[Hit]:
        """Rank hits by the scores of their texts.

        Parameters
        ----------
        query : str
            Text of the query.
        hits : sequence of Hit
            Hits with the payload field ``text_key``.
        limit : int, default=None
            Number of hits to return. None returns all.

        Returns
        -------
        list of Hit
            Hits from the best to the worst, each with its score as stage ``"cross_encoder"``.

        Raises
        ------
        InvalidArgumentError
            A hit has no text and ``on_failure`` is ``"raise"``. A search with a payload returns the text.
        RerankError
            The scorer fails or takes too long, and ``on_failure`` is ``"raise"``.
        """
        skipped: dict[int, str] = {}
        texts: dict[int, str] = {}
        for i, hit in enumerate(hits):
            text = (hit.payload or {}).get(self.text_key)
            if isinstance(text, str):
                texts[i] = text
                continue
            missing = InvalidArgumentError(f"hits[{i}].payload[{self.text_key!r}]", "a text", repr(text))
            if self.on_failure == "raise":
                raise missing
            skipped[i] = _reason(missing)
        scores: dict[int, float] = {}
        try:
            with span("cross_encode", candidates=len(texts)):
                scores = dict(zip(texts, self._scores(query, [*texts.values()]), strict=True))
        except Exception as error:
            if self.on_failure == "raise":
                raise RerankError(f"the cross-encoder failed ({_reason(error)})") from error
            skipped |= dict.fromkeys(texts, _reason(error))
        ranked = iter(sorted(scores, key=lambda i: -scores[i]))
        ordered = [i if i in skipped else next(ranked) for i in range(len(hits))]
        return [_with_result(hits[i], scores.get(i), skipped.get(i)) for i in ordered[:limit]]

    async def rerank_async(self, query: str, hits: Sequence[Hit], limit: int | None = None) -> list[Hit]:
        """Rank hits by the scores of their texts, in a thread; see :meth:`rerank`."""
        return await asyncio.to_thread(self.rerank, query, hits, limit)

    def _scores(self, query: str, texts: list[str]) -> list[float]:
        if self.timeout is None:
            return self._in_batches(query, texts, lambda: False)
        outcome: list[Any] = []
        late = threading.Event()

        def work() -> None:
            try:
                outcome.append(self._in_batches(query, texts, late.is_set))
            except Exception as error:
                outcome.append(error)

        thread = threading.Thread(target=work, name="embplug-cross-encoder", daemon=True)
        thread.start()
        thread.join(self.timeout)
        if not outcome:
            late.set()
            raise TimeoutError(f"no scores after {self.timeout:g} s")
        if isinstance(outcome[0], Exception):
            raise outcome[0]
        scores: list[float] = outcome[0]
        return scores

    def _in_batches(self, query: str, texts: list[str], is_late: Callable[[], bool]) -> list[float]:
        scores: list[float] = []
        for start in range(0, len(texts), self.batch_size):
            if is_late():
                break
            batch = texts[start : start + self.batch_size]
            batch_scores = [float(score) for score in self.scorer(query, batch)]
            if len(batch_scores) != len(batch):
                raise LengthMismatchError("scores", f"{len(batch)}, one per text", len(batch_scores))
            if not all(math.isfinite(score) for score in batch_scores):
                raise InvalidArgumentError("scores", "finite numbers", batch_scores)
            scores += batch_scores
        return scores


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _with_result(hit: Hit, score: float | None, reason: str | None) -> Hit:
    """Return a hit with its score, or with the reason why it has none."""
    if score is None:
        return replace(hit, skipped={**(hit.skipped or {}), CROSS_ENCODER_STAGE: str(reason)})
    return replace(hit, score=score, stages={**(hit.stages or {}), CROSS_ENCODER_STAGE: score})


def _sentence_transformers_scorer(model: Any) -> Scorer:
    if isinstance(model, str):
        try:
            from sentence_transformers import CrossEncoder as Model
        except ImportError as error:
            raise MissingExtraError("a cross-encoder by name", "sentence-transformers") from error
        model = Model(model)

    def score(query: str, texts: Sequence[str]) -> Sequence[float]:
        predicted = model.predict([(query, text) for text in texts], show_progress_bar=False)
        return [float(value) for value in predicted]

    return score


def _rerankers_scorer(ranker: Any) -> Scorer:
    if isinstance(ranker, str):
        name = ranker
        ranker = import_extra("rerankers", "a cross-encoder by name").Reranker(name, verbose=0)
        if ranker is None:
            # The package prints what is missing and returns None.
            expected = "a ranker of the package rerankers, with what it needs installed"
            raise InvalidArgumentError("cross_encoder", expected, repr(name))

    def score(query: str, texts: Sequence[str]) -> Sequence[float]:
        ranked = ranker.rank(query=query, docs=list(texts), doc_ids=list(range(len(texts))))
        scores = {int(result.doc_id): float(result.score) for result in ranked.results}
        return [scores[i] for i in range(len(texts))]

    return score


_BY_NAME: dict[str, Callable[[str], Scorer]] = {
    "sentence-transformers": _sentence_transformers_scorer,
    "rerankers": _rerankers_scorer,
}
_registered: dict[str, Callable[[], Scorer]] = {}


def register_cross_encoder(name: str, make: Callable[[], Scorer]) -> None:
    """Register a cross-encoder under a name, by which recipes and ``load_cross_encoder`` find it.

    Registering a name again replaces the earlier cross-encoder.

    Parameters
    ----------
    name : str
        Name of the cross-encoder, without a colon.
    make : callable
        Function without arguments that returns the scorer: a function of a query and a list of texts that
        returns one score for each text. It is called when the cross-encoder is first needed.

    Raises
    ------
    InvalidArgumentError
        ``name`` is empty or has a colon.

    Examples
    --------
    >>> from embplug import CrossEncoderStage, Rerank, register_cross_encoder
    >>> def make():
    ...     return lambda query, texts: [float(query in text) for text in texts]
    >>> register_cross_encoder("contains", make)
    >>> rerank = Rerank(cross_encoder=CrossEncoderStage(name="contains"))
    """
    if not isinstance(name, str) or not name or ":" in name:
        raise InvalidArgumentError("name", "a name without a colon", repr(name))
    _registered[name] = make


def load_cross_encoder(name: str) -> Scorer:
    """Load a cross-encoder by its name.

    Parameters
    ----------
    name : str
        A name that was registered with :func:`register_cross_encoder`, ``"sentence-transformers:MODEL"`` or
        ``"rerankers:MODEL"``.

    Returns
    -------
    callable
        Function of a query and a list of texts that returns one score for each text.

    Raises
    ------
    InvalidArgumentError
        There is no cross-encoder of that name.
    MissingExtraError
        The package before the colon is not installed.
    """
    check_cross_encoder_name(name)
    if name in _registered:
        return _registered[name]()
    kind, _, model = name.partition(":")
    return _BY_NAME[kind](model)


def is_registered_cross_encoder(name: str) -> bool:
    """Return whether a cross-encoder was registered in this process."""
    return name in _registered


def check_cross_encoder_name(name: Any) -> None:
    """Check that a cross-encoder of this name is known, without loading it.

    Parameters
    ----------
    name : str
        Name as :func:`load_cross_encoder` takes it.

    Raises
    ------
    InvalidArgumentError
        There is no cross-encoder of that name.
    """
    kind, _, model = name.partition(":") if isinstance(name, str) else ("", "", "")
    if name not in _registered and (kind not in _BY_NAME or not model):
        known = [*_registered, *(f"{package}:MODEL" for package in _BY_NAME)]
        raise InvalidArgumentError("cross_encoder", f"one of {known}", repr(name))
