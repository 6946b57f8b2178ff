/* MaxSim of codes that hold a bit for each dimension.
 *
 * The products of a query token with a few bits are so few numbers that they fit into a register, where one
 * instruction looks up those of all tokens of a block: four bits at a time with AVX2, six with AVX-512 (VBMI).
 * kernel.c includes this file once. On other processors the tables of tile.c score such codes, too.
 */

#define BITS_BLOCK 64        /* tokens that are scored together */
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
EXPORT int64_t embplug_bits_room(int64_t width) { return 2 * BITS_BLOCK * bits_padded(width); }

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

/* The codes of 16 tokens, 16 bytes of each, with tokens and bytes exchanged. */
INLINE AVX2 void bits_turned(__m128i *rows) {
    __m128i other[16];
    for (int round = 0; round < 4; round++) {
        const __m128i *from = round & 1 ? other : rows;
        __m128i *to = round & 1 ? rows : other;
        for (int i = 0; i < 8; i++) {
            to[2 * i] = _mm_unpacklo_epi8(from[i], from[i + 8]);
            to[2 * i + 1] = _mm_unpackhi_epi8(from[i], from[i + 8]);
        }
    }
}

/* Bytes (padded, BITS_BLOCK) of the codes of a block, whose tokens stand at `rows`. */
INLINE AVX2 void bits_columns(const uint8_t *const *rows, int64_t width, uint8_t *turned) {
    for (int64_t byte = 0; byte < width; byte += 16)
        for (int token = 0; token < BITS_BLOCK; token += 16) {
            __m128i some[16];
            for (int i = 0; i < 16; i++) {
                if (byte + 16 <= width) {
                    some[i] = _mm_loadu_si128((const void *)(rows[token + i] + byte));
                } else {
                    some[i] = _mm_setzero_si128();
                    memcpy(&some[i], rows[token + i] + byte, (size_t)(width - byte));
                }
            }
            bits_turned(some);
            for (int i = 0; i < 16; i++) _mm_store_si128((void *)(turned + (byte + i) * BITS_BLOCK + token), some[i]);
        }
}

/* Groups (groups, BITS_BLOCK) of four bits of such bytes. What stands above the bits does not count. */
INLINE AVX2 void bits_split_4(const uint8_t *turned, int64_t padded, uint8_t *groups) {
    const __m256i low = _mm256_set1_epi8(15);
    for (int64_t i = 0; i < padded * BITS_BLOCK; i += 32) {
        const __m256i bytes = _mm256_load_si256((const void *)(turned + i));
        uint8_t *place = groups + i / BITS_BLOCK * 2 * BITS_BLOCK + i % BITS_BLOCK;
        _mm256_store_si256((void *)place, _mm256_and_si256(_mm256_srli_epi16(bytes, 4), low));
        _mm256_store_si256((void *)(place + BITS_BLOCK), _mm256_and_si256(bytes, low));
    }
}

INLINE VBMI void bits_split_6(const uint8_t *turned, int64_t padded, uint8_t *groups) {
    const __m512i two = _mm512_set1_epi8(3), four = _mm512_set1_epi8(15);
    for (int64_t byte = 0; byte < padded; byte += 3, turned += 3 * BITS_BLOCK, groups += 4 * BITS_BLOCK) {
        const __m512i a = _mm512_load_si512(turned), b = _mm512_load_si512(turned + BITS_BLOCK);
        const __m512i c = _mm512_load_si512(turned + 2 * BITS_BLOCK);
        const __m512i end = _mm512_and_si512(_mm512_srli_epi16(b, 4), four);
        _mm512_store_si512(groups, _mm512_srli_epi16(a, 2));
        _mm512_store_si512(groups + BITS_BLOCK,
                           _mm512_or_si512(_mm512_slli_epi16(_mm512_and_si512(a, two), 4), end));
        _mm512_store_si512(groups + 2 * BITS_BLOCK,
                           _mm512_or_si512(_mm512_slli_epi16(_mm512_and_si512(b, four), 2),
                                           _mm512_and_si512(_mm512_srli_epi16(c, 6), two)));
        _mm512_store_si512(groups + 3 * BITS_BLOCK, c);
    }
}

/* Sums (2, BITS_BLOCK) of the entries of two tables (count, 16), `next` bytes apart, that the tokens of a block
 * name. A word holds two tokens: their sum as one number, and that of the odd token alone. */
INLINE AVX2 void bits_sums_4(const uint8_t *table, int64_t next, const uint8_t *groups, int64_t count,
                             uint16_t *out) {
    __m256i both[4], odd[4];
    for (int i = 0; i < 4; i++) both[i] = odd[i] = _mm256_setzero_si256();
    for (int64_t group = 0; group < count; group += 2, table += 32, groups += 2 * BITS_BLOCK) {
        for (int i = 0; i < 4; i++) {
            const void *entries = table + (i >> 1) * next, *more = table + (i >> 1) * next + 16;
            const void *place = groups + (i & 1) * 32, *below = groups + (i & 1) * 32 + BITS_BLOCK;
            const __m256i values =
                _mm256_add_epi8(_mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_load_si128(entries)),
                                                    _mm256_load_si256(place)),
                                _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_load_si128(more)),
                                                    _mm256_load_si256(below)));
            both[i] = _mm256_add_epi16(both[i], values);
            odd[i] = _mm256_add_epi16(odd[i], _mm256_srli_epi16(values, 8));
        }
    }
    for (int i = 0; i < 4; i++) {
        const __m256i even = _mm256_sub_epi16(both[i], _mm256_slli_epi16(odd[i], 8));
        const __m256i first = _mm256_unpacklo_epi16(even, odd[i]), second = _mm256_unpackhi_epi16(even, odd[i]);
        _mm256_store_si256((void *)(out + 32 * i), _mm256_permute2x128_si256(first, second, 0x20));
        _mm256_store_si256((void *)(out + 32 * i + 16), _mm256_permute2x128_si256(first, second, 0x31));
    }
}

INLINE VBMI void bits_sums_6(const uint8_t *table, int64_t next, const uint8_t *groups, int64_t count,
                             uint16_t *out) {
    const __m512i low = _mm512_set_epi64(11, 10, 3, 2, 9, 8, 1, 0), high = _mm512_set_epi64(15, 14, 7, 6, 13, 12, 5, 4);
    __m512i both[2], odd[2];
    for (int i = 0; i < 2; i++) both[i] = odd[i] = _mm512_setzero_si512();
    UNROLL
    for (int64_t group = 0; group < count; group += 2, table += 128, groups += 2 * BITS_BLOCK) {
        const __m512i place = _mm512_load_si512(groups), below = _mm512_load_si512(groups + BITS_BLOCK);
        for (int i = 0; i < 2; i++) {
            const uint8_t *entries = table + i * next;
            const __m512i values =
                _mm512_add_epi8(_mm512_permutexvar_epi8(place, _mm512_load_si512(entries)),
                                _mm512_permutexvar_epi8(below, _mm512_load_si512(entries + 64)));
            both[i] = _mm512_add_epi16(both[i], values);
            odd[i] = _mm512_add_epi16(odd[i], _mm512_srli_epi16(values, 8));
        }
    }
    for (int i = 0; i < 2; i++) {
        const __m512i even = _mm512_sub_epi16(both[i], _mm512_slli_epi16(odd[i], 8));
        const __m512i first = _mm512_unpacklo_epi16(even, odd[i]), second = _mm512_unpackhi_epi16(even, odd[i]);
        _mm512_store_si512(out + BITS_BLOCK * i, _mm512_permutex2var_epi64(first, low, second));
        _mm512_store_si512(out + BITS_BLOCK * i + 32, _mm512_permutex2var_epi64(first, high, second));
    }
}

INLINE AVX2 float bits_most(const float *values, int start, int stop) {
    float most = -INFINITY;
    if (stop - start >= 8) {
        __m256 eight = _mm256_loadu_ps(values + start);
        for (start += 8; start + 8 <= stop; start += 8) eight = _mm256_max_ps(eight, _mm256_loadu_ps(values + start));
        /* The last ones together with some that were compared already. */
        eight = _mm256_max_ps(eight, _mm256_loadu_ps(values + stop - 8));
        __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
        four = _mm_max_ps(four, _mm_movehl_ps(four, four));
        return _mm_cvtss_f32(_mm_max_ss(four, _mm_shuffle_ps(four, four, 1)));
    }
    for (; start < stop; start++) most = values[start] > most ? values[start] : most;
    return most;
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
