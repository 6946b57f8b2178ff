/* Documents compared with landmarks, for learned encodings.
 *
 * kernel.c includes this file once. Products of bytes take the instruction of AVX-512 that adds four of them
 * at a time; other processors compare documents by BLAS, as the caller does without a kernel.
 */

#if defined(__GNUC__) && defined(__x86_64__)
#include <immintrin.h>
#define PANEL 64  /* landmarks compared at a time: four registers of 16 sums */
#define VECTORS 4
#define TOKENS 6  /* tokens compared at a time; their sums fill 24 of the 32 registers */

EXPORT int embplug_compares(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vnni");
}

/* The highest sums (documents, landmarks) of products of the tokens (tokens, dim) of the documents first..last - 1
 * with landmarks. `dim` is a multiple of 4, `landmarks` of PANEL. Tokens are signed bytes plus 128. `panels` are
 * (landmarks / PANEL, dim / 4, PANEL, 4), and a sum begins at `starts` (landmarks,), which takes the 128 out. */
EXPORT __attribute__((target("avx512f,avx512bw,avx512vnni"))) void embplug_highest(
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
EXPORT int embplug_compares(void) { return 0; }

EXPORT void embplug_highest(const uint8_t *tokens, const int64_t *offsets, int64_t first, int64_t last,
                            int64_t dim, const int8_t *panels, const int32_t *starts, int64_t landmarks,
                            int32_t *highest) {
    (void)tokens, (void)offsets, (void)first, (void)last, (void)dim;
    (void)panels, (void)starts, (void)landmarks, (void)highest;
}
#endif
