/* Scores of a query with coded documents, by sums of products that are looked up in tables.
 *
 * The file includes itself once for each instruction set. Vectors are those of GCC and clang; another
 * compiler builds the same loops over plain numbers. The caller checks all codes before it calls: nothing
 * here reads beyond them, because every byte has 256 entries in its table.
 *
 * LANES query tokens stand side by side in one call. A table has one row of LANES products for each value
 * of each byte, as float32 or as int16.
 */
#ifndef NAME
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define LANES 32
#define ENTRIES 256
#define CLASSES 8
#define HEADER_BYTES 4
#define LARGEST_SUM 32000.0f /* of int16 tables; what 16 bits hold beyond that is for rounded floats */

enum { FLOAT32, INT16 };

typedef struct {
    const uint8_t *codes;
    const int64_t *starts;  /* (documents,): byte of `codes` at which a document begins */
    const int64_t *offsets; /* (documents + 1,): number of its first token */
    int64_t stride;         /* bytes from one token to the next */
    int64_t width;          /* bytes of a token that are looked up */
    int64_t lanes;          /* query tokens; what stands in the other lanes is left out */
    const void *table;      /* (width, ENTRIES, LANES) */
    const float *steps;     /* (LANES,): what one unit of a table of integers stands for */
    const float *shifts;    /* (LANES,): added to every sum */
    const float *bases;     /* (rows, LANES): added by the token's id */
    const int32_t *ids;     /* (tokens,), or NULL where all are 0 */
    const float *scales;    /* (tokens,), or NULL where all are 1 */
    float *scores;          /* (documents,) */
} Uniform;

typedef struct {
    const uint8_t *codes;
    const int64_t *starts;        /* byte of the first header of a document */
    const int64_t *offsets;
    const int64_t *widths;        /* (CLASSES,) */
    int64_t lanes;
    const void *table;            /* (sum of widths, ENTRIES, LANES) */
    const float *steps, *shifts;  /* (CLASSES, LANES) */
    const float *bases;           /* (centroids, LANES) */
    const float *gains, *factors; /* (16,), (32,) */
    float *scratch;               /* (tokens of one call, LANES) */
    int64_t *places, *order;      /* (tokens of one call,) */
    float *scores;
} Predictive;

#if defined(_MSC_VER) && !defined(__clang__)
#define EXPORT __declspec(dllexport)
#define INLINE static __forceinline
#else
#define EXPORT __attribute__((visibility("default")))
#define INLINE static inline __attribute__((always_inline))
#endif
#ifdef _WIN32
#undef EXPORT
#define EXPORT __declspec(dllexport)
#endif

#if defined(__GNUC__) && (defined(__x86_64__) || defined(__aarch64__))
#define NAME(name) name##_base
#define VECTOR_BYTES 16
#define TARGET
#include "kernel.c"
#ifdef __x86_64__
#define NAME(name) name##_avx2
#define VECTOR_BYTES 32
#define TARGET __attribute__((target("avx2,fma")))
#include "kernel.c"
#define NAME(name) name##_avx512
#define VECTOR_BYTES 64
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")))
#include "kernel.c"
#define LEVELS 3
static const char *const names[] = {"sse2", "avx2", "avx512"};
#define DISPATCH(name, ...) \
    (level >= 2 ? name##_avx512(__VA_ARGS__) : level == 1 ? name##_avx2(__VA_ARGS__) : name##_base(__VA_ARGS__))
#else
static const char *const names[] = {"neon"};
#endif
#else
#define NAME(name) name##_base
#define VECTOR_BYTES 4
#define TARGET
#include "kernel.c"
static const char *const names[] = {"c"};
#endif
#ifndef DISPATCH
#define LEVELS 1
#define DISPATCH(name, ...) ((void)level, name##_base(__VA_ARGS__))
#endif

/* Instruction sets that this processor has, the last of which is the fastest. */
EXPORT int embplug_levels(void) {
#if LEVELS > 1
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 1;
    if (!__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512dq") ||
        !__builtin_cpu_supports("avx512vl"))
        return 2;
#endif
    return LEVELS;
}

/* To be raised whenever a function or a structure changes: a library of another version is not loaded. */
EXPORT int embplug_version(void) { return 1; }

EXPORT const char *embplug_level_name(int level) { return names[level]; }

/* Products (bytes, ENTRIES, LANES) of the entries (ENTRIES, active) of each byte with a query (active, LANES). */
EXPORT void embplug_products(int level, const float *entries, int64_t active, const int64_t *widths,
                             int64_t bytes, const float *query, float *products) {
    DISPATCH(products, entries, active, widths, bytes, query, products);
}

/* A table of integers, its steps and shifts (LANES,), from products (bytes, ENTRIES, LANES). */
EXPORT void embplug_quantize(int level, const float *products, int64_t bytes, int16_t *table, float *steps,
                             float *shifts) {
    DISPATCH(quantize, products, bytes, table, steps, shifts);
}

/* MaxSim of the documents first..last - 1, whose tokens have codes of one width. */
EXPORT void embplug_maxsim(int level, int kind, const Uniform *in, int64_t first, int64_t last) {
    DISPATCH(maxsim, kind, in, first, last);
}

/* MaxSim of the documents first..last - 1, whose tokens are predicted from earlier ones. */
EXPORT void embplug_predictive(int level, int kind, const Predictive *in, int64_t first, int64_t last) {
    DISPATCH(predictive, kind, in, first, last);
}

/* For each token (tokens,) the sum of one table (width, ENTRIES) over the bytes of its code. */
EXPORT void embplug_sums(const uint8_t *codes, const int64_t *starts, const int64_t *offsets, int64_t first,
                         int64_t last, int64_t stride, int64_t width, const float *table, float *sums) {
    for (int64_t document = first; document < last; document++) {
        const uint8_t *code = codes + starts[document];
        for (int64_t token = offsets[document]; token < offsets[document + 1]; token++, code += stride) {
            float parts[4] = {0, 0, 0, 0};
            int64_t byte = 0;
            for (; byte + 4 <= width; byte += 4)
                for (int i = 0; i < 4; i++) parts[i] += table[(byte + i) * ENTRIES + code[byte + i]];
            for (; byte < width; byte++) parts[0] += table[byte * ENTRIES + code[byte]];
            sums[token] = (parts[0] + parts[1]) + (parts[2] + parts[3]);
        }
    }
}

/* Decode base85 texts, one after the other in `text`, text i of offsets[i]..offsets[i + 1], one after the
 * other into `out`. Returns the first that is not base85, or -1. */
EXPORT int64_t embplug_base85(const uint8_t *text, const int64_t *offsets, int64_t count,
                              const uint8_t *digits, uint8_t *out) {
    for (int64_t i = 0; i < count; i++) {
        const uint8_t *at = text + offsets[i], *end = text + offsets[i + 1];
        if ((end - at) % 5 == 1) return i;
        while (at < end) {
            int64_t used = end - at < 5 ? end - at : 5;
            uint64_t group = 0;
            unsigned wrong = 0;
            for (int64_t place = 0; place < 5; place++) {
                unsigned digit = place < used ? digits[at[place]] : 84;
                wrong |= digit == 255;
                group = group * 85 + digit;
            }
            if (wrong || group >> 32) return i;
            for (int64_t place = 0; place < used - 1; place++) *out++ = (uint8_t)(group >> (24 - 8 * place));
            at += used;
        }
    }
    return -1;
}

#include "highest.c"

#else /* the part for one instruction set */

#define FLOATS (VECTOR_BYTES / 4)
#define PARTS (LANES / FLOATS)
#if VECTOR_BYTES > 4
#define SHORTS (VECTOR_BYTES / 2)
#define VECTOR(type, name, bytes) \
    typedef type NAME(name) __attribute__((vector_size(bytes), aligned(sizeof(type)), may_alias))
#define CONVERT(value, type) __builtin_convertvector(value, type)
#define CHOOSE(mask, a, b) ((Floats)(((mask) & (Ints)(a)) | (~(mask) & (Ints)(b))))
#else
#define SHORTS 1
#define VECTOR(type, name, bytes) typedef type NAME(name)
#define CONVERT(value, type) ((type)(value))
#define CHOOSE(mask, a, b) ((mask) ? (a) : (b))
#endif
#define GREATER(a, b) CHOOSE((a) > (b), a, b)
#define LESS(a, b) CHOOSE((a) < (b), a, b)
#define SUMS (LANES / SHORTS)

VECTOR(float, floats, VECTOR_BYTES);
VECTOR(int32_t, ints, VECTOR_BYTES);
VECTOR(int16_t, shorts, VECTOR_BYTES);
VECTOR(int16_t, narrow, VECTOR_BYTES / 2);
#define Floats NAME(floats)
#define Ints NAME(ints)
#define Shorts NAME(shorts)
#define LOAD(type, place) (*(const NAME(type) *)(place))
#define STORE(type, place) (*(NAME(type) *)(place))
#define EACH(i) for (int i = 0; i < PARTS; i++)

/* Sums of the rows that the bytes of a code name, as float but not yet scaled. */
INLINE TARGET void NAME(lookup)(Floats *out, int kind, const uint8_t *code, int64_t width, const void *table) {
    if (kind == FLOAT32) {
        const float *rows = (const float *)table;
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
        return;
    }
    Shorts sums[SUMS];
    int16_t flat[LANES];
    for (int i = 0; i < SUMS; i++) sums[i] = (Shorts){0};
    for (int64_t byte = 0; byte < width; byte++) {
        size_t row = (size_t)(byte * ENTRIES + code[byte]) * LANES;
        for (int i = 0; i < SUMS; i++) sums[i] += LOAD(shorts, (const int16_t *)table + row + i * SHORTS);
    }
    for (int i = 0; i < SUMS; i++) STORE(shorts, flat + i * SHORTS) = sums[i];
    EACH(i) out[i] = CONVERT(CONVERT(LOAD(narrow, flat + i * FLOATS), Ints), Floats);
}

INLINE TARGET float NAME(sum)(const Floats *parts, int64_t lanes) {
    float flat[LANES], total = 0;
    EACH(i) STORE(floats, flat + i * FLOATS) = parts[i];
    for (int64_t i = 0; i < lanes; i++) total += flat[i];
    return total;
}

INLINE TARGET void NAME(maxsim_of)(int kind, const Uniform *in, int64_t first, int64_t last) {
    Floats steps[PARTS], shifts[PARTS];
    EACH(i) steps[i] = LOAD(floats, in->steps + i * FLOATS);
    EACH(i) shifts[i] = LOAD(floats, in->shifts + i * FLOATS);
    for (int64_t document = first; document < last; document++) {
        const uint8_t *code = in->codes + in->starts[document];
        const int64_t start = in->offsets[document], stop = in->offsets[document + 1];
        Floats highest[PARTS];
        EACH(i) highest[i] = (Floats){0} - INFINITY;
        for (int64_t token = start; token < stop; token++, code += in->stride) {
            const float *base = in->bases + (in->ids ? (ptrdiff_t)in->ids[token] * LANES : 0);
            const float scale = in->scales ? in->scales[token] : 1.0f;
            Floats sums[PARTS];
            NAME(lookup)(sums, kind, code, in->width, in->table);
            EACH(i) {
                if (kind == INT16) sums[i] = sums[i] * steps[i] + shifts[i];
                sums[i] = (sums[i] + LOAD(floats, base + i * FLOATS)) * scale;
                highest[i] = GREATER(sums[i], highest[i]);
            }
        }
        in->scores[document] = start < stop ? NAME(sum)(highest, in->lanes) : -INFINITY;
    }
}

INLINE TARGET void NAME(predictive_of)(int kind, const Predictive *in, int64_t first, int64_t last) {
    const int64_t begin = in->offsets[first];
    /* Classes one after the other, so that the table of one stays in the cache: where their tokens stand. */
    int64_t at[CLASSES] = {0}, stop[CLASSES];
    for (int64_t document = first; document < last; document++) {
        const int64_t count = in->offsets[document + 1] - in->offsets[document];
        const uint8_t *classes = in->codes + in->starts[document] + HEADER_BYTES - 1;
        for (int64_t token = 0; token < count; token++) at[classes[HEADER_BYTES * token] >> 5]++;
    }
    for (int64_t k = 0, tokens = 0; k < CLASSES; tokens += at[k++]) stop[k] = tokens;
    for (int64_t document = first; document < last; document++) {
        const int64_t count = in->offsets[document + 1] - in->offsets[document];
        const uint8_t *classes = in->codes + in->starts[document] + HEADER_BYTES - 1;
        /* The codes of a document follow its headers, class by class. */
        int64_t members[CLASSES] = {0}, places[CLASSES];
        for (int64_t token = 0; token < count; token++) members[classes[HEADER_BYTES * token] >> 5]++;
        places[0] = in->starts[document] + HEADER_BYTES * count;
        for (int k = 1; k < CLASSES; k++) places[k] = places[k - 1] + members[k - 1] * in->widths[k - 1];
        for (int64_t token = 0; token < count; token++) {
            const int k = classes[HEADER_BYTES * token] >> 5;
            in->places[stop[k]] = places[k];
            in->order[stop[k]++] = in->offsets[document] - begin + token;
            places[k] += in->widths[k];
        }
    }
    const char *table = (const char *)in->table;
    for (int64_t k = 0, i = 0; k < CLASSES; k++) {
        Floats steps[PARTS], shifts[PARTS];
        EACH(part) steps[part] = LOAD(floats, in->steps + k * LANES + part * FLOATS);
        EACH(part) shifts[part] = LOAD(floats, in->shifts + k * LANES + part * FLOATS);
        for (; i < stop[k]; i++) {
            Floats sums[PARTS];
            NAME(lookup)(sums, kind, in->codes + in->places[i], in->widths[k], table);
            EACH(part) {
                if (kind == INT16) sums[part] = sums[part] * steps[part] + shifts[part];
                STORE(floats, in->scratch + in->order[i] * LANES + part * FLOATS) = sums[part];
            }
        }
        table += in->widths[k] * ENTRIES * LANES * (kind == FLOAT32 ? 4 : 2);
    }
    for (int64_t document = first; document < last; document++) {
        const uint8_t *header = in->codes + in->starts[document];
        const int64_t count = in->offsets[document + 1] - in->offsets[document];
        float *own = in->scratch + (in->offsets[document] - begin) * LANES;
        Floats highest[PARTS];
        EACH(i) highest[i] = (Floats){0} - INFINITY;
        for (int64_t token = 0; token < count; token++, header += HEADER_BYTES, own += LANES) {
            /* The highest bits first: 12 of the id, 8 of how far back the reference stands, 4 of the gain,
             * 3 of the class, 5 of the factor. */
            const int id = header[0] << 4 | header[1] >> 4;
            const int back = (header[1] & 15) << 4 | header[2] >> 4;
            const float factor = in->factors[header[3] & 31];
            const float gain = factor * in->gains[header[2] & 15];
            EACH(i) {
                const Floats base = LOAD(floats, in->bases + id * LANES + i * FLOATS);
                Floats value = LOAD(floats, own + i * FLOATS) * factor + base * (factor - 1.0f);
                if (back) value += LOAD(floats, own - back * LANES + i * FLOATS) * gain;
                /* A reference passes on a share of what differs from its base. */
                STORE(floats, own + i * FLOATS) = value;
                value += base;
                highest[i] = GREATER(value, highest[i]);
            }
        }
        in->scores[document] = count ? NAME(sum)(highest, in->lanes) : -INFINITY;
    }
}

static TARGET void NAME(maxsim)(int kind, const Uniform *in, int64_t first, int64_t last) {
    if (kind == FLOAT32) NAME(maxsim_of)(FLOAT32, in, first, last);
    else NAME(maxsim_of)(INT16, in, first, last);
}

static TARGET void NAME(predictive)(int kind, const Predictive *in, int64_t first, int64_t last) {
    if (kind == FLOAT32) NAME(predictive_of)(FLOAT32, in, first, last);
    else NAME(predictive_of)(INT16, in, first, last);
}

static TARGET void NAME(products)(const float *entries, int64_t active, const int64_t *widths, int64_t bytes,
                                  const float *query, float *products) {
    int64_t column = 0;
    for (int64_t byte = 0; byte < bytes; column += widths[byte++]) {
        for (int64_t entry = 0; entry < ENTRIES; entry++, products += LANES) {
            Floats sums[PARTS];
            EACH(i) sums[i] = (Floats){0};
            for (int64_t d = column; d < column + widths[byte]; d++) {
                const float value = entries[entry * active + d];
                EACH(i) sums[i] += LOAD(floats, query + d * LANES + i * FLOATS) * value;
            }
            EACH(i) STORE(floats, products + i * FLOATS) = sums[i];
        }
    }
}

/* Middle and half of the range of the entries of a byte. */
INLINE TARGET void NAME(range)(const float *products, Floats *middle, Floats *half) {
    Floats low[PARTS], high[PARTS];
    EACH(i) low[i] = high[i] = LOAD(floats, products + i * FLOATS);
    for (int entry = 1; entry < ENTRIES; entry++) {
        EACH(i) {
            const Floats value = LOAD(floats, products + entry * LANES + i * FLOATS);
            high[i] = GREATER(value, high[i]);
            low[i] = LESS(value, low[i]);
        }
    }
    EACH(i) middle[i] = (low[i] + high[i]) * 0.5f;
    EACH(i) half[i] = (high[i] - low[i]) * 0.5f;
}

static TARGET void NAME(quantize)(const float *products, int64_t bytes, int16_t *table, float *steps,
                                  float *shifts) {
    Floats middle[PARTS], half[PARTS], step[PARTS], shift[PARTS];
    EACH(i) step[i] = shift[i] = (Floats){0};
    for (int64_t byte = 0; byte < bytes; byte++) {
        NAME(range)(products + byte * ENTRIES * LANES, middle, half);
        EACH(i) step[i] += half[i];
        EACH(i) shift[i] += middle[i];
    }
    EACH(i) {
        /* Rounding adds at most a half for each byte to a sum. */
        step[i] = step[i] / (LARGEST_SUM - 0.5f * (float)bytes);
        step[i] = GREATER(step[i], (Floats){0} + 1e-30f);
        STORE(floats, steps + i * FLOATS) = step[i];
        STORE(floats, shifts + i * FLOATS) = shift[i];
        step[i] = 1.0f / step[i];
    }
    for (int64_t byte = 0; byte < bytes; byte++, products += ENTRIES * LANES) {
        NAME(range)(products, middle, half);
        for (int64_t entry = 0; entry < ENTRIES; entry++) {
            const size_t row = (size_t)(byte * ENTRIES + entry) * LANES;
            EACH(i) {
                Floats value = (LOAD(floats, products + entry * LANES + i * FLOATS) - middle[i]) * step[i];
                value = (value + 12582912.0f) - 12582912.0f; /* to the nearest whole number */
                STORE(narrow, table + row + i * FLOATS) = CONVERT(CONVERT(value, Ints), NAME(narrow));
            }
        }
    }
}

#undef NAME
#undef VECTOR_BYTES
#undef TARGET
#undef FLOATS
#undef PARTS
#undef SHORTS
#undef VECTOR
#undef CONVERT
#undef CHOOSE
#undef GREATER
#undef LESS
#undef SUMS
#undef Floats
#undef Ints
#undef Shorts
#undef LOAD
#undef STORE
#undef EACH
#endif
