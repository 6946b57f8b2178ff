from __future__ import annotations

import threading
import tracemalloc
import uuid

import numpy as np
import pytest

from embplug.common.byte_strings import ByteStrings
from embplug.errors import InvalidArgumentError
from embplug.search.code_cache import (
    MEGABYTE,
    REFUSED_BEFORE_ANEW,
    ROW_BYTES,
    VARIABLE,
    CodeCache,
    code_cache,
)

SHARD, OTHER = object(), object()


def strings(*codes: bytes) -> ByteStrings:
    return ByteStrings.of(codes)


def found(
    cache: CodeCache, ids: list[int | str], versions: list[int], name: str = "codes"
) -> list[bytes | None]:
    codes, known = cache.find(name, SHARD, ids, versions)
    rest = iter(codes)
    return [next(rest) if is_known else None for is_known in known.tolist()]


def test_codes_are_found_by_id_and_version() -> None:
    cache = CodeCache(MEGABYTE)
    assert found(cache, [1, "a"], [5, 6]) == [None, None]
    cache.add("codes", SHARD, [1, "a", 3], [5, 6, 7], strings(b"one", b"", b"three"))
    assert found(cache, [3, "a", 2, 1], [7, 6, 7, 5]) == [b"three", b"", None, b"one"]
    assert found(cache, [1, "a"], [6, 6]) == [None, b""]
    # A newer version takes the place of the older one.
    cache.add("codes", SHARD, [1], [6], strings(b"two"))
    assert found(cache, [1], [6]) == [b"two"] and found(cache, [1], [5]) == [None]
    assert found(cache, [1], [6], "others") == [None]
    cache.add("others", SHARD, [1], [6], strings(b"x"))
    assert (found(cache, [1], [6], "others"), found(cache, [1], [6])) == ([b"x"], [b"two"])


def test_codes_of_another_source_are_forgotten() -> None:
    cache = CodeCache(MEGABYTE)
    cache.add("codes", SHARD, [1], [0], strings(b"old"))
    assert not cache.find("codes", OTHER, [1], [0])[1].any()
    cache.add("codes", OTHER, [2], [0], strings(b"new"))
    assert found(cache, [1], [0]) == [None]
    codes, known = cache.find("codes", OTHER, [1, 2], [0, 0])
    assert (known.tolist(), [*codes]) == ([False, True], [b"new"])


def test_a_full_cache_keeps_what_it_has() -> None:
    cache = CodeCache(2 * ROW_BYTES + 10)
    cache.add("codes", SHARD, [1, 2], [0, 0], strings(b"12345", b"67890"))
    cache.add("codes", SHARD, [3], [0], strings(b""))
    assert found(cache, [1, 2, 3], [0, 0, 0]) == [b"12345", b"67890", None]
    # Ids take bytes too.
    cache.add("codes", OTHER, [1, 2, 3], [0, 0, 0], strings(b"", b"", b""))
    assert not cache.find("codes", OTHER, [1, 2, 3], [0, 0, 0])[1].any()


def test_a_full_cache_begins_anew_after_it_was_of_little_use() -> None:
    cache = CodeCache(ROW_BYTES + 10)
    cache.add("codes", SHARD, [1], [0], strings(b"first"))
    before, known = cache.find("codes", SHARD, [1], [0])
    assert known.all()
    for point in range(2, 2 + REFUSED_BEFORE_ANEW):
        cache.add("codes", SHARD, [point], [0], strings(b"other code"))
        assert found(cache, [1, point], [0, 0]) == [b"first", None]
    cache.add("codes", SHARD, [9], [0], strings(b"ninth"))
    assert found(cache, [1, 9], [0, 0]) == [None, b"ninth"]
    # Whoever has found codes keeps them.
    assert [*before] == [b"first"]


def test_a_full_cache_begins_anew_when_half_of_it_is_outdated() -> None:
    cache = CodeCache(4 * ROW_BYTES)
    cache.add("codes", SHARD, [1, 2, 3, 4], [0, 0, 0, 0], strings(b"", b"", b"", b""))
    for point in (1, 2):
        cache.add("codes", SHARD, [point], [1], strings(b""))
        assert found(cache, [1, 2, 3, 4], [1, 1, 0, 0]) == [None, None, b"", b""]
        # The same version again makes nothing more outdated.
        cache.add("codes", SHARD, [point], [1], strings(b""))
    cache.add("codes", SHARD, [3], [1], strings(b""))
    assert found(cache, [3, 4], [1, 0]) == [b"", None]


def test_the_ids_of_points_are_counted() -> None:
    """Objects of ids and places, and 24 bytes of each point in arrays, stay within the capacity."""
    capacity = 4 * MEGABYTE
    cache = CodeCache(capacity)
    tracemalloc.start()
    try:
        for _ in range(capacity // ROW_BYTES // 100 + 5):
            ids: list[int | str] = [str(uuid.uuid4()) for _ in range(100)]
            cache.add("codes", SHARD, ids, [0] * 100, strings(*[b"x"] * 100))
        cache.find("codes", SHARD, [], [])
        snapshot = tracemalloc.take_snapshot()
    finally:
        tracemalloc.stop()
    objects = snapshot.filter_traces([tracemalloc.DomainFilter(True, 0)])
    taken = sum(trace.size for trace in objects.traces)
    points = capacity // (ROW_BYTES + 1) // 100 * 100
    assert capacity / 2 < taken + 25 * points < capacity


def test_many_codes_are_kept() -> None:
    cache = CodeCache(8 * MEGABYTE)
    codes = [bytes([number % 251]) * (number % 1500) for number in range(4000)]
    for start in range(0, 4000, 37):
        ids = [*range(start, min(start + 37, 4000))]
        cache.add("codes", SHARD, ids, ids, strings(*codes[start : start + 37]))
    assert found(cache, [*range(4000)], [*range(4000)]) == codes


def test_threads_never_see_codes_of_another_point() -> None:
    cache = CodeCache(100 * ROW_BYTES)
    wrong = []

    def work(seed: int) -> None:
        generator = np.random.default_rng(seed)
        for _ in range(600):
            ids = generator.choice(200, 8, replace=False).tolist()
            versions = generator.integers(0, 2, 8).tolist()
            for i, version, code in zip(ids, versions, found(cache, ids, versions), strict=True):
                if code not in (None, f"{i} {version}".encode()):
                    wrong.append((i, version, code))
            cache.add(
                "codes",
                SHARD,
                ids,
                versions,
                strings(*(f"{i} {version}".encode() for i, version in zip(ids, versions, strict=True))),
            )

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_the_environment_sets_the_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    usual = code_cache()
    assert usual is not None and usual.capacity == 64 * MEGABYTE
    monkeypatch.setenv(VARIABLE, "3")
    small = code_cache()
    assert small is not None and small.capacity == 3 * MEGABYTE
    monkeypatch.setenv(VARIABLE, "0")
    assert code_cache() is None
    for wrong in ("", "-1", "1.5", "many", "²"):
        monkeypatch.setenv(VARIABLE, wrong)
        with pytest.raises(InvalidArgumentError, match=VARIABLE):
            code_cache()
