"""Rows of files as documents of a collection, and errors that name the file, the line and the field."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from embplug.branches.documents import Documents
from embplug.branches.empty import OnEmpty, is_blank
from embplug.common.ids import point_id
from embplug.common.unicode_text import check_text
from embplug.common.validation import short_repr
from embplug.errors import DimensionError, InvalidArgumentError, LengthMismatchError
from embplug.files.arrays import SUFFIXES, Vectors, load_numbers
from embplug.files.source import Rows, Source
from embplug.files.weights import Weights, parse_weights
from embplug.methods.token_batch import TokenBatch
from embplug.recipe import Recipe
from embplug.recipe.names import SPARSE_VECTOR, TOKENS_BRANCH

TEXTS_AT_ONCE = 256
VECTORS_AT_ONCE = 2048

ID_KEYS = ("id", "_id")
VECTOR_KEYS = ("vector", "embedding")
"""Names that a field with vectors has in many files, beside the name of the vector in the recipe."""

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://pypi.org/project/embplug/text")
_ROW = re.compile(r"(ids|texts|payloads|tokens|dense|sparse)(?:\['(.*)'\])?\[(\d+)\](.*)", re.DOTALL)
_UNDER = re.compile(r"(.*) under \['(.*?)'\](.*)", re.DOTALL)
_EARLIER = re.compile(r"(.*)ids\[(\d+)\]$", re.DOTALL)


class FileDocuments:
    """Documents of a source, as :meth:`Collection.add_batches` takes them.

    Parameters
    ----------
    source : Source
        Where the documents come from.
    recipe : Recipe
        Recipe of the collection.
    id_key : str, default=None
        Field of the id. By default ``id`` or ``_id``, or an id that is computed from the text, so that adding
        the file again replaces the same documents.
    text_key : str, default=None
        Field of the text. By default that of the recipe, or ``text``.
    vectors : dict of str to str, default={}
        For vectors of the recipe and for ``tokens``: their field, or a ``.npy`` or ``.npz`` file with one
        entry for each row. By default a field with the name of the vector; of a single vector also
        ``vector`` or ``embedding``. Its values are lists of numbers, or names of ``.npy`` files. ``sparse``
        stands for learned weights of terms, if the recipe takes them; see
        :func:`~embplug.files.weights.parse_weights`.
    on_empty : {"raise", "skip", "store"}, default="raise"
        What happens to a document whose text is blank or missing. All but ``"raise"`` read it, with an empty
        text; to be stored, it needs an id.
    has_encoder : bool, default=True
        Whether the collection has an encoder, which may make learned weights of the texts.
    folder : path, default="."
        Folder that names of ``.npy`` files in rows begin at.
    """

    def __init__(
        self,
        source: Source,
        recipe: Recipe,
        *,
        id_key: str | None = None,
        text_key: str | None = None,
        vectors: Mapping[str, str] | None = None,
        on_empty: OnEmpty = "raise",
        has_encoder: bool = True,
        folder: Path = Path(),
    ) -> None:
        self.source = source
        self.recipe = recipe
        self.id_key = id_key
        self.text_key = text_key
        self.on_empty = on_empty
        self.folder = folder
        self._names = [*recipe.dense, *([] if recipe.tokens is None else [TOKENS_BRANCH])]
        learned = recipe.sparse is not None and recipe.sparse.is_learned
        self._bm25 = recipe.sparse is not None and not learned
        self._weights_key = SPARSE_VECTOR if learned else None
        self._has_sparse_encoder = has_encoder or (recipe.sparse is not None and bool(recipe.sparse.encoder))
        self._files: dict[str, Vectors] = {}
        self._keys: dict[str, list[str]] = {name: self._default_keys(name) for name in self._names}
        for name, value in (vectors or {}).items():
            known = [*self._names, *([SPARSE_VECTOR] if learned else [])]
            if name not in known:
                raise InvalidArgumentError("--vector", f"one of {known}", repr(name))
            if name == SPARSE_VECTOR and learned:
                self._weights_key = value
            elif value.lower().endswith(SUFFIXES):
                self._files[name] = Vectors(Path(value))
                self._keys[name] = []
            else:
                self._keys[name] = [value]
        self._chosen = {*(vectors or {})}
        self._read_keys: dict[str, str] = {}
        self._has_ids_of_texts = False
        self._check_lengths()

    @property
    def vector_files(self) -> list[Path]:
        """Files of vectors beside the source."""
        return [vectors.file for vectors in self._files.values()]

    def batches(self) -> Iterator[tuple[int, Documents]]:
        """Iterate over batches of documents, each with the number of rows before it.

        Raises
        ------
        InvalidArgumentError
            A row is no document; the error names the file, the line and the field.
        """
        keys = frozenset(key for keys in self._keys.values() for key in keys)
        all_in_files = self._files.keys() >= {*self._names}
        size = VECTORS_AT_ONCE if all_in_files and self.recipe.sparse is None else TEXTS_AT_ONCE
        start = 0
        for rows in self.source.batches(size, keys):
            yield start, self._documents(rows, start)
            start += len(rows)
        for file in self._files.values():
            if len(file) != start:
                raise LengthMismatchError(str(file.file), f"{start} entries, one for each row", len(file))

    @contextmanager
    def naming(self) -> Iterator[None]:
        """Make errors of :meth:`Collection.add_batches` name the file, the line and the field."""
        try:
            yield
        except InvalidArgumentError as error:
            match = _ROW.fullmatch(error.argument)
            if match is None:
                raise
            column, name, row, rest = match[1], match[2], int(match[3]), match[4]
            got = str(error.got)
            field = self._field_of(column, name)
            if column == "payloads" and (inner := _UNDER.fullmatch(got)):
                field, got = f", field {inner[2]!r}{inner[3].partition(' (id ')[0]}", inner[1]
            if column == "payloads" and rest == f"[{self.recipe.text_key!r}]":
                field, rest = f", field {self.recipe.text_key!r}", ""
            expected = error.expected
            if column == "ids" and (earlier := _EARLIER.fullmatch(got)):
                got = f"{earlier[1]}{self.source.place(int(earlier[2]))}"
                if self._has_ids_of_texts:
                    expected += ": those without 'id' or --id-key are made of the text, which comes twice"
            raise type(error)(f"{self.source.place(row)}{field}{rest}", expected, got) from error

    def _field_of(self, column: str, name: str | None) -> str:
        if column == "ids":
            return "" if self.id_key is None else f", field {self.id_key!r}"
        if column == "texts":
            return f", field {self.text_key!r}"
        if column == "payloads":
            return ""
        if column == SPARSE_VECTOR:
            return f", field {self._weights_key!r}"
        vector = TOKENS_BRANCH if column == "tokens" else name or next(iter(self.recipe.dense), "dense")
        return f", field {self._read_keys.get(vector, vector)!r}"

    def _default_keys(self, name: str) -> list[str]:
        single = len(self._names) == 1
        return [name, *(key for key in VECTOR_KEYS if single and key != name)]

    def _check_lengths(self) -> None:
        """Refuse a file of vectors that has not as many entries as there are rows, where that is known."""
        total = self.source.total
        for file in self._files.values():
            # Blank lines are counted as rows, so that only too many entries are certain to be wrong.
            if total is not None and len(file) > total:
                raise LengthMismatchError(str(file.file), f"{total} entries, one for each row", len(file))

    def _documents(self, rows: Rows, start: int) -> Documents:
        arrays = {name: self._vectors(name, rows, start) for name in self._names}
        arrays = {name: vectors for name, vectors in arrays.items() if vectors is not None}
        for name, vectors in arrays.items():
            self._check_dim(name, vectors, start)
        sparse = None if self._weights_key is None else self._weights(self._weights_key, rows, start)
        lacks_weights = self._weights_key is not None and sparse is None
        needs_text = self._bm25 or lacks_weights or arrays.keys() < {*self._names}
        text_key = self._text_key(rows)
        ids, texts = [], []
        for i, fields in enumerate(rows.fields):
            text = self._text(fields, text_key, start + i, needs_text)
            ids.append(self._id(fields, text, start + i))
            texts.append(text)
        if not needs_text:
            for fields, text in zip(rows.fields, texts, strict=True):
                if text is not None:
                    fields.setdefault(self.recipe.text_key, text)
        tokens = arrays.pop(TOKENS_BRANCH, None)
        return Documents(
            ids,
            tokens=tokens,
            dense=arrays or None,
            sparse=sparse,
            texts=[text or "" for text in texts] if needs_text else None,
            payloads=rows.fields,
            position=start,
        )

    def _text_key(self, rows: Rows) -> str:
        if self.text_key is None:
            names = (self.recipe.text_key, "text")
            present = (name for name in names for fields in rows.fields if name in fields)
            self.text_key = next(present, names[0])
        return self.text_key

    def _text(self, fields: dict[str, Any], key: str, row: int, needed: bool) -> str | None:
        text = fields.get(key)
        if isinstance(text, str) and text.strip():
            check_text(text, f"{self.source.place(row)}, field {key!r}")
            return str(fields.pop(key))
        if not needed and (text is None or not isinstance(text, str)):
            return None
        if is_blank(text) and (self.on_empty != "raise" or not needed):
            fields.pop(key, None)
            return ""
        place = f"{self.source.place(row)}, field {key!r}"
        others = ", ".join(map(repr, fields))
        if key not in fields:
            expected = (
                f"a text; --text-key names another field, such as one of {others}" if others else "a text"
            )
            raise InvalidArgumentError(place, expected, "no such field")
        blank = (
            "; --skip-empty leaves out documents without a text, --store-empty keeps them"
            if is_blank(text)
            else ""
        )
        raise InvalidArgumentError(place, f"a text{blank}", short_repr(text))

    def _id(self, fields: dict[str, Any], text: str | None, row: int) -> Any:
        if self.source.numbered:
            return row
        key = self.id_key or next((key for key in ID_KEYS if key in fields), None)
        if key is None:
            if text is None:
                expected = "an id under 'id' or '_id', or --id-key, because there is no text to make it from"
                raise InvalidArgumentError(self.source.place(row), expected, "none")
            if self.on_empty == "store" and not text.strip():
                expected = "an id under 'id' or '_id', or a text to make one from"
                raise InvalidArgumentError(self.source.place(row), expected, "neither")
            self._has_ids_of_texts = True
            return str(uuid.uuid5(_NAMESPACE, text))
        place = f"{self.source.place(row)}, field {key!r}"
        if key not in fields:
            others = ", ".join(map(repr, fields))
            raise InvalidArgumentError(place, f"an id; the fields are {others or 'none'}", "no such field")
        value = fields.pop(key)
        point_id(value, place)
        return value

    def _vectors(self, name: str, rows: Rows, start: int) -> Any:
        """Vectors (n, dim) or token matrices of some rows; None if the rows have none."""
        if name in self._files:
            part = self._files[name].part(start, start + len(rows))
            if len(part) < len(rows):
                place = f"{self.source.place(start + len(part))}"
                expected = f"{len(self._files[name])} rows, as {self._files[name].file} has"
                raise LengthMismatchError(place, expected, "one more")
            return part
        for key in self._keys[name]:
            if key in rows.arrays:
                self._read_keys[name] = key
                return self._filled(rows.arrays[key], name, key, start)
            present = [key in fields for fields in rows.fields]
            if any(present) and (name in self._chosen or self._holds_numbers(rows, key)):
                self._read_keys[name] = key
                values = [fields.pop(key, None) for fields in rows.fields]
                return self._filled(self._numbers(values, name, key, start), name, key, start)
        if name in self._chosen:
            key = self._keys[name][0]
            # A name that no row before had either is a mistake, not documents without vectors.
            if name in self._read_keys and self.on_empty != "raise":
                return self._filled([None] * len(rows), name, key, start)
            others = ", ".join(map(repr, [*rows.fields[0], *rows.arrays]))
            place = f"{self.source.place(start)}, field {key!r}"
            raise InvalidArgumentError(place, f"a vector; the fields are {others}", "no such field")
        return None

    def _filled(self, vectors: Any, name: str, key: str, start: int) -> Any:
        """Vectors of which some may be None: refuse those, or take the rows for documents without vectors."""
        lacking = [i for i, own in enumerate(vectors) if own is None] if isinstance(vectors, list) else []
        if not lacking:
            return vectors
        if self.on_empty == "raise":
            place = f"{self.source.place(start + lacking[0])}, field {key!r}"
            expected = "a vector, as other rows have; --store-empty keeps documents without vectors"
            raise InvalidArgumentError(place, expected, "none")
        if name == TOKENS_BRANCH:
            empty = np.zeros((0, self._dim(name)), dtype=np.float32)
            return TokenBatch.from_list([empty if own is None or not len(own) else own for own in vectors])
        return vectors

    def _weights(self, key: str, rows: Rows, start: int) -> list[Weights] | None:
        """Learned weights of some rows; None if an encoder makes them."""
        chosen = SPARSE_VECTOR in self._chosen or not self._has_sparse_encoder
        present = [key in fields for fields in rows.fields]
        if not chosen and not (any(present) and _holds_weights(rows, key)):
            return None
        if not all(present):
            place = f"{self.source.place(start + present.index(False))}, field {key!r}"
            others = ", ".join(map(repr, [*rows.fields[present.index(False)], *rows.arrays]))
            expected = f"weights of terms; the fields are {others or 'none'}"
            raise InvalidArgumentError(place, expected, "no such field")
        return [
            parse_weights(fields.pop(key), f"{self.source.place(start + i)}, field {key!r}")
            for i, fields in enumerate(rows.fields)
        ]

    def _holds_numbers(self, rows: Rows, key: str) -> bool:
        for value in (fields[key] for fields in rows.fields if key in fields):
            while isinstance(value, list) and value:
                value = value[0]
            if isinstance(value, str):
                return value.lower().endswith(SUFFIXES) or value.lstrip().startswith("[")
            if value != []:
                return isinstance(value, (int, float)) and not isinstance(value, bool)
        # Empty lists alone are vectors only where the field has the name of one.
        return key in self._names

    def _dim(self, name: str) -> int:
        if name != TOKENS_BRANCH:
            return self.recipe.dense[name].dim
        return 0 if self.recipe.tokens is None else self.recipe.tokens.dim

    def _check_dim(self, name: str, vectors: Any, start: int) -> None:
        """Refuse vectors of another dimension than the recipe's; single ones among others are found later."""
        if isinstance(vectors, TokenBatch):
            dim = vectors.dim if len(vectors.values) else self._dim(name)
        elif isinstance(vectors, np.ndarray) and vectors.ndim == 2 and len(vectors):
            dim = vectors.shape[1]
        else:
            return
        if dim != self._dim(name):
            file = self._files.get(name)
            place = f"{self.source.place(start)}{self._field_of('dense', name)}"
            place = place if file is None else f"{file.file}, row {start}"
            raise DimensionError(place, f"{self._dim(name)} numbers, as in the recipe", dim)

    def _numbers(self, values: Sequence[Any], name: str, key: str, start: int) -> Any:
        """Convert lists of numbers, their JSON texts, or names of ``.npy`` files to arrays."""
        depth = 2 if name == TOKENS_BRANCH else 1
        empty = np.zeros((0, self._dim(name)), dtype=np.float32)
        arrays: list[Any] = [
            value if value is None else self._array(value, key, start + i, depth)
            for i, value in enumerate(empty if depth == 2 and value == [] else value for value in values)
        ]
        kept = [array for array in arrays if array is not None]
        if len(kept) < len(arrays):
            return arrays
        if depth == 2:
            return TokenBatch.from_list(kept) if len({array.shape[1] for array in kept}) == 1 else kept
        first = len(kept[0])
        other = next((i for i, array in enumerate(kept) if len(array) != first), None)
        if other is not None:
            place = f"{self.source.place(start + other)}, field {key!r}"
            raise InvalidArgumentError(place, f"{first} numbers, as before", len(kept[other]))
        return np.stack(kept)

    def _array(self, value: Any, key: str, row: int, depth: int) -> Any:
        place = f"{self.source.place(row)}, field {key!r}"
        expected = "a list of numbers" if depth == 1 else "a list of token vectors"
        if isinstance(value, str) and value.lower().endswith(SUFFIXES):
            file = self.folder / value
            if not file.resolve().is_relative_to(self.folder.resolve()):
                raise InvalidArgumentError(place, f"a file inside {self.folder}", short_repr(value))
            value = load_numbers(file)
        elif isinstance(value, str):
            from embplug.common.json_types import parse_json

            value = parse_json(value, place)
        try:
            array = np.asarray(value, dtype=np.float32)
        except (TypeError, ValueError, OverflowError):
            raise InvalidArgumentError(place, expected, short_repr(value)) from None
        if array.ndim != depth:
            got = f"shape {array.shape}" if array.ndim else short_repr(value)
            raise InvalidArgumentError(place, expected, got)
        return array


def _holds_weights(rows: Rows, key: str) -> bool:
    value = next(fields[key] for fields in rows.fields if key in fields)
    return isinstance(value, dict | list) or (
        isinstance(value, str) and value.lstrip().startswith(("{", "["))
    )
