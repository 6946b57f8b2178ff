/* MaxSim of codes that hold a bit for each dimension.
 *
 * The products of a query token with a few bits are so few numbers that they fit into a register, where one
 * instruction looks up those of all tokens of a block: four bits at a time with AVX2, six with AVX-512 (VBMI).
 * kernel.c includes this file once. On other processors the tables of tile.c score such codes, too.
 */

#define BITS_TILE 64         /* tokens whose codes stand side by side */
#define BITS_TILES 4         /* tiles, at most, that are scored together: tables are read once for all of them */
#define BITS_BLOCK (BITS_TILES * BITS_TILE)
#define BITS_CACHED 24576    /* bytes of groups that stay in the first cache beside two tables */
#define BITS_LARGEST 127.0f  /* of an entry: two of them add up within a byte, and 512 within 16 bits */

typedef struct {
    const uint8_t *codes;
    const int64_t *starts;  /* (documents,): byte of `codes` at which a document begins */
    const int64_t *offsets; /* (documents + 1,): number of its first token */
    int64_t width;          /* bytes of a token */
    int64_t query_tokens;
    const uint8_t *tables;  /* (query_tokens + 2, bits_groups, 1 << bits of a group); the last two are the high
                             * and the low seven bits of the products with the mean, which tell lengths */
    const float *steps;     /* (query_tokens + 1,): what one unit of a table stands for */
    const float *shifts;    /* (query_tokens + 1,): added to the sums */
    uint8_t *room;          /* embplug_bits_room bytes, at an address that 64 divides */
    float *highest;         /* room for (query_tokens,) */
    float *scores;          /* (documents,) */
} Bits;

/* Bytes of a token, filled up to whole registers and whole groups of bits. */
INLINE int64_t bits_padded(int64_t width) { return (width + 47) / 48 * 48; }

/* Groups of so many bits in a token: an even number, because two are added at a time. */
INLINE int64_t bits_groups(int64_t width, int bits) { return ((8 * width + bits - 1) / bits + 1) / 2 * 2; }

/* Bytes of room that a call needs for codes of this width. */
EXPORT int64_t embplug_bits_room(int64_t width) { return (2 * BITS_TILES + 1) * BITS_TILE * bits_padded(width); }

/* Bits that this processor looks up at a time, or 0 where the tables of tile.c are better. */
EXPORT int embplug_bits_of_group(int level) {
#if defined(__GNUC__) && defined(__x86_64__)
    return level >= 2 && __builtin_cpu_supports("avx512vbmi") ? 6 : level >= 1 ? 4 : 0;
#else
    return (void)level, 0;
#endif
}

#if defined(__GNUC__) && defined(__x86_64__)
#define AVX2 __attribute__((target("avx2,fma")))
#define VBMI __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx2,fma")))

/* Numbers of 8 bits of 16 rows, of which the same 16 in each part of a register, with rows and places exchanged. */
#define BITS_TURNED(type, low, high, rows) \
    do { \
        type other[16]; \
        for (int round = 0; round < 4; round++) { \
            const type *from = round & 1 ? other : rows; \
            type *to = round & 1 ? rows : other; \
            for (int i = 0; i < 8; i++) { \
                to[2 * i] = low(from[i], from[i + 8]); \
                to[2 * i + 1] = high(from[i], from[i + 8]); \
            } \
        } \
    } while (0)

/* 16 bytes of a code, or those that it has and zeros. */
INLINE AVX2 __m128i bits_sixteen(const uint8_t *code, int64_t count) {
    __m128i bytes = _mm_setzero_si128();
    if (count >= 16) return _mm_loadu_si128((const void *)code);
    memcpy(&bytes, code, (size_t)count);
    return bytes;
}

/* Which token stands at a place of a tile: the odd places of a register hold those behind its even places. */
INLINE int bits_token(int place, int bytes) {
    return place / bytes * bytes + place % bytes / 2 + place % 2 * (bytes / 2);
}

/* Bytes (padded, BITS_TILE) of the codes of a tile, whose tokens stand at `rows`. */
INLINE AVX2 void bits_columns_4(const uint8_t *const *rows, int64_t width, uint8_t *turned) {
    for (int64_t byte = 0; byte < width; byte += 16)
        for (int place = 0; place < BITS_TILE; place += 32) {
            __m256i some[16];
            for (int i = 0; i < 16; i++)
                some[i] =
                    _mm256_set_m128i(bits_sixteen(rows[bits_token(place + 16 + i, 32)] + byte, width - byte),
                                     bits_sixteen(rows[bits_token(place + i, 32)] + byte, width - byte));
            BITS_TURNED(__m256i, _mm256_unpacklo_epi8, _mm256_unpackhi_epi8, some);
            for (int i = 0; i < 16; i++) _mm256_store_si256((void *)(turned + (byte + i) * BITS_TILE + place), some[i]);
        }
}

INLINE VBMI void bits_columns_6(const uint8_t *const *rows, int64_t width, uint8_t *turned) {
    for (int64_t byte = 0; byte < width; byte += 16) {
        const __mmask16 there = first_lanes(width - byte);
        __m512i some[16];
        for (int i = 0; i < 16; i++) {
            __m128i part[4];
            for (int k = 0; k < 4; k++)
                part[k] = _mm_maskz_loadu_epi8(there, rows[bits_token(16 * k + i, BITS_TILE)] + byte);
            some[i] = _mm512_inserti32x4(_mm512_castsi128_si512(part[0]), part[1], 1);
            some[i] = _mm512_inserti32x4(_mm512_inserti32x4(some[i], part[2], 2), part[3], 3);
        }
        BITS_TURNED(__m512i, _mm512_unpacklo_epi8, _mm512_unpackhi_epi8, some);
        for (int i = 0; i < 16; i++) _mm512_store_si512(turned + (byte + i) * BITS_TILE, some[i]);
    }
}

/* Groups (groups, BITS_TILE) of four bits of such bytes. What stands above the bits does not count. */
INLINE AVX2 void bits_split_4(const uint8_t *turned, int64_t padded, uint8_t *groups) {
    const __m256i low = _mm256_set1_epi8(15);
    for (int64_t i = 0; i < padded * BITS_TILE; i += 32) {
        const __m256i bytes = _mm256_load_si256((const void *)(turned + i));
        uint8_t *place = groups + i / BITS_TILE * 2 * BITS_TILE + i % BITS_TILE;
        _mm256_store_si256((void *)place, _mm256_and_si256(_mm256_srli_epi16(bytes, 4), low));
        _mm256_store_si256((void *)(place + BITS_TILE), _mm256_and_si256(bytes, low));
    }
}

INLINE VBMI void bits_split_6(const uint8_t *turned, int64_t padded, uint8_t *groups) {
    const __m512i two = _mm512_set1_epi8(3), four = _mm512_set1_epi8(15);
    for (int64_t byte = 0; byte < padded; byte += 3, turned += 3 * BITS_TILE, groups += 4 * BITS_TILE) {
        const __m512i a = _mm512_load_si512(turned), b = _mm512_load_si512(turned + BITS_TILE);
        const __m512i c = _mm512_load_si512(turned + 2 * BITS_TILE);
        const __m512i end = _mm512_and_si512(_mm512_srli_epi16(b, 4), four);
        _mm512_store_si512(groups, _mm512_srli_epi16(a, 2));
        _mm512_store_si512(groups + BITS_TILE,
                           _mm512_or_si512(_mm512_slli_epi16(_mm512_and_si512(a, two), 4), end));
        _mm512_store_si512(groups + 2 * BITS_TILE,
                           _mm512_or_si512(_mm512_slli_epi16(_mm512_and_si512(b, four), 2),
                                           _mm512_and_si512(_mm512_srli_epi16(c, 6), two)));
        _mm512_store_si512(groups + 3 * BITS_TILE, c);
    }
}

/* Sums of the entries of a table that the tokens of one tile name, or of BITS_TILES side by side, which stand
 * `size` bytes apart. A word holds two tokens: their sum as one number, and that of the odd place alone. */
INLINE AVX2 void bits_sums_4(int tiles, const uint8_t *table, const uint8_t *groups, int64_t count, int64_t size,
                             uint16_t *out) {
    for (int tile = 0; tile < tiles; tile += 2) {
        enum { REGISTERS = 4 };
        const int used = tiles - tile < 2 ? 2 : REGISTERS;
        __m256i both[REGISTERS], odd[REGISTERS];
        for (int i = 0; i < used; i++) both[i] = odd[i] = _mm256_setzero_si256();
        for (int64_t group = 0; group < count; group += 2) {
            const __m256i entries = _mm256_broadcastsi128_si256(_mm_load_si128((const void *)(table + 16 * group)));
            const __m256i more = _mm256_broadcastsi128_si256(_mm_load_si128((const void *)(table + 16 * group + 16)));
            for (int i = 0; i < used; i++) {
                const uint8_t *place = groups + (tile + i / 2) * size + group * BITS_TILE + i % 2 * 32;
                const __m256i values =
                    _mm256_add_epi8(_mm256_shuffle_epi8(entries, _mm256_load_si256((const void *)place)),
                                    _mm256_shuffle_epi8(more, _mm256_load_si256((const void *)(place + BITS_TILE))));
                both[i] = _mm256_add_epi16(both[i], values);
                odd[i] = _mm256_add_epi16(odd[i], _mm256_srli_epi16(values, 8));
            }
        }
        for (int i = 0; i < used; i++) {
            uint16_t *place = out + tile * BITS_TILE + 32 * i;
            _mm256_store_si256((void *)place, _mm256_sub_epi16(both[i], _mm256_slli_epi16(odd[i], 8)));
            _mm256_store_si256((void *)(place + 16), odd[i]);
        }
    }
}

INLINE VBMI void bits_sums_6(int tiles, const uint8_t *table, const uint8_t *groups, int64_t count, int64_t size,
                             uint16_t *out) {
    __m512i both[BITS_TILES], odd[BITS_TILES];
    for (int tile = 0; tile < tiles; tile++) both[tile] = odd[tile] = _mm512_setzero_si512();
    for (int64_t group = 0; group < count; group += 2, table += 128, groups += 2 * BITS_TILE) {
        const __m512i entries = _mm512_load_si512(table), more = _mm512_load_si512(table + 64);
        for (int tile = 0; tile < tiles; tile++) {
            const __m512i values =
                _mm512_add_epi8(_mm512_permutexvar_epi8(_mm512_load_si512(groups + tile * size), entries),
                                _mm512_permutexvar_epi8(_mm512_load_si512(groups + tile * size + BITS_TILE), more));
            both[tile] = _mm512_add_epi16(both[tile], values);
            odd[tile] = _mm512_add_epi16(odd[tile], _mm512_srli_epi16(values, 8));
        }
    }
    for (int tile = 0; tile < tiles; tile++) {
        _mm512_store_si512(out + BITS_TILE * tile, _mm512_sub_epi16(both[tile], _mm512_slli_epi16(odd[tile], 8)));
        _mm512_store_si512(out + BITS_TILE * tile + 32, odd[tile]);
    }
}

/* The highest score among the tokens start..stop - 1. */
INLINE AVX2 float bits_most_4(const uint16_t *sums, float step, float shift, const float *scales, int start, int stop) {
    const __m256 steps = _mm256_set1_ps(step), shifts = _mm256_set1_ps(shift);
    __m256 eight = _mm256_set1_ps(-INFINITY);
    while (stop - start >= 8) {
        const __m256i words = _mm256_cvtepu16_epi32(_mm_loadu_si128((const void *)(sums + start)));
        const __m256 values = _mm256_fmadd_ps(_mm256_cvtepi32_ps(words), steps, shifts);
        eight = _mm256_max_ps(eight, _mm256_mul_ps(values, _mm256_loadu_ps(scales + start)));
        /* The last ones come together with some that were compared already. */
        start = stop - start > 8 && stop - start < 16 ? stop - 8 : start + 8;
    }
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    four = _mm_max_ps(four, _mm_movehl_ps(four, four));
    float most = _mm_cvtss_f32(_mm_max_ss(four, _mm_shuffle_ps(four, four, 1)));
    for (; start < stop; start++) {
        const float value = (sums[start] * step + shift) * scales[start];
        most = value > most ? value : most;
    }
    return most;
}

INLINE VBMI float bits_most_6(const uint16_t *sums, float step, float shift, const float *scales, int start, int stop) {
    const __m512 steps = _mm512_set1_ps(step), shifts = _mm512_set1_ps(shift);
    __m512 most = _mm512_set1_ps(-INFINITY);
    for (; start < stop; start += 16) {
        const __mmask16 rest = first_lanes(stop - start);
        const __m512i words = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(rest, sums + start));
        const __m512 values = _mm512_fmadd_ps(_mm512_cvtepi32_ps(words), steps, shifts);
        most = _mm512_mask_max_ps(most, rest, most, _mm512_mul_ps(values, _mm512_maskz_loadu_ps(rest, scales + start)));
    }
    return _mm512_reduce_max_ps(most);
}

#define BITS 4
#define TARGET AVX2
#include "bits_maxsim.c"
#define BITS 6
#define TARGET VBMI
#include "bits_maxsim.c"
#endif

/* Tables of the products of vectors (count, 8 * width) with the signs of groups of bits, rounded. The last vector
 * is the one for lengths: it has two tables. `shifts` (count,) are what the sums of a table lack. */
EXPORT void embplug_bits_tables(int bits, const float *vectors, int64_t count, int64_t width, uint8_t *tables,
                                float *steps, float *shifts) {
#if defined(__GNUC__) && defined(__x86_64__)
    if (bits == 6) bits_tables_6(vectors, count, width, tables, steps, shifts);
    else bits_tables_4(vectors, count, width, tables, steps, shifts);
#else
    (void)bits, (void)vectors, (void)count, (void)width, (void)tables, (void)steps, (void)shifts;
#endif
}

/* MaxSim of the documents first..last - 1, by groups of as many bits as the tables are of. */
EXPORT void embplug_bits(int bits, const Bits *in, int64_t first, int64_t last) {
#if defined(__GNUC__) && defined(__x86_64__)
    if (bits == 6) bits_maxsim_6(in, first, last);
    else bits_maxsim_4(in, first, last);
#else
    (void)bits, (void)in, (void)first, (void)last;
#endif
}
