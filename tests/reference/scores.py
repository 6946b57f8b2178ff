"""Scores of codes in plain loops over learned arrays and bits, without the quantizers' own decoding."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

State = dict[str, Any]
Score = Callable[[Any, State, list[float], list[int]], float]


def bits_of(code: list[int]) -> str:
    """All bits of a code, the highest of the first byte first."""
    return "".join(f"{byte:08b}" for byte in code)


def fields_of(code: list[int], widths: list[int]) -> list[int]:
    """Numbers of these many bits each, one after the other."""
    bits, start, fields = bits_of(code), 0, []
    for width in widths:
        fields.append(int(bits[start : start + width] or "0", 2))
        start += width
    return fields


def product(first: Any, second: Any) -> float:
    """Dot product."""
    return math.fsum(float(a) * float(b) for a, b in zip(first, second, strict=True))


def length(vector: Any) -> float:
    """Euclidean length."""
    return math.sqrt(product(vector, vector))


def scaled(vector: list[float], target: float) -> list[float]:
    """The vector brought to a length; one of zeros stays."""
    own = length(vector)
    return [x * target / own for x in vector] if own > 0 else vector


def table_vector(state: State, code: list[int]) -> list[float]:
    """The vector whose bytes name entries of tables, turned back."""
    entries, column = [], 0
    scales = state.get("tables_scales", [1.0] * state["tables"].shape[1])
    for byte, width in zip(code, state["widths"].tolist(), strict=True):
        entries += [float(state["tables"][byte][j]) * float(scales[j]) for j in range(column, column + width)]
        column += width
    if "rotation" not in state:
        return entries
    return [product(row, entries) for row in straightened(state["rotation"])]


def straightened(rotation: Any) -> list[list[float]]:
    """Columns of bytes, of length 1 and three times R - R (R'R - 1) / 2; others as they are."""
    rows = [[float(x) for x in row] for row in rotation]
    if getattr(rotation, "dtype", None) != "int8":
        return rows
    lengths = [length(column) or 1.0 for column in zip(*rows, strict=True)]
    rows = [[x / own for x, own in zip(row, lengths, strict=True)] for row in rows]
    for _ in range(3):
        columns = list(zip(*rows, strict=True))
        skew = [[product(a, b) - (i == j) for j, b in enumerate(columns)] for i, a in enumerate(columns)]
        rows = [[x - product(row, column) / 2 for x, column in zip(row, skew, strict=True)] for row in rows]
    return rows


def centroids(quantizer: Any, state: State, query: list[float], code: list[int]) -> float:
    """The product with the centroid that a code numbers."""
    return product(query, state["centroids"][fields_of(code, [8 * len(code)])[0]])


def centroids_by_hamming(quantizer: Any, state: State, query: list[float], code: list[int]) -> float:
    """The mean product of two centroids whose ids differ in as many bits as those of query and code."""
    places = [[float(x) for x in row] for row in state["centroids"]]
    nearest = max(
        range(len(places)), key=lambda i: product(query, places[i]) - product(places[i], places[i]) / 2
    )
    target = bin(nearest ^ fields_of(code, [8 * len(code)])[0]).count("1")
    alike = [
        product(places[i], places[j])
        for i in range(len(places))
        for j in range(len(places))
        if bin(i ^ j).count("1") == target
    ]
    return math.fsum(alike) / len(alike)


def bit_allocation(quantizer: Any, state: State, query: list[float], code: list[int]) -> float:
    """Mean and entries, brought to length 1, to the length of the last byte, or left as they are."""
    size = len(state["widths"])
    vector = [m + x for m, x in zip(state["mean"], table_vector(state, code[:size]), strict=True)]
    if quantizer.length != "decoded":
        vector = scaled(vector, 1.0 if quantizer.length == "unit" else float(state["lengths"][code[-1]]))
    return product(query, vector)


def residual(quantizer: Any, state: State, query: list[float], code: list[int]) -> float:
    """Centroid and entries, times the factor in the bits that the centroid's number leaves free."""
    factor_bits = int(math.log2(len(state["factors"])))
    number, factor = fields_of(code[:2], [16 - factor_bits, factor_bits])
    rest = table_vector(state, code[2:])
    vector = [float(c) + x for c, x in zip(state["centroids"][number], rest, strict=True)]
    return float(state["factors"][factor]) * product(query, vector)


def centroid(state: State, number: int) -> list[float]:
    """A centroid, of half bytes that are 8 more than they stand for; of bytes or floats in earlier states."""
    scale = float(state["centroids_scales"][number]) if "centroids_scales" in state else 1.0
    stored = state["centroids"][number]
    if stored.dtype.name == "uint8":
        dim = len(state["directions"])
        stored = [x - 8 for byte in stored.tolist() for x in divmod(byte, 16)][:dim]
    return [float(x) * scale for x in stored]


def predictive(codes: Any, state: State, query: list[float], string: bytes) -> list[float]:
    """Products of a query with each token of a document coded by ``PredictiveQuantizer``."""
    count = int.from_bytes(string[:4], "little")
    headers = [fields_of(list(string[4 + 4 * i : 8 + 4 * i]), [12, 8, 4, 3, 5]) for i in range(count)]
    place, rests = 4 + 4 * count, {}
    for k in range(8):
        width = len(state[f"{k}.widths"])
        for i in (i for i, header in enumerate(headers) if header[3] == k):
            rests[i], place = list(string[place : place + width]), place + width
    assert place == len(string)
    decoded: list[list[float]] = []
    for i, (number, back, gain, k, factor) in enumerate(headers):
        names = ("tables", "tables_scales", "widths")
        part = {name: state[f"{k}.{name}"] for name in names if f"{k}.{name}" in state}
        rotation = [[row[j] for j in state[f"{k}.kept"]] for row in straightened(state["directions"])]
        vector = table_vector({**part, "rotation": rotation}, rests[i])
        base = centroid(state, number)
        if back:
            other = centroid(state, headers[i - back][0])
            share = float(state["gains"][gain])
            shape = [x - c for x, c in zip(decoded[i - back], other, strict=True)]
            vector = [x + share * y for x, y in zip(vector, shape, strict=True)]
        longer = float(state["factors"][factor])
        decoded.append([longer * (b + x) for b, x in zip(base, vector, strict=True)])
    return [product(query, member) for member in decoded]


def adaptive_codes(codes: Any, state: State, query: list[float], string: bytes) -> list[float]:
    """Products of a query with each token of a document coded by what ``AdaptiveQuantizer`` chose of few."""
    size = codes.size
    chosen = {name.removeprefix("chosen."): array for name, array in state.items()}
    rows = [list(string[i : i + size]) for i in range(0, len(string), size)]
    return [bit_allocation(codes.chosen_, chosen, query, row) for row in rows]


def binary(quantizer: Any, state: State, query: list[float], code: list[int]) -> float:
    """Mean plus or minus the deviations, as the bits say, at length 1."""
    signs = [1 if bit == "1" else -1 for bit in bits_of(code)]
    parts = zip(state["mean"], state["deviations"], signs[: len(query)], strict=True)
    return product(query, scaled([float(m) + float(d) * sign for m, d, sign in parts], 1.0))


def product_codes(quantizer: Any, state: State, query: list[float], code: list[int]) -> float:
    """The centroids of the pieces side by side, at the common length, turned back."""
    count, dim = quantizer.subspaces, state["centroids"].shape[1]
    vector: list[float] = []
    for j, number in enumerate(fields_of(code, [quantizer.bits] * count)):
        vector += [float(x) for x in state["centroids"][number][j * dim // count : (j + 1) * dim // count]]
    if float(state["length"]):
        vector = scaled(vector, float(state["length"]))
    if "rotation" in state:
        vector = [product(column, vector) for column in state["rotation"].T]
    return product(query, vector)


def recurrent(quantizer: Any, state: State, query: list[float], code: list[int]) -> float:
    """The levels as sums of signs; decoded for exact queries, else compared by cosine with the query's."""
    levels = quantizer.levels

    def values(numbers: list[int]) -> list[float]:
        signs = [[1 if number >> (levels - i) & 1 else -1 for i in range(levels + 1)] for number in numbers]
        return [math.fsum(sign / 2**i for i, sign in enumerate(member)) for member in signs]

    def network(name: str, vector: list[float]) -> list[float]:
        part = {
            layer: state[f"{name}.{layer}"]
            for layer in ("linear", "first", "first_bias", "second", "second_bias")
        }
        inner = [
            max(0.0, product(row, vector) + float(b))
            for row, b in zip(part["first"], part["first_bias"], strict=True)
        ]
        return [
            product(row, vector) + product(second, inner) + float(bias)
            for row, second, bias in zip(part["linear"], part["second"], part["second_bias"], strict=True)
        ]

    width = len(state["decoder"]) - 1
    coded = values(fields_of(code, [levels + 1] * width))
    if quantizer.queries == "exact":
        rows = state["decoder"]
        decoded = [product(coded, rows[:-1, j]) + float(rows[-1][j]) for j in range(rows.shape[1])]
        return product(query, scaled(decoded, 1.0))
    unit = scaled(query, 1.0)
    numbers = [int(x > 0) for x in network("first", unit)]
    for level in range(levels):
        signs_of_level = [
            math.fsum((1 if n >> (level - i) & 1 else -1) / 2**i for i in range(level + 1)) for n in numbers
        ]
        rebuilt = scaled(network(f"rebuild{level}", signs_of_level), 1.0)
        left = network(f"residual{level}", [a - b for a, b in zip(unit, rebuilt, strict=True)])
        numbers = [2 * n + int(x > 0) for n, x in zip(numbers, left, strict=True)]
    return product(scaled(values(numbers), 1.0), scaled(coded, 1.0))


def levels(quantizer: Any, state: State, query: list[float], code: list[int]) -> float:
    """One level a coordinate, of a table or counted from the middle, at the common length."""
    numbers = fields_of(code, [quantizer.bits] * int(state["dim"]))
    largest = (1 << (quantizer.bits - 1)) - 1
    table = state.get("levels")
    vector = [float(n - largest) if table is None else float(table[n]) for n in numbers]
    return product(query, scaled(vector, float(state["length"])))
