"""The encoder and the cross-encoder of a recipe, loaded when they are first needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from embplug.branches.documents import ENCODER_FOR_TEXTS
from embplug.encoders import Encoder, encodes_images, encodes_texts, load_encoder
from embplug.encoders.info import EncoderInfo
from embplug.encoders.registry import check_encoder_name, declared_info, is_local
from embplug.encoders.revisions import comparable, revision_of
from embplug.encoders.trust import check_trusted
from embplug.errors import DimensionError, EncoderMismatchError, InvalidArgumentError
from embplug.recipe import Recipe
from embplug.recipe.names import SPARSE_VECTOR
from embplug.search.cross_encoder import (
    CrossEncoder,
    Scorer,
    check_cross_encoder_name,
    is_registered_cross_encoder,
    load_cross_encoder,
)


class LoadedModels:
    """The models of a recipe, or those that the user passes in their place.

    An encoder that is used has to be of the revision that made the vectors of the collection, where both are
    known.

    Parameters
    ----------
    recipe : Recipe
        Names the models.
    encoder : Encoder or str, default=None
        Takes the place of the encoder that the recipe names, or is that of the sparse vector if the recipe
        names it so there. A name is loaded when it is first needed.
    scorer : callable or str, default=None
        Scores texts for a query, in place of the cross-encoder that the recipe names. A name is loaded when
        it is first needed.

    Attributes
    ----------
    revisions : dict of str to str
        Revision of each encoder that the collection remembers or that was used, by its name in the recipe;
        the name of the encoder of texts is empty.
    unrecorded : bool
        Whether the collection does not remember some of them.

    Raises
    ------
    InvalidArgumentError
        A passed model has no such methods, or a passed name is not known.
    """

    def __init__(self, recipe: Recipe, encoder: Encoder | str | None, scorer: Scorer | str | None) -> None:
        _check_passed(encoder, scorer)
        self._recipe = recipe
        self._encoder = encoder
        self._scorer = scorer
        self._encoder_name: str | None = None
        self._named: dict[str, Encoder] = {}
        self._passed_named: dict[str, Encoder] = {}
        self._scorer_name: str | None = None
        self._allowed: frozenset[str] = frozenset()
        self.revisions: dict[str, str] = {}
        self.unrecorded = False
        self._recorded: frozenset[str] = frozenset()
        self._for_sparse: Encoder | str | None = None
        self._take_for_sparse()

    def _take_for_sparse(self) -> None:
        """Let a passed encoder of the name of that of the sparse vector make the sparse vector.

        It takes the place of no other encoder that the recipe names.
        """
        passed, recipe = self._encoder, self._recipe
        spec = passed if isinstance(passed, str) else getattr(passed, "spec", None)
        if spec is None or recipe.sparse is None or spec != recipe.sparse.encoder:
            return
        if passed is None or isinstance(passed, str):
            self._allowed |= {spec}
        else:
            self.pass_named(passed)
        if recipe.encoder not in (None, spec):
            self._for_sparse, self._encoder = passed, None

    def allow(self, recipe: Recipe) -> None:
        """Allow the models that a recipe names, because it comes from the user and not from the engine."""
        stage = recipe.rerank.cross_encoder
        sparse = None if recipe.sparse is None else recipe.sparse.encoder
        names = (recipe.encoder, sparse, None if stage is None else stage.name)
        self._allowed |= {name for name in names if name is not None}

    def allow_as(self, other: LoadedModels) -> None:
        """Allow the models that the user has allowed for another pipeline of the collection."""
        self._allowed |= other._allowed
        self._named |= other._named
        self._passed_named |= other._passed_named
        self._for_sparse = self._for_sparse or other._for_sparse

    @property
    def has_encoder(self) -> bool:
        """Whether texts can stand for vectors."""
        return self._encoder is not None or self._recipe.encoder is not None

    @property
    def encoder(self) -> Encoder:
        """The encoder of texts.

        Raises
        ------
        InvalidArgumentError
            There is none.
        UntrustedModelError
            The recipe is that of a stored collection, and names a model that the user has not allowed.
        EncoderMismatchError
            It is of another revision than the vectors of the collection.
        """
        if self._encoder is None or isinstance(self._encoder, str):
            name = self._encoder or self._recipe.encoder
            if name is None:
                expected = ENCODER_FOR_TEXTS
                if self._recipe.sparse is not None and not self._recipe.sparse.is_learned:
                    expected += f", or a search in branches=[{SPARSE_VECTOR!r}] alone"
                raise InvalidArgumentError("encoder", expected, None)
            tokens = self._recipe.tokens
            with_saliency = tokens is not None and tokens.reads_saliency
            if self._encoder is None and not is_local(name):
                check_trusted(name, "encoder", self._allowed)
            self._encoder_name = name
            self._encoder = load_encoder(name, with_saliency=with_saliency)
        self.note_revision("", self._encoder)
        return self._encoder

    def encoder_named(self, name: str | None) -> Encoder:
        """The encoder of a part of the recipe, loaded when it is first needed; None is that of texts.

        Raises
        ------
        InvalidArgumentError
            There is none.
        UntrustedModelError
            The recipe is that of a stored collection, and names a model that the user has not allowed.
        EncoderMismatchError
            It is of another revision than the vectors of the collection.
        """
        if name is None:
            return self.encoder
        if name not in self._named:
            if not is_local(name):
                check_trusted(name, "encoder", self._allowed)
            self._named[name] = load_encoder(name)
        self.note_revision(name, self._named[name])
        return self._named[name]

    def note_revision(self, name: str, encoder: Encoder) -> None:
        """Remember which revision makes vectors, or refuse another one than before.

        Raises
        ------
        EncoderMismatchError
            The encoder is of another revision.
        """
        revision = revision_of(encoder)
        if revision is not None:
            self._note(name, revision, encoder.spec)

    def take_revisions(self, other: LoadedModels) -> None:
        """Remember the revisions that another pipeline of the collection has used.

        Raises
        ------
        EncoderMismatchError
            An encoder was of another revision.
        """
        for name, revision in other.revisions.items():
            self._note(name, revision, name or str(self._recipe.encoder))

    def _note(self, name: str, revision: str, spec: str) -> None:
        known = self.revisions.setdefault(name, revision)
        if known != revision and comparable(known, revision):
            raise EncoderMismatchError(spec, known, revision)
        self.unrecorded |= name not in self._recorded

    def pass_named(self, encoder: Encoder) -> None:
        """Take an encoder that the user passes for a part of the recipe that has its name."""
        _check_passed(encoder, None)
        self._passed_named[encoder.spec] = self._named[encoder.spec] = encoder

    def named_to_pass_again(self, name: str | None) -> Encoder | str | None:
        """An encoder of this name that the user passed, else the name."""
        return None if name is None else self._passed_named.get(name, name)

    @property
    def passed_encoder(self) -> Encoder | str | None:
        """The encoder that the user passed, or that was loaded."""
        return self._encoder

    @property
    def passed_scorer(self) -> Scorer | str | None:
        """The scorer that the user passed, or that was loaded."""
        return self._scorer

    def to_pass_again(self) -> tuple[Encoder | str | None, Scorer | str | None]:
        """What opens the collection with the same models elsewhere: by name where they were loaded."""
        stage = self._recipe.rerank.cross_encoder
        encoder, scorer = self._recipe.encoder, None if stage is None else stage.name
        return (
            self._encoder_name
            or self._encoder
            or (encoder if encoder in self._allowed else None)
            or self._for_sparse,
            self._scorer_name or self._scorer or (scorer if scorer in self._allowed else None),
        )

    def adopt_encoder(self, other: LoadedModels) -> None:
        """Take the encoder that another recipe with the same models was passed, or has loaded."""
        self._encoder, self._encoder_name = other._encoder, other._encoder_name

    def set_recorded(self, revisions: Mapping[str, str]) -> None:
        """Take over which revisions the collection remembers."""
        self.revisions = {**revisions}
        self._recorded = frozenset(revisions)
        self.unrecorded = False

    def check_names(self) -> None:
        """Check that the models that the recipe names are known, without loading them.

        Raises
        ------
        InvalidArgumentError
            A model is not known, and no other was passed in its place.
        """
        stage = self._recipe.rerank.cross_encoder
        if self._encoder is None and self._recipe.encoder is not None:
            check_encoder_name(self._recipe.encoder)
        sparse = self._recipe.sparse
        if sparse is not None and sparse.encoder is not None and sparse.encoder not in self._named:
            check_encoder_name(sparse.encoder)
        if self._scorer is None and stage is not None and stage.name is not None:
            check_cross_encoder_name(stage.name)

    def check_dimensions(self) -> None:
        """Check that the encoder makes vectors of a dimension that the recipe stores, where that is known.

        Nothing is loaded and no text is encoded: an encoder tells its dimensions by its attribute ``info``,
        which its class has if it is named. If one kind of vectors fits, the others may come from the user.

        Raises
        ------
        DimensionError
            No vectors of the encoder fit.
        """
        recipe, encoder = self._recipe, self._encoder if self._encoder is not None else self._recipe.encoder
        info = declared_info(encoder) if isinstance(encoder, str) else getattr(encoder, "info", None)
        if not isinstance(info, EncoderInfo):
            return
        stored = {f"dense.{name}": (dense.dim, info.dense_dim) for name, dense in recipe.dense.items()}
        if recipe.tokens is not None:
            stored = {"tokens": (recipe.tokens.dim, info.token_dim), **stored}
        pairs = {place: (dim, encoded) for place, (dim, encoded) in stored.items() if encoded is not None}
        if pairs and all(dim != encoded for dim, encoded in pairs.values()):
            name = encoder if isinstance(encoder, str) else getattr(encoder, "spec", None)
            expected = ", ".join(f"{dim} dimensions for {place}" for place, (dim, _) in pairs.items())
            got = ", ".join(f"{encoded} for {place}" for place, (_, encoded) in pairs.items())
            raise DimensionError("encoder", expected, f"{got} from {name!r}")

    def cross_encoder(self) -> CrossEncoder | None:
        """The last stage of the recipe, with its model; ``None`` where the recipe has none.

        Raises
        ------
        InvalidArgumentError
            The recipe names no model, and none was passed.
        UntrustedModelError
            The recipe is that of a stored collection, and names a model that the user has not allowed.
        """
        stage = self._recipe.rerank.cross_encoder
        if stage is None:
            return None
        if self._scorer is None or isinstance(self._scorer, str):
            name = self._scorer or stage.name
            if name is None:
                expected = "a function of query and texts, passed to open, or a name in the recipe"
                raise InvalidArgumentError("cross_encoder", expected, None)
            if self._scorer is None and not is_registered_cross_encoder(name):
                check_trusted(name, "cross_encoder", self._allowed)
            self._scorer_name = name
            self._scorer = load_cross_encoder(name)
        return CrossEncoder(
            self._scorer, self._recipe.text_key, stage.batch_size, stage.timeout, stage.on_failure
        )


def _check_passed(encoder: Any, scorer: Any) -> None:
    """Refuse what is neither a model nor the name of one."""
    if isinstance(encoder, str):
        check_encoder_name(encoder)
    elif encoder is not None and (
        isinstance(encoder, type) or not (encodes_texts(encoder) or encodes_images(encoder))
    ):
        expected = (
            "an Encoder, with encode_documents and encode_queries, or an ImageEncoder, with encode_images, "
            "or the name of one"
        )
        raise InvalidArgumentError("encoder", expected, _kind_of(encoder))
    if isinstance(scorer, str):
        check_cross_encoder_name(scorer)
    elif scorer is not None and not callable(scorer):
        expected = "a function of query and texts, or the name of a cross-encoder"
        raise InvalidArgumentError("cross_encoder", expected, type(scorer).__name__)


def _kind_of(value: Any) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
