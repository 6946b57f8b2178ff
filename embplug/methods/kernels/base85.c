/* Base85 texts to bytes: included by kernel.c.
 *
 * A group of five characters stands for four bytes. `digits` (256,) holds the digit of each character, and 255
 * where there is none. `wrong` is not 0 where a character is none of them, or a group too large.
 */

INLINE uint32_t decoded_group(unsigned a, unsigned b, unsigned c, unsigned d, unsigned e, unsigned *wrong) {
    const uint32_t high = (a * 85 + b) * 85 * 85 + c * 85 + d;
    const uint64_t group = (uint64_t)high * 85 + e;
    *wrong |= ((a | b | c | d | e) & 128) | (unsigned)(group >> 32);
    return (uint32_t)group;
}

#ifdef INT8_PRODUCTS
#define MANY __attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi")))
#define GROUPS 12
#define READ 64
#define LARGEST_HIGH 50529027 /* 85 times that, and a fifth digit of 0, is the largest number of 32 bits */

/* Decode 12 groups at a time while a whole register can be read. Returns where the text goes on. */
static MANY const uint8_t *decode_many(const uint8_t *at, const uint8_t *end, const uint8_t *digits, uint8_t **out,
                                       unsigned *wrong) {
    uint8_t first_four[64] = {0}, fifth[64] = {0}, reversed[64] = {0};
    for (int group = 0; group < GROUPS; group++)
        for (int i = 0; i < 4; i++) {
            first_four[4 * group + i] = (uint8_t)(5 * group + i);
            fifth[4 * group + i] = (uint8_t)(5 * group + 4);
            reversed[4 * group + i] = (uint8_t)(4 * group + 3 - i);
        }
    const __m512i four = _mm512_loadu_si512(first_four), five = _mm512_loadu_si512(fifth);
    const __m512i back = _mm512_loadu_si512(reversed);
    const __m512i low = _mm512_loadu_si512(digits), high = _mm512_loadu_si512(digits + 64);
    const __mmask64 used = ((__mmask64)1 << 5 * GROUPS) - 1, bytes = ((__mmask64)1 << 4 * GROUPS) - 1;
    const __mmask64 lowest = 0x1111111111111111 & bytes;
    __mmask64 bad = 0;
    for (; end - at >= READ; at += 5 * GROUPS, *out += 4 * GROUPS) {
        const __m512i text = _mm512_loadu_si512(at);
        const __m512i digit = _mm512_permutex2var_epi8(low, text, high);
        bad |= (_mm512_movepi8_mask(text) | _mm512_movepi8_mask(digit)) & used;
        const __m512i last = _mm512_maskz_permutexvar_epi8(lowest, five, digit);
        const __m512i pairs =
            _mm512_maddubs_epi16(_mm512_maskz_permutexvar_epi8(bytes, four, digit), _mm512_set1_epi16(1 << 8 | 85));
        const __m512i highest = _mm512_madd_epi16(pairs, _mm512_set1_epi32(1 << 16 | 85 * 85));
        const __m512i largest = _mm512_set1_epi32(LARGEST_HIGH);
        bad |= _mm512_cmpgt_epu32_mask(highest, largest);
        bad |= _mm512_mask_test_epi32_mask(_mm512_cmpeq_epu32_mask(highest, largest), last, last);
        const __m512i value = _mm512_add_epi32(_mm512_mullo_epi32(highest, _mm512_set1_epi32(85)), last);
        _mm512_mask_storeu_epi8(*out, bytes, _mm512_permutexvar_epi8(back, value));
    }
    if (bad) *wrong |= 128;
    return at;
}
#endif

/* Decode texts of so many characters one after the other into `out`, and write where each begins and how many
 * bytes it has. Returns the first that is not base85, or -1. */
EXPORT int64_t embplug_base85(int level, const uint8_t *const *texts, const int64_t *lengths, int64_t count,
                              const uint8_t *digits, uint8_t *out, int64_t *starts, int64_t *sizes) {
    uint8_t *const begin = out;
    for (int64_t i = 0; i < count; i++)
        if (lengths[i] < 0) return i;
#ifdef INT8_PRODUCTS
    const int many = level >= 2 && __builtin_cpu_supports("avx512vbmi");
#else
    (void)level;
#endif
    for (int64_t i = 0; i < count; i++) {
        const uint8_t *at = texts[i], *end = at + lengths[i];
        unsigned wrong = 0;
        starts[i] = out - begin;
        if (lengths[i] % 5 == 1) return i;
#ifdef INT8_PRODUCTS
        if (many) at = decode_many(at, end, digits, &out, &wrong);
#endif
        for (; end - at >= 5; at += 5, out += 4) {
            const uint32_t value = decoded_group(digits[at[0]], digits[at[1]], digits[at[2]], digits[at[3]],
                                                 digits[at[4]], &wrong);
            out[0] = (uint8_t)(value >> 24), out[1] = (uint8_t)(value >> 16);
            out[2] = (uint8_t)(value >> 8), out[3] = (uint8_t)value;
        }
        if (at < end) {
            unsigned digit[5] = {84, 84, 84, 84, 84};
            const int64_t rest = end - at;
            for (int64_t place = 0; place < rest; place++) digit[place] = digits[at[place]];
            const uint32_t value = decoded_group(digit[0], digit[1], digit[2], digit[3], digit[4], &wrong);
            for (int64_t place = 0; place < rest - 1; place++) *out++ = (uint8_t)(value >> (24 - 8 * place));
        }
        if (wrong) return i;
        sizes[i] = out - begin - starts[i];
    }
    return -1;
}
