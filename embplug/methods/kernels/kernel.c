/* Scores of a query with coded documents, by sums of products that are looked up in tables.
 *
 * The file includes itself once for each instruction set. Vectors are those of GCC and clang; another
 * compiler builds the same loops over plain numbers. The caller checks the lengths of all codes before it
 * calls, and every byte has 256 entries in its table: nothing here reads beyond codes or tables.
 *
 * LANES query tokens stand side by side in one call. A table of floats has one row of LANES products for each
 * value of each byte. A table of integers rounds them: the bytes whose products differ most have rows of 16
 * bits, and the others rows of 8 bits, all in the same unit. Lane i of 8 bits stands beside lane i + LANES / 2,
 * so that both are added at once as one number of 16 bits.
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
#define COUNT_BYTES 4
#define WINDOW 256 /* tokens that references of predictive codes reach back to, and the token itself */
#define LARGEST_BYTE 255.0f
#define LARGEST_SUM 65535.0f

enum { FLOAT32, INTEGER };

typedef struct {
    const uint8_t *codes;
    const int64_t *starts;  /* (documents,): byte of `codes` at which a document begins */
    const int64_t *offsets; /* (documents + 1,): number of its first token */
    int64_t stride;         /* bytes from one token to the next */
    int64_t first;          /* bytes of a token before those that are looked up */
    int64_t width;          /* bytes of a token that are looked up */
    int64_t lanes;          /* query tokens; what stands in the other lanes is left out */
    const void *table;
    const int64_t *order;   /* (width,): the byte that each part of a table of integers belongs to */
    const float *steps;     /* (LANES,): what one unit of a table of integers stands for */
    const float *shifts;    /* (LANES,): added to every sum of integers */
    const float *bases;     /* (rows, LANES): added by the token's id */
    int64_t rows;
    int64_t id_bytes;       /* 0, 1 or 2 first bytes of a token that hold its id, and below it its factor */
    int64_t factor_bits;
    const float *factors;   /* (1 << factor_bits,), or NULL where all are 1 */
    const float *scales;    /* (tokens,), or NULL where all are 1 */
    float *scores;          /* (documents,) */
} Uniform;

typedef struct {
    const uint8_t *codes;
    const int64_t *starts;          /* byte of the first header of a document */
    const int64_t *offsets;
    const int64_t *widths;          /* (CLASSES,): bytes of a code */
    int64_t lanes;
    const float *const *entries;    /* (CLASSES,): arguments of `table` for each class */
    const int64_t *const *columns;
    const float *const *queries;
    const float *bases;             /* (centroids, LANES) */
    const float *gains, *factors;   /* (16,), (32,) */
    void *table;                    /* room for that of one class, and what `table` uses */
    int64_t *order;
    float *steps, *shifts;          /* (CLASSES, LANES) */
    int64_t *byte_places;
    float *ranges;
    void *sums;                     /* (tokens of one call, LANES), float or uint16 */
    float *recent;                  /* (WINDOW, LANES) */
    int64_t *places, *members;      /* (tokens of one call,) */
    float *scores;
} Predictive;

#if defined(_MSC_VER) && !defined(__clang__)
#define EXPORT __declspec(dllexport)
#define INLINE static __forceinline
#else
#define EXPORT __attribute__((visibility("default")))
#define INLINE static inline __attribute__((always_inline))
#endif
#ifdef __GNUC__
#define UNROLL _Pragma("GCC unroll 4")
#else
#define UNROLL
#endif
#ifdef _WIN32
#undef EXPORT
#define EXPORT __declspec(dllexport)
#endif

/* Bytes of a code that have rows of 16 bits in a table of integers. 16 of them fit into a small cache. */
INLINE int64_t wide_parts(int64_t width) { return width < 16 ? width : width < 64 ? 16 : (width + 3) / 4; }

#if defined(__GNUC__) && defined(__x86_64__)
#include <immintrin.h>
#endif

#if defined(__GNUC__) && (defined(__x86_64__) || defined(__aarch64__))
#define NAME(name) name##_base
#define VECTOR_BYTES 16
#define TARGET
#define MAX_PS _mm_max_ps
#define MIN_PS _mm_min_ps
#include "kernel.c"
#ifdef __x86_64__
#define NAME(name) name##_avx2
#define VECTOR_BYTES 32
#define TARGET __attribute__((target("avx2,fma")))
#define MAX_PS _mm256_max_ps
#define MIN_PS _mm256_min_ps
#include "kernel.c"
#define NAME(name) name##_avx512
#define VECTOR_BYTES 64
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")))
#define MAX_PS _mm512_max_ps
#define MIN_PS _mm512_min_ps
#include "kernel.c"
#define LEVELS 3
#define INT8_PRODUCTS
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

/* Which sources this was built from: the package does not use a library that was built from others. */
#ifndef EMBPLUG_VERSION
#define EMBPLUG_VERSION 0
#endif
EXPORT int embplug_version(void) { return EMBPLUG_VERSION; }

EXPORT const char *embplug_level_name(int level) { return names[level]; }

/* Table of the products of a query (active, LANES) with entries (active, ENTRIES), of which each byte has some
 * columns. Integers also fill order (bytes,), steps and shifts (LANES,), and use places (bytes,) and ranges
 * (bytes, 2 * LANES + 1). */
EXPORT void embplug_table(int level, int kind, const float *entries, const int64_t *widths, int64_t bytes,
                          const float *query, void *table, int64_t *order, float *steps, float *shifts,
                          int64_t *places, float *ranges) {
    DISPATCH(table, kind, entries, widths, bytes, query, table, order, steps, shifts, places, ranges);
}

/* Table (bytes, ENTRIES) of the products of one vector (active,) with such entries. */
EXPORT void embplug_vector_table(const float *entries, const int64_t *widths, int64_t bytes, const float *vector,
                                 float *table) {
    for (int64_t byte = 0; byte < bytes; byte++, table += ENTRIES) {
        for (int entry = 0; entry < ENTRIES; entry++) table[entry] = 0;
        for (int64_t d = 0; d < widths[byte]; d++, entries += ENTRIES, vector++)
            for (int entry = 0; entry < ENTRIES; entry++) table[entry] += entries[entry] * *vector;
    }
}

/* MaxSim of the documents first..last - 1, whose tokens have codes of one width. Returns the first document
 * with an id that has no row, or -1. */
EXPORT int64_t embplug_maxsim(int level, int kind, const Uniform *in, int64_t first, int64_t last) {
    return DISPATCH(maxsim, kind, in, first, last);
}

/* MaxSim of the documents first..last - 1, whose tokens are predicted from earlier ones. */
EXPORT void embplug_predictive(int level, int kind, const Predictive *in, int64_t first, int64_t last) {
    DISPATCH(predictive, kind, in, first, last);
}

/* Check strings of predictive codes: their lengths are those that their headers say, references stay in the
 * document, and centroids exist. Returns the first one that is wrong, or -1. */
EXPORT int64_t embplug_check(const uint8_t *codes, const int64_t *starts, const int64_t *lengths,
                             const int64_t *offsets, int64_t count, const int64_t *widths, int64_t centroids) {
    for (int64_t document = 0; document < count; document++) {
        const int64_t tokens = offsets[document + 1] - offsets[document];
        int64_t left = lengths[document];
        if (tokens < 0 || left < COUNT_BYTES || (left - COUNT_BYTES) / HEADER_BYTES < tokens) return document;
        const uint8_t *header = codes + starts[document] + COUNT_BYTES;
        left -= COUNT_BYTES + HEADER_BYTES * tokens;
        for (int64_t token = 0; token < tokens; token++, header += HEADER_BYTES) {
            const int id = header[0] << 4 | header[1] >> 4, back = (header[1] & 15) << 4 | header[2] >> 4;
            left -= widths[header[3] >> 5];
            if (left < 0 || id >= centroids || back > token) return document;
        }
        if (left) return document;
    }
    return -1;
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

#include "eight_bits.c"

#else /* the part for one instruction set */

#define FLOATS (VECTOR_BYTES / 4)
#define PARTS (LANES / FLOATS)
#if VECTOR_BYTES > 4
#define WORDS (VECTOR_BYTES > 32 ? 16 : VECTOR_BYTES / 2)
#define BLOCK (VECTOR_BYTES / 16) /* entries whose products fit into registers together */
#define VECTOR(type, name, bytes) \
    typedef type NAME(name) __attribute__((vector_size(bytes), aligned(sizeof(type)), may_alias))
#define CONVERT(value, type) __builtin_convertvector(value, type)
#define CHOOSE(mask, a, b) ((Floats)(((mask) & (Ints)(a)) | (~(mask) & (Ints)(b))))
#define LOAD_PAIRS(place) (*(const Words *)(place))
#define STORE_PAIRS(place, value) (*(NAME(narrow) *)(place) = CONVERT(value, NAME(narrow)))
#else
#define WORDS 1
#define BLOCK 1
#define VECTOR(type, name, bytes) typedef type NAME(name)
#define CONVERT(value, type) ((type)(value))
#define CHOOSE(mask, a, b) ((mask) ? (a) : (b))
#define LOAD_PAIRS(place) ((Words)((place)[0] | (place)[1] << 8))
#define STORE_PAIRS(place, value) ((place)[0] = (uint8_t)(value), (place)[1] = (uint8_t)((value) >> 8))
#endif
#if VECTOR_BYTES > 4 && defined(__x86_64__)
#define GREATER(a, b) ((Floats)MAX_PS(a, b))
#define LESS(a, b) ((Floats)MIN_PS(a, b))
#else
#define GREATER(a, b) CHOOSE((a) > (b), a, b)
#define LESS(a, b) CHOOSE((a) < (b), a, b)
#endif
#define GROUPS (LANES / 2 / WORDS)

VECTOR(float, floats, VECTOR_BYTES);
VECTOR(int32_t, ints, VECTOR_BYTES);
VECTOR(uint16_t, narrow, VECTOR_BYTES / 2);
VECTOR(uint16_t, words, 2 * WORDS);
#define Floats NAME(floats)
#define Ints NAME(ints)
#define Words NAME(words)
#define LOAD(type, place) (*(const NAME(type) *)(place))
#define STORE(type, place) (*(NAME(type) *)(place))
#define EACH(i) for (int i = 0; i < PARTS; i++)

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

/* The same for a table of integers. */
INLINE TARGET void NAME(sum_integers)(uint16_t *out, const uint8_t *code, const int64_t *order, int64_t width,
                                      const uint8_t *table) {
    const int64_t wide = wide_parts(width);
    Words low[GROUPS], high[GROUPS], carried[GROUPS];
    for (int g = 0; g < GROUPS; g++) low[g] = high[g] = carried[g] = (Words){0};
    int64_t part = 0;
    UNROLL
    for (; part < wide; part++, table += ENTRIES * LANES * 2) {
        const uint16_t *row = (const uint16_t *)(const void *)table + code[order[part]] * LANES;
        for (int g = 0; g < GROUPS; g++) {
            low[g] += LOAD(words, row + g * WORDS);
            high[g] += LOAD(words, row + LANES / 2 + g * WORDS);
        }
    }
    UNROLL
    for (; part < width; part++, table += ENTRIES * LANES) {
        const uint8_t *row = table + code[order[part]] * LANES;
        for (int g = 0; g < GROUPS; g++) {
            const Words pairs = LOAD_PAIRS(row + 2 * g * WORDS);
            low[g] += pairs;
            carried[g] += pairs >> 8;
        }
    }
    for (int g = 0; g < GROUPS; g++) {
        STORE(words, out + g * WORDS) = low[g] - (carried[g] << 8);
        STORE(words, out + LANES / 2 + g * WORDS) = high[g] + carried[g];
    }
}

INLINE TARGET Floats NAME(scaled)(const uint16_t *sums, const Floats step, const Floats shift) {
    return CONVERT(CONVERT(LOAD(narrow, sums), Ints), Floats) * step + shift;
}

INLINE TARGET float NAME(sum)(const Floats *parts, int64_t lanes) {
    float flat[LANES], total = 0;
    EACH(i) STORE(floats, flat + i * FLOATS) = parts[i];
    for (int64_t i = 0; i < lanes; i++) total += flat[i];
    return total;
}

INLINE TARGET int64_t NAME(maxsim_of)(int kind, const Uniform *in, int64_t first, int64_t last) {
    Floats steps[PARTS], shifts[PARTS];
    EACH(i) steps[i] = LOAD(floats, in->steps + i * FLOATS);
    EACH(i) shifts[i] = LOAD(floats, in->shifts + i * FLOATS);
    for (int64_t document = first; document < last; document++) {
        const uint8_t *code = in->codes + in->starts[document];
        const int64_t start = in->offsets[document], stop = in->offsets[document + 1];
        Floats highest[PARTS];
        EACH(i) highest[i] = (Floats){0} - INFINITY;
        for (int64_t token = start; token < stop; token++, code += in->stride) {
            const float *base = in->bases;
            float scale = in->scales ? in->scales[token] : 1.0f;
            if (in->id_bytes) {
                const unsigned header = in->id_bytes == 1 ? code[0] : (unsigned)(code[0] << 8 | code[1]);
                const int64_t id = header >> in->factor_bits;
                if (id >= in->rows) return document;
                base += id * LANES;
                if (in->factors) scale *= in->factors[header & ((1u << in->factor_bits) - 1)];
            }
            Floats sums[PARTS];
            if (kind == FLOAT32) {
                NAME(sum_floats)(sums, code + in->first, in->width, (const float *)in->table);
            } else {
                uint16_t flat[LANES];
                NAME(sum_integers)(flat, code + in->first, in->order, in->width, (const uint8_t *)in->table);
                EACH(i) sums[i] = NAME(scaled)(flat + i * FLOATS, steps[i], shifts[i]);
            }
            EACH(i) {
                sums[i] = (sums[i] + LOAD(floats, base + i * FLOATS)) * scale;
                highest[i] = GREATER(sums[i], highest[i]);
            }
        }
        in->scores[document] = start < stop ? NAME(sum)(highest, in->lanes) : -INFINITY;
    }
    return -1;
}

/* Classes one after the other, so that one table is enough and stays in the cache: where the codes of their
 * tokens stand, and which tokens they are. `stop` (CLASSES,) is where the tokens of each class end. */
INLINE TARGET void NAME(by_class)(const Predictive *in, int64_t first, int64_t last, int64_t *stop) {
    int64_t counts[CLASSES] = {0};
    for (int64_t document = first; document < last; document++) {
        const int64_t count = in->offsets[document + 1] - in->offsets[document];
        const uint8_t *classes = in->codes + in->starts[document] + HEADER_BYTES - 1;
        for (int64_t token = 0; token < count; token++) counts[classes[HEADER_BYTES * token] >> 5]++;
    }
    for (int64_t k = 0, tokens = 0; k < CLASSES; tokens += counts[k++]) stop[k] = tokens;
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
            in->members[stop[k]++] = in->offsets[document] - in->offsets[first] + token;
            places[k] += in->widths[k];
        }
    }
}

static TARGET int64_t NAME(maxsim)(int kind, const Uniform *in, int64_t first, int64_t last) {
    return kind == FLOAT32 ? NAME(maxsim_of)(FLOAT32, in, first, last) : NAME(maxsim_of)(INTEGER, in, first, last);
}

/* Products (BLOCK, LANES) of some entries of a byte, which are (columns, ENTRIES). */
INLINE TARGET void NAME(products)(Floats (*out)[PARTS], const float *entries, int64_t columns, const float *query) {
    for (int j = 0; j < BLOCK; j++) EACH(i) out[j][i] = (Floats){0};
    for (int64_t d = 0; d < columns; d++, entries += ENTRIES, query += LANES)
        for (int j = 0; j < BLOCK; j++) EACH(i) out[j][i] += LOAD(floats, query + i * FLOATS) * entries[j];
}

/* The bytes by the range of their products, largest first: Shell's sort. */
INLINE void NAME(sort)(int64_t *order, const float *sizes, int64_t count) {
    int64_t gap = 1;
    while (gap < count / 3) gap = 3 * gap + 1;
    for (int64_t i = 0; i < count; i++) order[i] = i;
    for (; gap; gap /= 3)
        for (int64_t i = gap; i < count; i++) {
            const int64_t own = order[i];
            int64_t j = i;
            for (; j >= gap && sizes[order[j - gap]] < sizes[own]; j -= gap) order[j] = order[j - gap];
            order[j] = own;
        }
}

/* The lowest product of every byte and lane, how far the highest lies above it, and the order of the bytes. */
INLINE TARGET void NAME(ranges)(const float *entries, const int64_t *widths, int64_t bytes, const float *query,
                                float *lows, float *spans, int64_t *places, int64_t *order) {
    float *sizes = lows + 2 * bytes * LANES;
    for (int64_t byte = 0, column = 0; byte < bytes; column += widths[byte++]) {
        Floats products[BLOCK][PARTS], low[PARTS], high[PARTS];
        EACH(i) low[i] = (Floats){0} + INFINITY;
        EACH(i) high[i] = (Floats){0} - INFINITY;
        for (int entry = 0; entry < ENTRIES; entry += BLOCK) {
            NAME(products)(products, entries + column * ENTRIES + entry, widths[byte], query + column * LANES);
            for (int j = 0; j < BLOCK; j++) EACH(i) high[i] = GREATER(products[j][i], high[i]);
            for (int j = 0; j < BLOCK; j++) EACH(i) low[i] = LESS(products[j][i], low[i]);
        }
        places[byte] = column;
        EACH(i) STORE(floats, lows + byte * LANES + i * FLOATS) = low[i];
        EACH(i) STORE(floats, spans + byte * LANES + i * FLOATS) = high[i] -= low[i];
        sizes[byte] = NAME(sum)(high, LANES);
    }
    NAME(sort)(order, sizes, bytes);
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

/* Rows of 16 bits, or of 8, of the entries of one byte. */
INLINE TARGET void NAME(rounded)(const float *entries, int64_t columns, const float *query, const float *low,
                                 const Floats *units, int wide, uint8_t *out) {
    const Floats most = (Floats){0} + (wide ? LARGEST_SUM : LARGEST_BYTE), least = (Floats){0};
    Floats products[BLOCK][PARTS];
    for (int entry = 0; entry < ENTRIES; entry += BLOCK, entries += BLOCK) {
        NAME(products)(products, entries, columns, query);
        for (int j = 0; j < BLOCK; j++, out += LANES * (1 + wide)) {
            Ints values[PARTS];
            EACH(i) {
                Floats value = (products[j][i] - LOAD(floats, low + i * FLOATS)) * units[i] + 0.5f;
                /* Products that are close to each other, but far from zero, may round out of the range. */
                value = GREATER(value, least);
                values[i] = CONVERT(LESS(value, most), Ints);
            }
            if (wide) {
                EACH(i) STORE(narrow, (uint16_t *)(void *)out + i * FLOATS) = CONVERT(values[i], NAME(narrow));
            } else {
                for (int i = 0; i < PARTS / 2; i++)
                    STORE_PAIRS(out + 2 * i * FLOATS, values[i] | values[i + PARTS / 2] << 8);
            }
        }
    }
}

static TARGET void NAME(table)(int kind, const float *entries, const int64_t *widths, int64_t bytes,
                               const float *query, void *table, int64_t *order, float *steps, float *shifts,
                               int64_t *places, float *ranges) {
    if (kind == FLOAT32) {
        Floats products[BLOCK][PARTS];
        float *out = (float *)table;
        for (int64_t byte = 0; byte < bytes; entries += widths[byte] * ENTRIES, query += widths[byte++] * LANES) {
            for (int entry = 0; entry < ENTRIES; entry += BLOCK) {
                NAME(products)(products, entries + entry, widths[byte], query);
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
    uint8_t *out = (uint8_t *)table;
    for (int64_t part = 0; part < bytes; part++) {
        const int64_t byte = order[part], column = places[byte];
        const int wide = part < wide_parts(bytes);
        NAME(rounded)(entries + column * ENTRIES, widths[byte], query + column * LANES, lows + byte * LANES, units,
                      wide, out);
        out += ENTRIES * LANES * (1 + wide);
    }
}

INLINE TARGET void NAME(predictive_of)(int kind, const Predictive *in, int64_t first, int64_t last) {
    int64_t stop[CLASSES];
    NAME(by_class)(in, first, last, stop);
    const uint8_t *table = (const uint8_t *)in->table;
    for (int64_t k = 0, i = 0; k < CLASSES; k++) {
        const int64_t width = in->widths[k];
        if (i == stop[k]) continue;
        NAME(table)(kind, in->entries[k], in->columns[k], width, in->queries[k], in->table, in->order,
                    in->steps + k * LANES, in->shifts + k * LANES, in->byte_places, in->ranges);
        for (; i < stop[k]; i++) {
            const uint8_t *code = in->codes + in->places[i];
            if (kind == FLOAT32) {
                Floats sums[PARTS];
                NAME(sum_floats)(sums, code, width, (const float *)in->table);
                EACH(part) STORE(floats, (float *)in->sums + in->members[i] * LANES + part * FLOATS) = sums[part];
            } else {
                NAME(sum_integers)((uint16_t *)in->sums + in->members[i] * LANES, code, in->order, width, table);
            }
        }
    }
    for (int64_t document = first; document < last; document++) {
        const uint8_t *header = in->codes + in->starts[document];
        const int64_t count = in->offsets[document + 1] - in->offsets[document];
        const int64_t before = (in->offsets[document] - in->offsets[first]) * LANES;
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
            float *own = in->recent + token % WINDOW * LANES;
            const float *reference = in->recent + (token - back) % WINDOW * LANES;
            EACH(i) {
                const Floats base = LOAD(floats, in->bases + id * LANES + i * FLOATS);
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
        in->scores[document] = count ? NAME(sum)(highest, in->lanes) : -INFINITY;
    }
}

static TARGET void NAME(predictive)(int kind, const Predictive *in, int64_t first, int64_t last) {
    if (kind == FLOAT32) NAME(predictive_of)(FLOAT32, in, first, last);
    else NAME(predictive_of)(INTEGER, in, first, last);
}

#undef NAME
#undef VECTOR_BYTES
#undef TARGET
#undef FLOATS
#undef PARTS
#undef WORDS
#undef BLOCK
#undef VECTOR
#undef CONVERT
#undef CHOOSE
#undef LOAD_PAIRS
#undef STORE_PAIRS
#undef GREATER
#undef MAX_PS
#undef MIN_PS
#undef LESS
#undef GROUPS
#undef Floats
#undef Ints
#undef Words
#undef LOAD
#undef STORE
#undef EACH
#endif
