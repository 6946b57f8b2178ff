/* The loops over LANES query tokens for one instruction set: included by tiles.c.
 *
 * Vectors are those of GCC and clang; another compiler builds the same loops over plain numbers.
 */

#define VECTOR_BYTES (REGISTER_BYTES < 4 * LANES ? REGISTER_BYTES : 4 * LANES)
#define FLOATS (VECTOR_BYTES / 4)
#define PARTS (LANES / FLOATS)
#if REGISTER_BYTES > 4
#define WORDS (REGISTER_BYTES / 2 < LANES ? REGISTER_BYTES / 2 : LANES)
#define BLOCK (VECTOR_BYTES / 16) /* entries whose products fit into registers together */
#define SIDE (PARTS < 8 ? 8 / PARTS : 1) /* directions that keep the processor busy together */
#define VECTOR(type, name, bytes) \
    typedef type NAME(name) __attribute__((vector_size(bytes), aligned(sizeof(type)), may_alias))
#define CONVERT(value, type) __builtin_convertvector(value, type)
#define CHOOSE_INTS(mask, a, b) (((mask) & (a)) | (~(mask) & (b)))
#define CHOOSE(mask, a, b) ((Floats)CHOOSE_INTS(mask, (Ints)(a), (Ints)(b)))
#else
#define WORDS 1
#define BLOCK 1
#define SIDE 1
#define VECTOR(type, name, bytes) typedef type NAME(name)
#define CONVERT(value, type) ((type)(value))
#define CHOOSE(mask, a, b) ((mask) ? (a) : (b))
#define CHOOSE_INTS CHOOSE
#endif
#if REGISTER_BYTES > 4 && defined(__x86_64__)
#if REGISTER_BYTES == 64 && LANES > 8
#define GREATER(a, b) ((Floats)_mm512_max_ps(a, b))
#define LESS(a, b) ((Floats)_mm512_min_ps(a, b))
#elif REGISTER_BYTES > 16
#define GREATER(a, b) ((Floats)_mm256_max_ps(a, b))
#define LESS(a, b) ((Floats)_mm256_min_ps(a, b))
#else
#define GREATER(a, b) ((Floats)_mm_max_ps(a, b))
#define LESS(a, b) ((Floats)_mm_min_ps(a, b))
#endif
/* Signed bytes as floats. */
#if REGISTER_BYTES == 64 && LANES > 8
#define SIGNED(place) ((Floats)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const void *)(place)))))
#elif REGISTER_BYTES > 16
#define SIGNED(place) ((Floats)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)(place)))))
#else
#define SIGNED(place) ((Floats)_mm_cvtepi32_ps(_mm_srai_epi32(four_times_four(place), 24)))
#endif
/* Words as integers, and bytes as words: compilers do worse by themselves. Where a row takes several registers of
 * words, those of two lanes that stand beside each other are summed as one, and taken apart at the end. */
#if REGISTER_BYTES == 64 && LANES > 8
#define SIGNED_WORDS(place) ((Ints)_mm512_cvtepi16_epi32(_mm256_loadu_si256((const void *)(place))))
#define UNSIGNED_WORDS(place) ((Ints)_mm512_cvtepu16_epi32(_mm256_loadu_si256((const void *)(place))))
#elif REGISTER_BYTES > 16
#define SIGNED_WORDS(place) ((Ints)_mm256_cvtepi16_epi32(_mm_loadu_si128((const void *)(place))))
#define UNSIGNED_WORDS(place) ((Ints)_mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)(place))))
#endif
#if WORDS < LANES
#define PAIRED
#if REGISTER_BYTES == 32
#define FIRST_PAIRS(a, b) \
    ((Words)_mm256_permute2x128_si256(_mm256_unpacklo_epi16((__m256i)(a), (__m256i)(b)), \
                                      _mm256_unpackhi_epi16((__m256i)(a), (__m256i)(b)), 0x20))
#define LAST_PAIRS(a, b) \
    ((Words)_mm256_permute2x128_si256(_mm256_unpacklo_epi16((__m256i)(a), (__m256i)(b)), \
                                      _mm256_unpackhi_epi16((__m256i)(a), (__m256i)(b)), 0x31))
#else
#define FIRST_PAIRS(a, b) ((Words)_mm_unpacklo_epi16((__m128i)(a), (__m128i)(b)))
#define LAST_PAIRS(a, b) ((Words)_mm_unpackhi_epi16((__m128i)(a), (__m128i)(b)))
#endif
#elif LANES == 32
#define WIDENED(place) ((Words)_mm512_cvtepu8_epi16(_mm256_loadu_si256((const void *)(place))))
#elif LANES == 16
#define WIDENED(place) ((Words)_mm256_cvtepu8_epi16(_mm_loadu_si128((const void *)(place))))
#elif REGISTER_BYTES > 16
#define WIDENED(place) ((Words)_mm_cvtepu8_epi16(_mm_loadl_epi64((const void *)(place))))
#else
#define WIDENED(place) ((Words)_mm_unpacklo_epi8(_mm_loadl_epi64((const void *)(place)), _mm_setzero_si128()))
#endif
#else
#define GREATER(a, b) CHOOSE((a) > (b), a, b)
#define LESS(a, b) CHOOSE((a) < (b), a, b)
#define WIDENED(place) CONVERT(LOAD(bytes, place), Words)
#define SIGNED(place) CONVERT(CONVERT(LOAD(signs, place), Ints), Floats)
#endif
#if REGISTER_BYTES > 4 && defined(__x86_64__)
#if WORDS == 32
#define GREATER_WORDS(a, b) ((Shorts)_mm512_max_epi16((__m512i)(a), (__m512i)(b)))
#elif WORDS == 16
#define GREATER_WORDS(a, b) ((Shorts)_mm256_max_epi16((__m256i)(a), (__m256i)(b)))
#else
#define GREATER_WORDS(a, b) ((Shorts)_mm_max_epi16((__m128i)(a), (__m128i)(b)))
#endif
#elif REGISTER_BYTES > 4
#define GREATER_WORDS(a, b) ((((a) > (b)) & (a)) | (~((a) > (b)) & (b)))
#else
#define GREATER_WORDS(a, b) ((a) > (b) ? (a) : (b))
#endif
#if REGISTER_BYTES == 64 && LANES > 8 && defined(__x86_64__)
#define PACKED
#endif
#ifndef SIGNED_WORDS
#define SIGNED_WORDS(place) CONVERT(LOAD(half, place), Ints)
#define UNSIGNED_WORDS(place) CONVERT(LOAD(narrow, place), Ints)
#endif

VECTOR(float, floats, VECTOR_BYTES);
VECTOR(int32_t, ints, VECTOR_BYTES);
VECTOR(uint16_t, narrow, VECTOR_BYTES / 2);
VECTOR(int16_t, half, VECTOR_BYTES / 2);
VECTOR(uint16_t, words, 2 * WORDS);
VECTOR(int16_t, shorts, 2 * WORDS);
VECTOR(uint8_t, bytes, WORDS);
VECTOR(int8_t, signs, VECTOR_BYTES / 4);
#define Floats NAME(floats)
#define Ints NAME(ints)
#define Words NAME(words)
#define Shorts NAME(shorts)
#define LOAD(type, place) (*(const NAME(type) *)(place))
#define STORE(type, place) (*(NAME(type) *)(place))
#define EACH(i) for (int i = 0; i < PARTS; i++)
#define EACH_GROUP(i) for (int i = 0; i < LANES / WORDS; i++)

/* Sums of the rows that the bytes of a code name. */
INLINE TARGET void NAME(sum_floats)(Floats *out, const uint8_t *code, int64_t width, const float *rows) {
    Floats odd[PARTS];
    EACH(i) out[i] = odd[i] = (Floats){0};
    int64_t byte = 0;
    for (; byte + 2 <= width; byte += 2, rows += 2 * ENTRIES * LANES) {
        const float *row = rows + code[byte] * LANES, *next = rows + (ENTRIES + code[byte + 1]) * LANES;
        EACH(i) out[i] += LOAD(floats, row + i * FLOATS);
        EACH(i) odd[i] += LOAD(floats, next + i * FLOATS);
    }
    if (byte < width) EACH(i) out[i] += LOAD(floats, rows + code[byte] * LANES + i * FLOATS);
    EACH(i) out[i] += odd[i];
}

/* Add the row of an entry to sums. */
INLINE TARGET void NAME(add_wide)(Words *sums, const uint8_t *table, size_t entry) {
    const uint16_t *row = (const uint16_t *)(const void *)table + entry * LANES;
    EACH_GROUP(g) sums[g] += LOAD(words, row + g * WORDS);
}

/* The same for rows of bytes. PAIRED ones are added in pairs: those of odd lanes count twice until they are parted. */
INLINE TARGET void NAME(add_narrow)(Words *sums, const uint8_t *table, size_t entry) {
    const uint8_t *row = table + entry * LANES;
#ifdef PAIRED
    for (int g = 0; g < LANES / WORDS; g += 2) {
        const Words pairs = LOAD(words, row + g * WORDS);
        sums[g] += pairs;
        sums[g + 1] += pairs >> 8;
    }
#else
    EACH_GROUP(g) sums[g] += WIDENED(row + g * WORDS);
#endif
}

/* Sums of the rows that the bytes of a code name, in a table of integers. */
INLINE TARGET void NAME(sum_integers)(uint16_t *out, const uint8_t *code, const int64_t *order, int64_t width,
                                      const uint8_t *table, int kind) {
    const int64_t wide = kind == WIDE ? width : wide_parts(width);
    Words sums[LANES / WORDS], narrow[LANES / WORDS];
    EACH_GROUP(g) sums[g] = narrow[g] = (Words){0};
    const uint8_t *narrow_rows = table + wide * ENTRIES * LANES * 2;
    if (kind == WIDE || !wide || order[wide - 1] == wide - 1) {
        /* All bytes are in their own order. */
        int64_t byte = 0;
        UNROLL
        for (; byte < wide; byte++, table += ENTRIES * LANES * 2) NAME(add_wide)(sums, table, code[byte]);
        UNROLL
        for (; byte < width; byte++, narrow_rows += ENTRIES * LANES) NAME(add_narrow)(narrow, narrow_rows, code[byte]);
    } else {
        int64_t part = 0;
        UNROLL
        for (; part < wide; part++, table += ENTRIES * LANES * 2) NAME(add_wide)(sums, table, code[order[part]]);
        UNROLL
        for (; part < width; part++, narrow_rows += ENTRIES * LANES)
            NAME(add_narrow)(narrow, narrow_rows, code[order[part]]);
    }
#ifdef PAIRED
    for (int g = 0; g < LANES / WORDS; g += 2) {
        const Words odd = narrow[g + 1], even = narrow[g] - (odd << 8);
        narrow[g] = FIRST_PAIRS(even, odd);
        narrow[g + 1] = LAST_PAIRS(even, odd);
    }
#endif
    EACH_GROUP(g) STORE(words, out + g * WORDS) = sums[g] + narrow[g];
}

INLINE TARGET Floats NAME(scaled)(const uint16_t *sums, const Floats step, const Floats shift) {
    return CONVERT(UNSIGNED_WORDS(sums), Floats) * step + shift;
}

/* Some lanes of a row of bases: floats, or integers of 16 bits. */
INLINE TARGET Floats NAME(base)(const void *bases, int narrow, int64_t lane, const Floats unit) {
    if (!narrow) return LOAD(floats, (const float *)bases + lane);
    return CONVERT(SIGNED_WORDS((const int16_t *)bases + lane), Floats) * unit;
}

INLINE TARGET float NAME(sum)(const Floats *parts, int64_t lanes) {
    float flat[LANES], total = 0;
    EACH(i) STORE(floats, flat + i * FLOATS) = parts[i];
    for (int64_t i = 0; i < lanes; i++) total += flat[i];
    return total;
}

INLINE TARGET int64_t NAME(maxsim_of)(int kind, int plain, const Uniform *in, int64_t first, int64_t last) {
    const int64_t stride = in->stride, before = in->first, width = in->width, rows = in->rows;
    const int64_t id_bytes = kind == WIDE ? 2 : in->id_bytes, factor_bits = in->factor_bits;
    const float *factors = in->factors, *scales = kind == WIDE ? NULL : in->scales;
    const void *bases = in->bases, *table = in->table;
    const int narrow = kind == WIDE || in->units;
    Floats steps[PARTS], shifts[PARTS], unit[PARTS];
    EACH(i) steps[i] = LOAD(floats, in->steps + i * FLOATS);
    EACH(i) shifts[i] = LOAD(floats, in->shifts + i * FLOATS);
    EACH(i) unit[i] = narrow ? LOAD(floats, in->units + i * FLOATS) : (Floats){0};
    if (plain) EACH(i) shifts[i] += NAME(base)(bases, narrow, i * FLOATS, unit[i]);
    for (int64_t document = first; document < last; document++) {
        const uint8_t *code = in->codes + in->starts[document];
        const int64_t start = in->offsets[document], stop = in->offsets[document + 1];
        Floats highest[PARTS];
        EACH(i) highest[i] = (Floats){0} - INFINITY;
        for (int64_t token = start; token < stop; token++, code += stride) {
            int64_t row = 0;
            float scale = scales ? scales[token] : 1.0f;
            if (!plain && id_bytes) {
                const unsigned header = header_of(code, id_bytes);
                const int64_t id = header >> factor_bits;
                if (id >= rows) return document;
                row = id * LANES;
                if (kind == WIDE || factors) scale *= factors[header & ((1u << factor_bits) - 1)];
            }
            Floats sums[PARTS];
            if (kind == NOTHING) {
                EACH(i) sums[i] = shifts[i];
            } else if (kind == FLOAT32) {
                NAME(sum_floats)(sums, code + before, width, (const float *)table);
                EACH(i) sums[i] += shifts[i];
            } else {
                uint16_t flat[LANES];
                NAME(sum_integers)(flat, code + before, in->order, width, (const uint8_t *)table, kind);
                EACH(i) sums[i] = NAME(scaled)(flat + i * FLOATS, steps[i], shifts[i]);
            }
            EACH(i) {
                if (!plain) sums[i] += NAME(base)(bases, narrow, row + i * FLOATS, unit[i]);
                sums[i] *= scale;
                highest[i] = GREATER(sums[i], highest[i]);
            }
        }
        in->scores[document] = start < stop ? NAME(sum)(highest, in->query_tokens) : -INFINITY;
    }
    return -1;
}

/* MaxSim of ids alone: the highest of bases of 16 bits are those of what they stand for. */
INLINE TARGET int64_t NAME(maxsim_of_ids)(const Uniform *in, int64_t first, int64_t last) {
    const int64_t stride = in->stride, id_bytes = in->id_bytes, factor_bits = in->factor_bits, rows = in->rows;
    const int16_t *bases = (const int16_t *)in->bases;
    for (int64_t document = first; document < last; document++) {
        const uint8_t *code = in->codes + in->starts[document];
        const int64_t tokens = in->offsets[document + 1] - in->offsets[document];
        Shorts highest[LANES / WORDS];
        EACH_GROUP(g) highest[g] = (Shorts){0} + INT16_MIN;
        for (int64_t token = 0; token < tokens; token++, code += stride) {
            const int64_t id = header_of(code, id_bytes) >> factor_bits;
            if (id >= rows) return document;
            const int16_t *row = bases + id * LANES;
            EACH_GROUP(g) highest[g] = GREATER_WORDS(LOAD(shorts, row + g * WORDS), highest[g]);
        }
        int16_t flat[LANES];
        Floats sums[PARTS];
        EACH_GROUP(g) STORE(shorts, flat + g * WORDS) = highest[g];
        EACH(i) sums[i] = NAME(base)(flat, 1, i * FLOATS, LOAD(floats, in->units + i * FLOATS));
        EACH(i) sums[i] += LOAD(floats, in->shifts + i * FLOATS);
        in->scores[document] = tokens ? NAME(sum)(sums, in->query_tokens) : -INFINITY;
    }
    return -1;
}

static TARGET int64_t NAME(maxsim)(int kind, const Uniform *in, int64_t first, int64_t last) {
    if (!in->width && in->units && !in->factors && !in->scales) return NAME(maxsim_of_ids)(in, first, last);
    if (!in->width) return NAME(maxsim_of)(NOTHING, 0, in, first, last);
    if (kind == FLOAT32) return NAME(maxsim_of)(FLOAT32, 0, in, first, last);
    if (in->units && in->id_bytes == 2 && in->factors && !in->scales && wide_parts(in->width) == in->width)
        return NAME(maxsim_of)(WIDE, 0, in, first, last);
    return in->id_bytes ? NAME(maxsim_of)(INTEGER, 0, in, first, last) : NAME(maxsim_of)(INTEGER, 1, in, first, last);
}

/* Products (BLOCK, LANES) of some entries of a byte, which are (columns, ENTRIES), added to `start`. */
INLINE TARGET void NAME(products)(Floats (*out)[PARTS], const float *entries, int64_t columns, const float *query,
                                  const Floats *start) {
    for (int j = 0; j < BLOCK; j++) EACH(i) out[j][i] = start[i];
    for (int64_t d = 0; d < columns; d++, entries += ENTRIES, query += LANES)
        for (int j = 0; j < BLOCK; j++) EACH(i) out[j][i] += LOAD(floats, query + i * FLOATS) * entries[j];
}

INLINE TARGET float NAME(largest)(const Floats numbers) {
#ifdef PACKED
    return _mm512_reduce_max_ps((__m512)numbers);
#else
    float flat[FLOATS], most = -INFINITY;
    STORE(floats, flat) = numbers;
    for (int i = 0; i < FLOATS; i++) most = flat[i] > most ? flat[i] : most;
    return most;
#endif
}

/* The middle between the lowest and the highest entry of a column, and how far they lie from it. The squares of
 * all distances to the middle are added to `distances` (ENTRIES,). */
INLINE TARGET void NAME(middle)(const float *entries, float *distances, float *middle, float *reach) {
    Floats lows = LOAD(floats, entries), highs = lows;
    for (int entry = FLOATS; entry < ENTRIES; entry += FLOATS) {
        const Floats some = LOAD(floats, entries + entry);
        lows = LESS(some, lows);
        highs = GREATER(some, highs);
    }
    const float low = -NAME(largest)(-lows), high = NAME(largest)(highs);
    *middle = 0.5f * low + 0.5f * high;
    *reach = 0.5f * high - 0.5f * low;
    for (int entry = 0; entry < ENTRIES; entry += FLOATS) {
        const Floats distance = LOAD(floats, entries + entry) - *middle;
        STORE(floats, distances + entry) = LOAD(floats, distances + entry) + distance * distance;
    }
}

/* Bytes in their own order are looked up faster. It is kept where no step of a lane becomes more than LONGER_STEP times
 * as long as in the order of their sizes. */
INLINE TARGET void NAME(keep_order)(int64_t *order, const float *spans, int64_t bytes) {
    Floats own[PARTS], sorted[PARTS];
    EACH(i) own[i] = sorted[i] = (Floats){0};
    for (int64_t part = wide_parts(bytes); part < bytes; part++)
        EACH(i) {
            own[i] = GREATER(LOAD(floats, spans + part * LANES + i * FLOATS), own[i]);
            sorted[i] = GREATER(LOAD(floats, spans + order[part] * LANES + i * FLOATS), sorted[i]);
        }
    EACH(i) if (NAME(largest)(own[i] - sorted[i] * LONGER_STEP) > 0) return;
    for (int64_t byte = 0; byte < bytes; byte++) order[byte] = byte;
}

/* Below all products of every byte and lane, how far from there they reach at most, and the order of the bytes.
 *
 * The entries of a byte lie in a box and in a ball around its middle. To compute all products, only to know how
 * far they reach, would take as long as the table itself. */
INLINE TARGET void NAME(ranges)(const float *entries, const int64_t *widths, int64_t bytes, const float *query,
                                float *lows, float *spans, int64_t *places, int64_t *order) {
    float *sizes = lows + 2 * bytes * LANES;
    for (int64_t byte = 0, column = 0; byte < bytes; byte++) {
        float distances[ENTRIES] = {0};
        Floats centre[PARTS], box[PARTS], square[PARTS], size[PARTS];
        EACH(i) centre[i] = box[i] = square[i] = size[i] = (Floats){0};
        places[byte] = column;
        for (const int64_t stop = column + widths[byte]; column < stop; column++) {
            float middle, reach;
            NAME(middle)(entries + column * ENTRIES, distances, &middle, &reach);
            EACH(i) {
                const Floats own = LOAD(floats, query + column * LANES + i * FLOATS), far = GREATER(own, -own);
                centre[i] += own * middle;
                box[i] += far * reach;
                square[i] += own * own;
                size[i] += far * (reach + fabsf(middle));
            }
        }
        Floats farthest = LOAD(floats, distances);
        for (int entry = FLOATS; entry < ENTRIES; entry += FLOATS)
            farthest = GREATER(LOAD(floats, distances + entry), farthest);
        float roots[LANES];
        EACH(i) STORE(floats, roots + i * FLOATS) = square[i];
        /* Squares of tiny numbers are 0, and no ball is smaller than these were. */
        for (int lane = 0; lane < LANES; lane++) roots[lane] = sqrtf(roots[lane] + FLT_MIN);
        const float radius = sqrtf(NAME(largest)(farthest) + FLT_MIN);
        EACH(i) {
            /* The box comes last: it is taken where squares are no numbers any more. */
            Floats reach = LESS(LOAD(floats, roots + i * FLOATS) * radius, box[i]);
            /* Products are rounded, too. */
            reach += size[i] * ((float)(widths[byte] + 4) * (FLT_EPSILON / 2));
            STORE(floats, lows + byte * LANES + i * FLOATS) = centre[i] - reach;
            STORE(floats, spans + byte * LANES + i * FLOATS) = size[i] = reach + reach;
        }
        sizes[byte] = NAME(sum)(size, LANES);
    }
    sort_by_size(order, sizes, bytes);
    NAME(keep_order)(order, spans, bytes);
}

/* The largest step that is needed for all lanes, and what the lowest sums are. */
INLINE TARGET void NAME(steps)(const float *lows, const float *spans, const int64_t *order, int64_t bytes,
                               float *steps, float *shifts) {
    const int64_t wide = wide_parts(bytes);
    EACH(i) {
        Floats step = (Floats){0} + 1e-30f, sum = (Floats){0}, shift = (Floats){0};
        for (int64_t part = 0; part < bytes; part++) {
            const Floats span = LOAD(floats, spans + order[part] * LANES + i * FLOATS);
            shift += LOAD(floats, lows + order[part] * LANES + i * FLOATS);
            sum += span;
            if (part >= wide) step = GREATER(span / LARGEST_BYTE, step);
        }
        /* Rounding adds at most a half for each byte to a sum. */
        sum /= LARGEST_SUM - (float)bytes;
        STORE(floats, steps + i * FLOATS) = GREATER(sum, step);
        STORE(floats, shifts + i * FLOATS) = shift;
    }
}

#ifdef PACKED
/* Numbers (4 * FLOATS,) as bytes, and (2 * FLOATS,) as words. Those beneath 0 become 0, and those that are a little too
 * large the largest one. Packing takes a quarter of each register in turn, so that their order is restored. */
INLINE TARGET void NAME(pack_bytes)(uint8_t *out, const Ints *numbers) {
    const __m512i order = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
    const __m512i first = _mm512_packus_epi32((__m512i)numbers[0], (__m512i)numbers[1]);
    const __m512i second = _mm512_packus_epi32((__m512i)numbers[2], (__m512i)numbers[3]);
    _mm512_storeu_si512(out, _mm512_permutexvar_epi32(order, _mm512_packus_epi16(first, second)));
}

INLINE TARGET void NAME(pack_words)(uint8_t *out, const Ints *numbers) {
    const __m512i order = _mm512_set_epi64(7, 5, 3, 1, 6, 4, 2, 0);
    const __m512i words = _mm512_packus_epi32((__m512i)numbers[0], (__m512i)numbers[1]);
    _mm512_storeu_si512(out, _mm512_permutexvar_epi64(order, words));
}
#endif

/* Rows of 16 bits, or of 8, of some entries of a byte: their products (BLOCK * PARTS,) in units and a half. Products
 * that are close to each other, but far from zero, may round out of the range. */
INLINE TARGET void NAME(rounded_rows)(const Floats *products, int wide, uint8_t *out) {
#ifdef PACKED
    Ints whole[BLOCK * PARTS];
    for (int i = 0; i < BLOCK * PARTS; i++) whole[i] = CONVERT(products[i], Ints);
    if (wide) for (int i = 0; i < BLOCK * PARTS; i += 2) NAME(pack_words)(out + i * FLOATS * 2, whole + i);
    else for (int i = 0; i < BLOCK * PARTS; i += 4) NAME(pack_bytes)(out + i * FLOATS, whole + i);
#else
    const Floats most = (Floats){0} + (wide ? LARGEST_SUM : LARGEST_BYTE), least = (Floats){0};
    for (int j = 0; j < BLOCK; j++, out += LANES * (1 + wide)) {
        Ints whole[PARTS];
        EACH(i) whole[i] = CONVERT(LESS(GREATER(products[j * PARTS + i], least), most), Ints);
        if (wide) {
            EACH(i) STORE(narrow, (uint16_t *)(void *)out + i * FLOATS) = CONVERT(whole[i], NAME(narrow));
        } else {
            int32_t flat[LANES];
            EACH(i) STORE(ints, flat + i * FLOATS) = whole[i];
            for (int lane = 0; lane < LANES; lane++) out[lane] = (uint8_t)flat[lane];
        }
    }
#endif
}

/* Rows of 16 bits, or of 8, of the entries of one byte. */
INLINE TARGET void NAME(rounded)(const float *entries, int64_t columns, const float *query, const float *low,
                                 const Floats *units, int wide, uint8_t *out) {
    Floats products[BLOCK][PARTS], start[PARTS];
    EACH(i) start[i] = -LOAD(floats, low + i * FLOATS);
    for (int entry = 0; entry < ENTRIES; entry += BLOCK, entries += BLOCK, out += BLOCK * LANES * (1 + wide)) {
        NAME(products)(products, entries, columns, query, start);
        for (int j = 0; j < BLOCK; j++) EACH(i) products[j][i] = products[j][i] * units[i] + 0.5f;
        NAME(rounded_rows)(products[0], wide, out);
    }
}

static TARGET void NAME(table)(int kind, const float *entries, const int64_t *widths, int64_t bytes,
                               const float *query, void *table, int64_t *order, float *steps, float *shifts,
                               int64_t *places, float *ranges) {
    if (kind == FLOAT32) {
        Floats products[BLOCK][PARTS], nothing[PARTS];
        EACH(i) nothing[i] = (Floats){0};
        float *out = (float *)table;
        for (int64_t byte = 0; byte < bytes; entries += widths[byte] * ENTRIES, query += widths[byte++] * LANES) {
            for (int entry = 0; entry < ENTRIES; entry += BLOCK) {
                NAME(products)(products, entries + entry, widths[byte], query, nothing);
                for (int j = 0; j < BLOCK; j++, out += LANES)
                    EACH(i) STORE(floats, out + i * FLOATS) = products[j][i];
            }
        }
        return;
    }
    float *lows = ranges, *spans = ranges + bytes * LANES;
    Floats units[PARTS];
    NAME(ranges)(entries, widths, bytes, query, lows, spans, places, order);
    NAME(steps)(lows, spans, order, bytes, steps, shifts);
    EACH(i) units[i] = 1.0f / LOAD(floats, steps + i * FLOATS);
    rising(order, ranges + 2 * bytes * LANES, bytes);
    uint8_t *out = (uint8_t *)table;
    for (int64_t part = 0; part < bytes; part++) {
        const int64_t byte = order[part], column = places[byte];
        const int wide = part < wide_parts(bytes);
        NAME(rounded)(entries + column * ENTRIES, widths[byte], query + column * LANES, lows + byte * LANES, units,
                      wide, out);
        out += ENTRIES * LANES * (1 + wide);
    }
}

/* Sums of what the codes of all tokens of one class name. */
INLINE TARGET void NAME(class_sums)(int kind, const Predictive *in, const Work *work, int64_t k) {
    const int64_t width = in->widths[k], stop = in->stops[k];
    int64_t i = k ? in->stops[k - 1] : 0;
    if (i == stop) return;
    for (int64_t a = 0; a < in->active[k]; a++)
        memcpy(work->query + a * LANES, in->turned + in->kept[k][a] * LANES, LANES * sizeof(float));
    NAME(table)(kind, in->entries[k], in->columns[k], width, work->query, work->table, work->order,
                in->steps + k * LANES, in->shifts + k * LANES, work->places, work->ranges);
    for (; i < stop; i++) {
        const uint8_t *code = in->codes + in->places[i];
        if (i + AHEAD < stop) FETCH(in->codes + in->places[i + AHEAD], width);
        if (kind == FLOAT32) {
            Floats sums[PARTS];
            NAME(sum_floats)(sums, code, width, (const float *)work->table);
            EACH(part) STORE(floats, (float *)in->sums + in->members[i] * LANES + part * FLOATS) = sums[part];
        } else {
            NAME(sum_integers)((uint16_t *)in->sums + in->members[i] * LANES, code, work->order, width,
                               (const uint8_t *)work->table, INTEGER);
        }
    }
}

static TARGET void NAME(predictive_sums)(int kind, const Predictive *in, const Work *work, int64_t first,
                                         int64_t last) {
    for (int64_t k = first; k < last; k++) {
        if (kind == FLOAT32) NAME(class_sums)(FLOAT32, in, work, k);
        else NAME(class_sums)(INTEGER, in, work, k);
    }
}

INLINE TARGET void NAME(predictive_of)(int kind, const Predictive *in, int64_t first, int64_t last) {
    float recents[WINDOW * LANES];
    Floats unit[PARTS];
    EACH(i) unit[i] = in->units ? LOAD(floats, in->units + i * FLOATS) : (Floats){0};
    for (int64_t document = first; document < last; document++) {
        const uint8_t *header = in->codes + in->starts[document];
        const int64_t count = in->offsets[document + 1] - in->offsets[document];
        const int64_t before = in->offsets[document] * LANES;
        Floats highest[PARTS];
        EACH(i) highest[i] = (Floats){0} - INFINITY;
        for (int64_t token = 0; token < count; token++, header += HEADER_BYTES) {
            /* The highest bits first: 12 of the id, 8 of how far back the reference stands, 4 of the gain,
             * 3 of the class, 5 of the factor. */
            const int id = header[0] << 4 | header[1] >> 4, k = header[3] >> 5;
            const int back = (header[1] & 15) << 4 | header[2] >> 4;
            const float factor = in->factors[header[3] & 31];
            const float gain = factor * in->gains[header[2] & 15];
            const int64_t place = before + token * LANES;
            float *own = recents + token % WINDOW * LANES;
            const float *reference = recents + (token - back) % WINDOW * LANES;
            EACH(i) {
                const Floats base = NAME(base)(in->bases, in->units != NULL, id * LANES + i * FLOATS, unit[i]);
                Floats value;
                if (kind == FLOAT32) {
                    value = LOAD(floats, (const float *)in->sums + place + i * FLOATS);
                } else {
                    const int lane = k * LANES + i * FLOATS;
                    value = NAME(scaled)((const uint16_t *)in->sums + place + i * FLOATS,
                                         LOAD(floats, in->steps + lane), LOAD(floats, in->shifts + lane));
                }
                value = value * factor + base * (factor - 1.0f);
                if (back) value += LOAD(floats, reference + i * FLOATS) * gain;
                /* A reference passes on a share of what differs from its base. */
                STORE(floats, own + i * FLOATS) = value;
                value += base;
                highest[i] = GREATER(value, highest[i]);
            }
        }
        in->scores[document] = count ? NAME(sum)(highest, in->query_tokens) : -INFINITY;
    }
}

static TARGET void NAME(predictive)(int kind, const Predictive *in, int64_t first, int64_t last) {
    if (kind == FLOAT32) NAME(predictive_of)(FLOAT32, in, first, last);
    else NAME(predictive_of)(INTEGER, in, first, last);
}

/* Query tokens along directions (active, dim): out (active, LANES). `columns` (dim, LANES) are the tokens as
 * columns. */
static TARGET void NAME(along)(const float *directions, const float *columns, int64_t dim, int64_t active, float *out) {
    int64_t a = 0;
    for (; a + SIDE <= active; a += SIDE, directions += SIDE * dim, out += SIDE * LANES) {
        Floats sums[SIDE][PARTS];
        for (int j = 0; j < SIDE; j++) EACH(i) sums[j][i] = (Floats){0};
        for (int64_t d = 0; d < dim; d++)
            for (int j = 0; j < SIDE; j++)
                EACH(i) sums[j][i] += LOAD(floats, columns + d * LANES + i * FLOATS) * directions[j * dim + d];
        for (int j = 0; j < SIDE; j++) EACH(i) STORE(floats, out + j * LANES + i * FLOATS) = sums[j][i];
    }
    for (; a < active; a++, directions += dim, out += LANES) {
        Floats sums[PARTS];
        EACH(i) sums[i] = (Floats){0};
        for (int64_t d = 0; d < dim; d++)
            EACH(i) sums[i] += LOAD(floats, columns + d * LANES + i * FLOATS) * directions[d];
        EACH(i) STORE(floats, out + i * FLOATS) = sums[i];
    }
}

/* The bytes of the entries that are nearest to one vector; see `embplug_nearest`. */
static TARGET void NAME(nearest)(const float *vector, const float *entries, const float *halves,
                                 const int64_t *widths, int64_t bytes, uint8_t *codes) {
    int32_t counted[FLOATS];
    for (int i = 0; i < FLOATS; i++) counted[i] = i;
    for (int64_t byte = 0; byte < bytes; byte++, halves += ENTRIES) {
        Floats most = {0};
        Ints places = LOAD(ints, counted), where = places;
        for (int first = 0; first < ENTRIES; first += 8 * FLOATS) {
            Floats sums[8];
            const float *row = entries + first;
            for (int i = 0; i < 8; i++) sums[i] = -LOAD(floats, halves + first + i * FLOATS);
            for (int64_t d = 0; d < widths[byte]; d++, row += ENTRIES)
                for (int i = 0; i < 8; i++) sums[i] += LOAD(floats, row + i * FLOATS) * vector[d];
            if (!first) most = sums[0];
            for (int i = 0; i < 8; i++, places += FLOATS) {
                const Ints higher = sums[i] > most;
                most = GREATER(most, sums[i]);
                where = CHOOSE_INTS(higher, places, where);
            }
        }
        vector += widths[byte];
        entries += widths[byte] * ENTRIES;
        float highest[FLOATS], best;
        int32_t entry[FLOATS], nearest = ENTRIES - 1;
        STORE(floats, highest) = most;
        STORE(ints, entry) = where;
        best = highest[0];
        for (int i = 1; i < FLOATS; i++) best = highest[i] > best ? highest[i] : best;
        for (int i = 0; i < FLOATS; i++) nearest = highest[i] == best && entry[i] < nearest ? entry[i] : nearest;
        codes[byte] = (uint8_t)nearest;
    }
}

/* The table of some query tokens (tokens, dim), at most LANES, and what is added to all of its sums. */
static TARGET void NAME(prepared)(int kind, const Bytewise *with, const float *query, int64_t tokens,
                                  const Room *room) {
    const int64_t dim = with->dim;
    as_columns(query, tokens, dim, LANES, room->columns);
    const float *turned = room->columns;
    if (with->directions) {
        NAME(along)(with->directions, room->columns, dim, with->active, room->turned);
        turned = room->turned;
    }
    if (with->mean) NAME(along)(with->mean, room->columns, dim, 1, room->bases);
    NAME(table)(kind, with->entries, with->widths, with->bytes, turned, room->table, room->order, room->steps,
                room->shifts, room->places, room->ranges);
}

/* Squared lengths (count,), and `square` more, become one over the length. */
static TARGET void NAME(inverse_lengths)(float square, int64_t count, float *squares) {
    for (int64_t i = 0; i < count; i++) {
        const float whole = squares[i] + square;
        squares[i] = 1.0f / sqrtf(whole > FLT_MIN ? whole : FLT_MIN);
    }
}

/* Adds rows of 8 bits (rows, columns), each times its weight, to `sums` (columns,). */
static TARGET void NAME(weighted_rows)(const int8_t *codes, const float *weights, int64_t rows, int64_t columns,
                                       float *sums) {
    for (int64_t row = 0; row < rows; row += AT_ONCE) {
        const int8_t *code[AT_ONCE];
        float weight[AT_ONCE];
        for (int64_t i = 0; i < AT_ONCE; i++) {
            code[i] = codes + (row + i < rows ? row + i : row) * columns;
            weight[i] = row + i < rows ? weights[row + i] : 0.0f;
        }
        int64_t column = 0;
        for (; column + FLOATS <= columns; column += FLOATS) {
            Floats sum = LOAD(floats, sums + column);
            for (int i = 0; i < AT_ONCE; i++)
                sum += SIGNED(code[i] + column) * weight[i];
            STORE(floats, sums + column) = sum;
        }
        for (; column < columns; column++)
            for (int i = 0; i < AT_ONCE; i++) sums[column] += weight[i] * code[i][column];
    }
}

#undef LANES
#undef VECTOR_BYTES
#undef FLOATS
#undef PARTS
#undef WORDS
#undef BLOCK
#undef SIDE
#undef VECTOR
#undef CONVERT
#undef CHOOSE
#undef CHOOSE_INTS
#undef GREATER
#undef GREATER_WORDS
#undef LESS
#undef SIGNED_WORDS
#undef UNSIGNED_WORDS
#undef PACKED
#undef WIDENED
#undef SIGNED
#undef PAIRED
#undef FIRST_PAIRS
#undef LAST_PAIRS
#undef Floats
#undef Ints
#undef Words
#undef Shorts
#undef LOAD
#undef STORE
#undef EACH
#undef EACH_GROUP
