"""The encoder and the cross-encoder of a recipe, loaded when they are first needed."""

from __future__ import annotations

from embplug.encoders import Encoder, load_encoder
from embplug.errors import InvalidArgumentError
from embplug.recipe import Recipe
from embplug.recipe.names import SPARSE_VECTOR
from embplug.search.cross_encoder import CrossEncoder, Scorer, load_cross_encoder


class LoadedModels:
    """The models of a recipe, or those that the user passes in their place.

    Parameters
    ----------
    recipe : Recipe
        Names the models.
    encoder : Encoder, default=None
        Takes the place of the encoder that the recipe names.
    scorer : callable, default=None
        Scores texts for a query, in place of the cross-encoder that the recipe names.
    """

    def __init__(self, recipe: Recipe, encoder: Encoder | None, scorer: Scorer | None) -> None:
        self._recipe = recipe
        self._encoder = encoder
        self._scorer = scorer

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
        """
        if self._encoder is None:
            if self._recipe.encoder is None:
                expected = "an encoder for texts, named in the recipe or passed to open"
                if self._recipe.sparse is not None:
                    expected += f", or a search in branches=[{SPARSE_VECTOR!r}] alone"
                raise InvalidArgumentError("encoder", expected, None)
            tokens = self._recipe.tokens
            with_saliency = tokens is not None and tokens.reads_saliency
            self._encoder = load_encoder(self._recipe.encoder, with_saliency=with_saliency)
        return self._encoder

    @property
    def passed_encoder(self) -> Encoder | None:
        """The encoder that the user passed, or that was loaded."""
        return self._encoder

    @property
    def passed_scorer(self) -> Scorer | None:
        """The scorer that the user passed, or that was loaded."""
        return self._scorer

    def adopt_encoder(self, other: LoadedModels) -> None:
        """Take the encoder that another recipe with the same models was passed, or has loaded."""
        self._encoder = other._encoder

    def cross_encoder(self) -> CrossEncoder | None:
        """The last stage of the recipe, with its model; ``None`` where the recipe has none.

        Raises
        ------
        InvalidArgumentError
            The recipe names no model, and none was passed.
        """
        stage = self._recipe.rerank.cross_encoder
        if stage is None:
            return None
        if self._scorer is None:
            if stage.name is None:
                expected = "a function of query and texts, passed to open, or a name in the recipe"
                raise InvalidArgumentError("cross_encoder", expected, None)
            self._scorer = load_cross_encoder(stage.name)
        return CrossEncoder(
            self._scorer, self._recipe.text_key, stage.batch_size, stage.timeout, stage.on_failure
        )
