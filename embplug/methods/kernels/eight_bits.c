/* Products of numbers of 8 bits: of a query with rows such as centroids, and of documents with landmarks.
 *
 * kernel.c includes this file once. The instruction of AVX-512 (VNNI) that adds four such products is all that
 * pays: on other processors the caller multiplies by BLAS, as it does without a kernel.
 */

#ifdef INT8_PRODUCTS
#define ROWS 4    /* rows multiplied at a time */
#define PANEL 64  /* landmarks compared at a time: four registers of 16 sums */
#define VECTORS 4
#define TOKENS 6  /* tokens compared at a time; their sums fill 24 of the 32 registers */
#define EIGHT_BITS __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma")))

/* Whether this processor runs what follows. */
EXPORT int embplug_eight_bits(void) { return embplug_levels() == LEVELS && __builtin_cpu_supports("avx512vnni"); }

/* Products (rows, LANES) of a query with rows of 8 bits, both rounded: `rows` (count, dim / 4, 4) are numbers
 * from 0 to 255 about 128, `query` (dim / 4, LANES, 4) numbers from -127 to 127. `sums` (LANES,) are those of
 * the query, `scales` (count,) and `steps` (LANES,) what one unit of either stands for. */
EXPORT EIGHT_BITS void embplug_bases(const uint8_t *rows, const float *scales, int64_t count, int64_t dim,
                                     const int8_t *query, const int32_t *sums, const float *steps,
                                     float *products) {
    const __m512i around[2] = {_mm512_mullo_epi32(_mm512_loadu_si512(sums), _mm512_set1_epi32(-128)),
                               _mm512_mullo_epi32(_mm512_loadu_si512(sums + 16), _mm512_set1_epi32(-128))};
    const __m512 step[2] = {_mm512_loadu_ps(steps), _mm512_loadu_ps(steps + 16)};
    for (int64_t row = 0; row < count; row += ROWS) {
        const int64_t last = count - 1 - row;
        __m512i total[ROWS][2];
        for (int i = 0; i < ROWS; i++) total[i][0] = around[0], total[i][1] = around[1];
        for (int64_t d = 0; d < dim; d += 4) {
            const __m512i low = _mm512_loadu_si512(query + d * LANES);
            const __m512i high = _mm512_loadu_si512(query + d * LANES + 64);
            for (int i = 0; i < ROWS; i++) {
                int32_t four;
                memcpy(&four, rows + (row + (i < last ? i : last)) * dim + d, 4);
                total[i][0] = _mm512_dpbusd_epi32(total[i][0], _mm512_set1_epi32(four), low);
                total[i][1] = _mm512_dpbusd_epi32(total[i][1], _mm512_set1_epi32(four), high);
            }
        }
        for (int i = 0; i < ROWS && i <= last; i++)
            for (int half = 0; half < 2; half++)
                _mm512_storeu_ps(products + (row + i) * LANES + 16 * half,
                                 _mm512_mul_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(total[i][half]), step[half]),
                                               _mm512_set1_ps(scales[row + i])));
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
                for (int t = 0; t < TOKENS; t++) {
                    /* Behind the last token it is compared again. */
                    row[t] = rows + (token + t < count ? token + t : count - 1) * dim;
                    for (int v = 0; v < VECTORS; v++) sums[t][v] = begin[v];
                }
                for (int64_t group = 0; group < groups; group++) {
                    __m512i column[VECTORS];
                    for (int v = 0; v < VECTORS; v++)
                        column[v] = _mm512_loadu_si512(columns + group * 4 * PANEL + 64 * v);
                    for (int t = 0; t < TOKENS; t++) {
                        int32_t four;
                        memcpy(&four, row[t] + 4 * group, 4);
                        const __m512i value = _mm512_set1_epi32(four);
                        for (int v = 0; v < VECTORS; v++)
                            sums[t][v] = _mm512_dpbusd_epi32(sums[t][v], value, column[v]);
                    }
                }
                for (int t = 0; t < TOKENS; t++)
                    for (int v = 0; v < VECTORS; v++) best[v] = _mm512_max_epi32(best[v], sums[t][v]);
            }
            for (int v = 0; v < VECTORS; v++) _mm512_storeu_si512(highest + panel + 16 * v, best[v]);
        }
    }
}
#else
EXPORT int embplug_eight_bits(void) { return 0; }

EXPORT void embplug_bases(const uint8_t *rows, const float *scales, int64_t count, int64_t dim,
                          const int8_t *query, const int32_t *sums, const float *steps, float *products) {
    (void)rows, (void)scales, (void)count, (void)dim, (void)query, (void)sums, (void)steps, (void)products;
}

EXPORT void embplug_highest(const uint8_t *tokens, const int64_t *offsets, int64_t first, int64_t last,
                            int64_t dim, const int8_t *panels, const int32_t *starts, int64_t landmarks,
                            int32_t *highest) {
    (void)tokens, (void)offsets, (void)first, (void)last, (void)dim;
    (void)panels, (void)starts, (void)landmarks, (void)highest;
}
#endif
