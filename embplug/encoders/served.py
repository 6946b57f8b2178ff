"""Encoders whose model runs behind an endpoint: of the kind of OpenAI's, of vLLM, of TEI."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from embplug.common.validation import short_repr
from embplug.encoders.base import Encoded, csr_rows, token_batch
from embplug.encoders.endpoint import Endpoint
from embplug.encoders.info import EncoderInfo, Output
from embplug.encoders.texts import Task, TextEncoder
from embplug.errors import InvalidArgumentError
from embplug.methods.numeric.rows import unit_rows


class ServedEncoder(TextEncoder):
    """Base of the encoders behind an endpoint.

    A derived class defines ``kind`` and ``_encode_prompted``.

    Parameters
    ----------
    address : str
        Address of the endpoint; after ``#`` follows what a derived class says.
    query_prompt, document_prompt : str, default=""
        Text that is put before queries and before documents.
    **options : object
        ``api_key``, ``timeout``, ``retries``, ``batch_size`` and ``concurrency``. See
        :class:`~embplug.encoders.endpoint.Endpoint`.

    Raises
    ------
    InvalidArgumentError
        The address or an option is not valid.
    """

    kind: ClassVar[str]

    def __init__(
        self, address: str, *, query_prompt: str = "", document_prompt: str = "", **options: Any
    ) -> None:
        url, _, self._name = str(address).partition("#")
        self._endpoint = Endpoint(url, **options)
        self._prompts: dict[Task, str] = {"query": query_prompt, "document": document_prompt}
        for name, prompt in self._prompts.items():
            if not isinstance(prompt, str):
                raise InvalidArgumentError(f"{name}_prompt", "a text", short_repr(prompt))
        self._output: Output = "dense"
        self._dim: int | None = None
        self.spec = f"{self.kind}:{self._endpoint.url}" + (f"#{self._name}" if self._name else "")

    @property
    def info(self) -> EncoderInfo:
        """What the endpoint makes; dimension, longest text and revision once the endpoint has told them."""
        return EncoderInfo(
            (self._output,),
            self._dim if self._output == "tokens" else None,
            self._dim if self._output == "dense" else None,
            self.__dict__.get("max_tokens"),
            self.__dict__.get("revision"),
        )

    @cached_property
    def revision(self) -> str | None:
        """Name of the served model, or the commit that the endpoint tells."""
        return f"name-{self._name}"

    def _encode(self, texts: Sequence[str], task: Task) -> Encoded:
        return self._encode_prompted([self._prompts[task] + text for text in texts])

    def _encode_prompted(self, texts: list[str]) -> Encoded:
        raise NotImplementedError

    @cached_property
    def max_tokens(self) -> int | None:
        """Tokens of the longest text, where the endpoint tells them."""
        return None

    def _rows(
        self,
        texts: list[str],
        path: str,
        body: Callable[[list[str]], dict[str, Any]],
        rows_of: Callable[[Any], Any],
        read: Callable[[Any], Any],
    ) -> list[Any]:
        """What ``read`` makes of the row of each text; ``rows_of`` finds the rows in an answer."""
        rows: list[Any] = []
        for count, answer in self._endpoint.send_texts(texts, path, body):
            try:
                parts = [read(row) for row in rows_of(answer)]
            except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
                reason = f"its answer holds no vectors of texts: {short_repr(answer)}"
                raise self._endpoint.error(path, reason) from None
            if len(parts) != count:
                raise self._endpoint.error(path, f"expected vectors of {count} texts, got {len(parts)}")
            rows += parts
        for i, row in enumerate(rows):
            if isinstance(row, np.ndarray) and row.shape[-1] != rows[0].shape[-1]:
                expected = f"vectors of {rows[0].shape[-1]} dimensions"
                raise self._endpoint.error(path, f"expected {expected}, got {row.shape[-1]} for text {i}")
        if rows and isinstance(rows[0], np.ndarray):
            self._dim = int(rows[0].shape[-1])
        return rows


class OpenAIEncoder(ServedEncoder):
    """Encoder with an endpoint ``/embeddings`` of the kind of OpenAI's, which makes dense vectors.

    vLLM, TEI, Ollama, llama.cpp, Infinity and many hosts have it.

    Parameters
    ----------
    address : str
        Address up to ``/embeddings``, then ``#`` and the name of the model:
        ``"http://localhost:8000/v1#BAAI/bge-m3"``.
    **options : object
        See :class:`ServedEncoder`.

    Raises
    ------
    InvalidArgumentError
        The address or an option is not valid, or there is no model.
    """

    kind = "openai"

    def __init__(self, address: str, **options: Any) -> None:
        super().__init__(address, **options)
        _check_model(self)

    def _encode_prompted(self, texts: list[str]) -> Encoded:
        rows = self._rows(texts, "/embeddings", self._body, _data, lambda row: _array(row["embedding"], 1))
        return Encoded(dense=np.stack(rows))

    def _body(self, texts: list[str]) -> dict[str, Any]:
        return {"model": self._name, "input": texts, "encoding_format": "float"}


class VLLMEncoder(ServedEncoder):
    """Encoder with the endpoint ``/pooling`` of vLLM, which makes token vectors of unit length.

    Parameters
    ----------
    address : str
        Address of the server, then ``#`` and the name of the model:
        ``"http://localhost:8000#lightonai/GTE-ModernColBERT-v1"``.
    **options : object
        See :class:`ServedEncoder`.

    Raises
    ------
    InvalidArgumentError
        The address or an option is not valid, or there is no model.
    """

    kind = "vllm"

    def __init__(self, address: str, **options: Any) -> None:
        super().__init__(address, **options)
        _check_model(self)
        self._output = "tokens"

    def _encode_prompted(self, texts: list[str]) -> Encoded:
        rows = self._rows(texts, "/pooling", self._body, _data, lambda row: unit_rows(_array(row["data"], 2)))
        return Encoded(token_batch(rows))

    def _body(self, texts: list[str]) -> dict[str, Any]:
        return {"model": self._name, "input": texts, "task": "token_embed", "encoding_format": "float"}

    @cached_property
    def max_tokens(self) -> int | None:
        """Tokens of the longest text, as the server tells them."""
        answer = self._endpoint.send("GET", "/v1/models")
        models = answer.get("data") if isinstance(answer, dict) else None
        for model in models if isinstance(models, list) else []:
            if isinstance(model, dict) and model.get("id") == self._name:
                return _integer(model.get("max_model_len"))
        return None


class TEIEncoder(ServedEncoder):
    """Encoder with a server of text-embeddings-inference.

    Parameters
    ----------
    address : str
        Address of the server. After ``#`` may follow what is asked for: ``dense`` (the default), ``tokens``
        for the last layer's vectors of all tokens, of unit length, or ``sparse`` for a model of the kind of
        SPLADE: ``"http://localhost:8080#tokens"``.
    **options : object
        See :class:`ServedEncoder`.

    Raises
    ------
    InvalidArgumentError
        The address or an option is not valid.
    """

    kind = "tei"

    def __init__(self, address: str, **options: Any) -> None:
        super().__init__(address, **options)
        if self._name not in ("", "dense", "tokens", "sparse"):
            raise InvalidArgumentError("encoder", "'dense', 'tokens' or 'sparse' after '#'", repr(self._name))
        if self._name:
            self._output = self._name  # type: ignore[assignment]

    def _encode_prompted(self, texts: list[str]) -> Encoded:
        def rows(path: str, read: Callable[[Any], Any]) -> list[Any]:
            return self._rows(texts, path, lambda part: {"inputs": part, "truncate": True}, list, read)

        if self._output == "tokens":
            return Encoded(token_batch(rows("/embed_all", lambda row: unit_rows(_array(row, 2)))))
        if self._output == "sparse":
            pairs = rows("/embed_sparse", _weights)
            return Encoded(sparse=csr_rows([ids for ids, _ in pairs], [weights for _, weights in pairs]))
        return Encoded(dense=np.stack(rows("/embed", lambda row: _array(row, 1))))

    @cached_property
    def revision(self) -> str | None:
        """Commit of the model, as the server tells it."""
        revision = self._information.get("model_sha")
        return revision if isinstance(revision, str) else None

    @cached_property
    def max_tokens(self) -> int | None:
        """Tokens of the longest text, as the server tells them."""
        return _integer(self._information.get("max_input_length"))

    @cached_property
    def _information(self) -> dict[str, Any]:
        answer = self._endpoint.send("GET", "/info")
        return answer if isinstance(answer, dict) else {}


def _check_model(encoder: ServedEncoder) -> None:
    if not encoder._name:
        expected = f"a model after '#', as in '{encoder.kind}:http://localhost:8000#model'"
        raise InvalidArgumentError("encoder", expected, repr(encoder.spec))


def _data(answer: Any) -> list[Any]:
    """Rows of an answer in the order of the texts, which the servers number."""
    return sorted(answer["data"], key=lambda row: int(row["index"]))


def _array(values: Any, axes: int) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # what is too large becomes infinite, which is refused
        array = np.asarray(values, np.float32)
    if array.ndim != axes or array.size == 0 or not np.isfinite(array).all():
        raise ValueError("no finite numbers of this shape")
    return array


def _weights(row: Any) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    indices = np.asarray([pair["index"] for pair in row], np.int64)
    weights = np.asarray([pair["value"] for pair in row], np.float32)
    if (indices < 0).any() or len(np.unique(indices)) < len(indices) or not np.isfinite(weights).all():
        raise ValueError("no indices with finite weights")
    return indices, weights


def _integer(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
