/* Products of numbers of 8 bits: of a query with rows such as centroids, and of documents with landmarks.
 *
 * kernel.c includes this file once. The instruction of AVX-512 (VNNI) that adds four such products is all that
 * pays: on other processors the caller multiplies by BLAS, as it does without a kernel.
 */

#ifdef INT8_PRODUCTS
#define PANEL 64  /* landmarks compared at a time: four registers of 16 sums */
#define VECTORS 4
#define TOKENS 6  /* tokens compared at a time; their sums fill 24 of the 32 registers */
#define EIGHT_BITS __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")))

/* Whether this processor runs what follows. */
EXPORT int embplug_eight_bits(void) { return embplug_levels() == LEVELS && __builtin_cpu_supports("avx512vnni"); }

#define SUM_OF_FOUR(numbers) _mm512_reduce_add_epi32(_mm512_zextsi128_si512(numbers))

/* Query tokens (lanes, dim) in 8 bits: `numbers` (padded / 4, lanes, 4) from -127 to 127 and their `sums`
 * (lanes,), and what one unit stands for, `steps` (lanes,). Numbers from `dim` to `padded`, a multiple of 4, are 0.
 * Where there are `units` (lanes,), products with rows as long as `longest` are at most 32,766 of them, and steps
 * are in units. */
static EIGHT_BITS void rounded_query(const float *query, int64_t lanes, int64_t dim, int64_t padded, float longest,
                                     int8_t *numbers, int32_t *sums, float *steps, float *units) {
    for (int64_t lane = 0; lane < lanes; lane++, query += dim) {
        __m512 sizes = _mm512_setzero_ps();
        for (int64_t d = 0; d < dim; d += 16)
            sizes = _mm512_max_ps(sizes, _mm512_abs_ps(_mm512_maskz_loadu_ps(first_lanes(dim - d), query + d)));
        const float largest = _mm512_reduce_max_ps(sizes);
        /* The inverse of a smaller number may not be finite. */
        const __m128 inverse = _mm_set1_ps(largest > 1e-30f ? 127.0f / largest : 0.0f);
        __m128i sum = _mm_setzero_si128(), squares = sum;
        for (int64_t d = 0; d < padded; d += 4) {
            const __m128 some = _mm_maskz_loadu_ps((__mmask8)first_lanes(dim - d), query + d);
            const __m128i four = _mm_cvtps_epi32(_mm_mul_ps(some, inverse));
            const int32_t bytes = _mm_cvtsi128_si32(_mm_cvtepi32_epi8(four));
            memcpy(numbers + d * lanes + 4 * lane, &bytes, 4);
            sum = _mm_add_epi32(sum, four);
            squares = _mm_add_epi32(squares, _mm_mullo_epi32(four, four));
        }
        const float length = sqrtf((float)SUM_OF_FOUR(squares)) * longest;
        sums[lane] = SUM_OF_FOUR(sum);
        steps[lane] = largest > 1e-30f ? largest / 127.0f : 1.0f;
        if (!units) continue;
        steps[lane] = length > 1e-30f ? LARGEST_PRODUCT / length : 0.0f;
        units[lane] = largest / 127.0f * (length / LARGEST_PRODUCT);
    }
}

/* The sums of ROWS rows stay in registers: as many as hide how long an instruction takes. Their numbers stand beside
 * each other, so that rows are read from one place that moves on. */
#define ROWS 8
#define BASES(name, bits, vectors, type, store) \
    static EIGHT_BITS void name(const uint8_t *rows, const float *scales, int64_t count, int64_t dim, \
                                const int8_t *query, const int32_t *sums, const float *steps, type *products) { \
        enum { TOKENS_OF = bits / 32, LANES = vectors * TOKENS_OF }; \
        __m##bits##i around[vectors]; \
        __m##bits step[vectors]; \
        for (int v = 0; v < vectors; v++) { \
            around[v] = _mm##bits##_mullo_epi32(_mm##bits##_loadu_##bits(sums + v * TOKENS_OF), \
                                                _mm##bits##_set1_epi32(-128)); \
            step[v] = _mm##bits##_loadu_ps(steps + v * TOKENS_OF); \
        } \
        for (int64_t row = 0; row < count; row += ROWS) { \
            __m##bits##i total[ROWS][vectors]; \
            for (int i = 0; i < ROWS; i++) \
                for (int v = 0; v < vectors; v++) total[i][v] = around[v]; \
            for (int64_t d = 0; d < dim; d += 4, rows += 4 * ROWS) { \
                __m##bits##i tokens[vectors]; \
                for (int v = 0; v < vectors; v++) \
                    tokens[v] = _mm##bits##_loadu_##bits(query + d * LANES + 4 * v * TOKENS_OF); \
                for (int i = 0; i < ROWS; i++) { \
                    int32_t four; \
                    memcpy(&four, rows + 4 * i, 4); \
                    for (int v = 0; v < vectors; v++) \
                        total[i][v] = _mm##bits##_dpbusd_epi32(total[i][v], _mm##bits##_set1_epi32(four), tokens[v]); \
                } \
            } \
            for (int i = 0; i < ROWS && row + i < count; i++) \
                for (int v = 0; v < vectors; v++) \
                    store(products + (row + i) * LANES + v * TOKENS_OF, \
                          _mm##bits##_mul_ps(_mm##bits##_mul_ps(_mm##bits##_cvtepi32_ps(total[i][v]), step[v]), \
                                             _mm##bits##_set1_ps(scales[row + i]))); \
        } \
    }
#define _mm512_loadu_512 _mm512_loadu_si512
#define _mm256_loadu_256(place) _mm256_loadu_si256((const void *)(place))
#define STORE_ROUNDED_512(place, floats) \
    _mm256_storeu_si256((void *)(place), _mm512_cvtsepi32_epi16(_mm512_cvtps_epi32(floats)))
#define STORE_ROUNDED_256(place, floats) \
    _mm_storeu_si128((void *)(place), _mm256_cvtsepi32_epi16(_mm256_cvtps_epi32(floats)))
BASES(bases_of_8, 256, 1, float, _mm256_storeu_ps)
BASES(bases_of_16, 512, 1, float, _mm512_storeu_ps)
BASES(bases_of_32, 512, 2, float, _mm512_storeu_ps)
BASES(rounded_bases_of_8, 256, 1, int16_t, STORE_ROUNDED_256)
BASES(rounded_bases_of_16, 512, 1, int16_t, STORE_ROUNDED_512)
BASES(rounded_bases_of_32, 512, 2, int16_t, STORE_ROUNDED_512)

/* Products (count, lanes) of a query (lanes, dim) with rows of 8 bits, both rounded: `rows` (blocks, padded / 4, ROWS,
 * 4), of which the last block may have more than there are, are numbers from 0 to 255 about 128, in units of `scales`
 * (count,). Products are floats or, where there are `units` (lanes,), integers. `lanes` are 8, 16 or 32, and `numbers`
 * (padded * lanes,) are written. */
EXPORT void embplug_products(int lanes, const float *query, int64_t dim, const uint8_t *rows, const float *scales,
                             int64_t count, int64_t padded, float longest, int8_t *numbers, void *products,
                             float *units) {
    int32_t sums[LARGEST_LANES];
    float steps[LARGEST_LANES];
    rounded_query(query, lanes, dim, padded, longest, numbers, sums, steps, units);
    if (units)
        (lanes <= 8    ? rounded_bases_of_8
         : lanes <= 16 ? rounded_bases_of_16
                       : rounded_bases_of_32)(rows, scales, count, padded, numbers, sums, steps, (int16_t *)products);
    else
        (lanes <= 8 ? bases_of_8 : lanes <= 16 ? bases_of_16 : bases_of_32)(rows, scales, count, padded, numbers, sums,
                                                                           steps, (float *)products);
}

/* 16 numbers at a time of float32, or of float16 where `half`; what `mask` leaves out is 0. */
static inline EIGHT_BITS __m512 numbers(const void *values, int half, int64_t place, __mmask16 mask) {
    if (half) return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, (const uint16_t *)values + place));
    return _mm512_maskz_loadu_ps(mask, (const float *)values + place);
}

/* The tokens (tokens, dim) of documents as bytes about 128: `rows` (tokens, padded), of which what lies behind
 * `dim` is left alone, and what one unit of a document stands for, `steps` (documents,). */
EXPORT EIGHT_BITS void embplug_rounded_tokens(const void *tokens, int half, const int64_t *offsets, int64_t documents,
                                              int64_t dim, int64_t padded, uint8_t *rows, float *steps) {
    for (int64_t document = 0; document < documents; document++) {
        const int64_t first = offsets[document], last = offsets[document + 1], stop = last * dim;
        __m512 most = _mm512_setzero_ps();
        for (int64_t place = first * dim; place < stop; place += 16)
            most = _mm512_max_ps(most, _mm512_abs_ps(numbers(tokens, half, place, first_lanes(stop - place))));
        const float largest = _mm512_reduce_max_ps(most), step = largest > 0 ? largest / 127.0f : 1.0f;
        steps[document] = step > FLT_MIN ? step : FLT_MIN;
        const __m512 factor = _mm512_set1_ps(1.0f / steps[document]);
        for (int64_t token = first; token < last; token++)
            for (int64_t d = 0; d < dim; d += 16) {
                const __mmask16 mask = first_lanes(dim - d);
                const __m512i units =
                    _mm512_cvtps_epi32(_mm512_mul_ps(numbers(tokens, half, token * dim + d, mask), factor));
                _mm512_mask_cvtepi32_storeu_epi8(rows + token * padded + d, mask,
                                                 _mm512_add_epi32(units, _mm512_set1_epi32(128)));
            }
    }
}

/* Adds products of four unsigned and four signed numbers to each sum. GCC 12 keeps a copy of every sum of the
 * intrinsic in memory, which takes twice the time. */
#define ADD_PRODUCTS(sums, eight, numbers) __asm__("vpdpbusd %2, %1, %0" : "+v"(sums) : "v"(eight), "v"(numbers))

/* Sums (TOKENS, PANEL) of products of some rows with a panel (groups, PANEL, 4), which begin at `begin`. */
static inline EIGHT_BITS __attribute__((always_inline)) void with_panel(
    const uint8_t *const *row, const int8_t *panel, int64_t groups, const __m512i *begin,
    __m512i (*sums)[VECTORS]) {
    for (int t = 0; t < TOKENS; t++)
        for (int v = 0; v < VECTORS; v++) sums[t][v] = begin[v];
    for (int64_t group = 0; group < groups; group++) {
        __m512i column[VECTORS];
        for (int v = 0; v < VECTORS; v++) column[v] = _mm512_loadu_si512(panel + group * 4 * PANEL + 64 * v);
        for (int t = 0; t < TOKENS; t++) {
            int32_t four;
            memcpy(&four, row[t] + 4 * group, 4);
            const __m512i value = _mm512_set1_epi32(four);
            for (int v = 0; v < VECTORS; v++) ADD_PRODUCTS(sums[t][v], value, column[v]);
        }
    }
}

/* The highest sums (documents, landmarks) of products of the tokens (tokens, dim) of the documents first..last - 1
 * with landmarks. `dim` is a multiple of 4, `landmarks` of PANEL. Tokens are signed bytes plus 128. `panels` are
 * (landmarks / PANEL, dim / 4, PANEL, 4), and a sum begins at `starts` (landmarks,), which takes the 128 out. */
EXPORT EIGHT_BITS void embplug_highest(
    const uint8_t *tokens, const int64_t *offsets, int64_t first, int64_t last, int64_t dim, const int8_t *panels,
    const int32_t *starts, int64_t landmarks, int32_t *highest) {
    const int64_t groups = dim / 4;
    for (int64_t document = first; document < last; document++, highest += landmarks) {
        const int64_t count = offsets[document + 1] - offsets[document];
        if (!count) continue;
        const uint8_t *rows = tokens + offsets[document] * dim;
        for (int64_t panel = 0; panel < landmarks; panel += PANEL) {
            const int8_t *columns = panels + panel * dim;
            __m512i best[VECTORS], begin[VECTORS];
            for (int v = 0; v < VECTORS; v++) {
                begin[v] = _mm512_loadu_si512(starts + panel + 16 * v);
                best[v] = _mm512_set1_epi32(INT32_MIN);
            }
            for (int64_t token = 0; token < count; token += TOKENS) {
                const uint8_t *row[TOKENS];
                __m512i sums[TOKENS][VECTORS];
                /* Behind the last token it is compared again. */
                for (int t = 0; t < TOKENS; t++) row[t] = rows + (token + t < count ? token + t : count - 1) * dim;
                with_panel(row, columns, groups, begin, sums);
                for (int t = 0; t < TOKENS; t++)
                    for (int v = 0; v < VECTORS; v++) best[v] = _mm512_max_epi32(best[v], sums[t][v]);
            }
            for (int v = 0; v < VECTORS; v++) _mm512_storeu_si512(highest + panel + 16 * v, best[v]);
        }
    }
}

/* The sum and the sum of squares of a token about 128. */
static inline EIGHT_BITS void sums_of(const uint8_t *row, int64_t dim, int32_t *sum, int32_t *square) {
    const __m256i middle = _mm256_set1_epi8((char)128);
    __m512i sums = _mm512_setzero_si512(), squares = sums;
    for (int64_t d = 0; d < dim; d += 32) {
        const __mmask32 mask = dim - d < 32 ? ((__mmask32)1 << (dim - d)) - 1 : ~(__mmask32)0;
        const __m256i eight = _mm256_maskz_sub_epi8(mask, _mm256_maskz_loadu_epi8(mask, row + d), middle);
        const __m512i sixteen = _mm512_cvtepi8_epi16(eight);
        sums = _mm512_add_epi32(sums, _mm512_madd_epi16(sixteen, _mm512_set1_epi16(1)));
        squares = _mm512_add_epi32(squares, _mm512_madd_epi16(sixteen, sixteen));
    }
    *sum = _mm512_reduce_add_epi32(sums);
    *square = _mm512_reduce_add_epi32(squares);
}

/* Which tokens (tokens, dim) of documents lie no closer than the root of `limits` (documents,) to an earlier one
 * that is kept: `kept` (tokens,) is 1 or 0. `sums` and `squares` (tokens,) and `panel` (dim * PANEL,) are written.
 * `dim` is at most 65,536 and a multiple of 4, and limits are from 0 to 2^30. */
EXPORT EIGHT_BITS void embplug_distinct(const uint8_t *tokens, const int64_t *offsets, int64_t documents, int64_t dim,
                                        const int32_t *limits, int32_t *sums, int32_t *squares, int8_t *panel,
                                        uint8_t *kept) {
    for (int64_t document = 0; document < documents; document++) {
        const int64_t first = offsets[document], count = offsets[document + 1] - first;
        const uint8_t *rows = tokens + first * dim;
        const int32_t *square = squares + first;
        uint8_t *own = kept + first;
        memset(own, 1, (size_t)count);
        for (int64_t token = 0; token < count; token++)
            sums_of(rows + token * dim, dim, sums + first + token, squares + first + token);
        for (int64_t next = 0; next < count;) {
            /* Tokens that are kept so far, from -128 to 127, and where the products with them begin. What an earlier
             * panel has left there counts for none. */
            int64_t columns[PANEL], size = 0, token = next;
            int32_t starts[PANEL] = {0}, lengths[PANEL] = {0};
            for (; next < count && size < PANEL; next++) {
                if (!own[next]) continue;
                for (int64_t d = 0; d < dim; d += 4) {
                    uint32_t four;
                    memcpy(&four, rows + next * dim + d, 4);
                    four ^= 0x80808080u;
                    memcpy(panel + d * PANEL + 4 * size, &four, 4);
                }
                starts[size] = -128 * sums[first + next];
                lengths[size] = square[next];
                columns[size++] = next;
            }
            uint64_t alive = size < PANEL ? ((uint64_t)1 << size) - 1 : ~(uint64_t)0;
            __m512i begin[VECTORS];
            for (int v = 0; v < VECTORS; v++) begin[v] = _mm512_loadu_si512(starts + 16 * v);
            int64_t column = 0;
            while (token < count) {
                const uint8_t *row[TOKENS];
                int64_t members[TOKENS];
                uint64_t close[TOKENS];
                __m512i products[TOKENS][VECTORS];
                int some = 0;
                for (; token < count && some < TOKENS; token++)
                    if (own[token]) members[some++] = token;
                if (!some) break;
                for (int t = some; t < TOKENS; t++) members[t] = members[some - 1];
                for (int t = 0; t < TOKENS; t++) row[t] = rows + members[t] * dim;
                with_panel(row, panel, dim / 4, begin, products);
                /* As many turns as there are sums, so that these stay in registers. */
                for (int t = 0; t < TOKENS; t++) {
                    /* A squared distance is the squares without twice the product. With one product on either
                     * side of the comparison, both sides fit into 32 bits. */
                    const __m512i beyond = _mm512_set1_epi32(square[members[t]] - limits[document]);
                    close[t] = 0;
                    for (int v = 0; v < VECTORS; v++) {
                        const __m512i product = products[t][v];
                        const __m512i rest = _mm512_sub_epi32(product, _mm512_loadu_si512(lengths + 16 * v));
                        const __m512i least = _mm512_sub_epi32(beyond, product);
                        close[t] |= (uint64_t)_mm512_cmpge_epi32_mask(rest, least) << (16 * v);
                    }
                }
                for (int t = 0; t < some; t++) {
                    const int within = column < size && columns[column] == members[t];
                    const uint64_t before = within ? ((uint64_t)1 << column) - 1 : ~(uint64_t)0;
                    if (close[t] & alive & before) {
                        own[members[t]] = 0;
                        if (within) alive &= ~((uint64_t)1 << column);
                    }
                    column += within;
                }
            }
        }
    }
}
#else
EXPORT int embplug_eight_bits(void) { return 0; }

EXPORT void embplug_products(int lanes, const float *query, int64_t dim, const uint8_t *rows, const float *scales,
                             int64_t count, int64_t padded, float longest, int8_t *numbers, void *products,
                             float *units) {
    (void)lanes, (void)query, (void)dim, (void)rows, (void)scales, (void)count, (void)padded, (void)longest;
    (void)numbers, (void)products, (void)units;
}

EXPORT void embplug_rounded_tokens(const void *tokens, int half, const int64_t *offsets, int64_t documents,
                                   int64_t dim, int64_t padded, uint8_t *rows, float *steps) {
    (void)tokens, (void)half, (void)offsets, (void)documents, (void)dim, (void)padded, (void)rows, (void)steps;
}

EXPORT void embplug_highest(const uint8_t *tokens, const int64_t *offsets, int64_t first, int64_t last,
                            int64_t dim, const int8_t *panels, const int32_t *starts, int64_t landmarks,
                            int32_t *highest) {
    (void)tokens, (void)offsets, (void)first, (void)last, (void)dim;
    (void)panels, (void)starts, (void)landmarks, (void)highest;
}

EXPORT void embplug_distinct(const uint8_t *tokens, const int64_t *offsets, int64_t documents, int64_t dim,
                             const int32_t *limits, int32_t *sums, int32_t *squares, int8_t *panel,
                             uint8_t *kept) {
    (void)tokens, (void)offsets, (void)documents, (void)dim, (void)limits;
    (void)sums, (void)squares, (void)panel, (void)kept;
}
#endif
