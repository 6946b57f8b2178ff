/* Scores of a query with coded documents, by sums of products that are looked up in tables, and the codes themselves.
 *
 * The caller checks the lengths of all codes before it calls, and every byte has 256 entries in its table:
 * nothing here reads beyond codes or tables. `tile.c` holds the loops; it is included once for each instruction
 * set and each number of query tokens that stand side by side in one call, LANES, which are 8, 16 or 32.
 *
 * A table of floats has one row of LANES products for each value of each byte. A table of integers rounds them:
 * the bytes whose products differ most have rows of 16 bits, and the others rows of 8 bits, all in the same
 * unit. The former stand first in the table.
 */
#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define LARGEST_LANES 32
#define ENTRIES 256
#define CLASSES 8
#define HEADER_BYTES 4
#define COUNT_BYTES 4
#define AT_ONCE 8 /* weighted rows that are summed before sums are stored */
#define AHEAD 12 /* tokens whose codes, which lie in many places, are fetched before they are read */
#define WINDOW 256 /* tokens that references of predictive codes reach back to, and the token itself */
#define LARGEST_BYTE 255.0f
#define LARGEST_SUM 65535.0f
#define LONGER_STEP 2.0f /* at most, where the first bytes of a code have the rows of 16 bits */
#define LARGEST_PRODUCT 32766.0f /* one less than 16 bits hold, because floats are rounded */

/* Kinds of tables. WIDE is one of integers whose rows, and those of bases, have 16 bits, for codes behind two bytes
 * of id and factor: knowing all that, compilers keep its loop in registers. */
enum { FLOAT32, INTEGER, NOTHING, WIDE };

typedef struct {
    const uint8_t *codes;
    const int64_t *starts;  /* (documents,): byte of `codes` at which a document begins */
    const int64_t *offsets; /* (documents + 1,): number of its first token */
    int64_t stride;         /* bytes from one token to the next */
    int64_t first;          /* bytes of a token before those that are looked up */
    int64_t width;          /* bytes of a token that are looked up */
    int64_t query_tokens;   /* what stands in the lanes behind them is left out */
    const void *table;
    const int64_t *order;   /* (width,): the byte that each part of a table of integers belongs to */
    const float *steps;     /* (LANES,): what one unit of a table of integers stands for */
    const float *shifts;    /* (LANES,): added to every sum of integers */
    const void *bases;      /* (rows, LANES): added by the token's id */
    const float *units;     /* (LANES,): what one unit of bases of 16 bits stands for, or NULL: they are floats */
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
    const int64_t *offsets;         /* from 0 */
    const int64_t *widths;          /* (CLASSES,): bytes of a code */
    int64_t query_tokens;
    const float *const *entries;    /* (CLASSES,): arguments of `table` for each class */
    const int64_t *const *columns;
    const int64_t *const *kept;     /* (CLASSES,): the directions that the entries describe */
    const int64_t *active;          /* (CLASSES,): how many these are */
    const float *turned;            /* (directions, LANES): the query along all of them */
    const void *bases;              /* (centroids, LANES) */
    const float *units;             /* as above */
    const float *gains, *factors;   /* (16,), (32,) */
    float *steps, *shifts;          /* (CLASSES, LANES) */
    void *sums;                     /* (tokens, LANES), float or uint16 */
    int64_t *places, *members;      /* (tokens,): by class, where codes begin and which tokens they are */
    int64_t *stops;                 /* (CLASSES,): where each class ends in them */
    float *scores;
} Predictive;

/* Room for the table of one class, and what `table` uses. */
typedef struct {
    void *table;
    int64_t *order, *places;
    float *ranges;
    float *query; /* (active, LANES) */
} Work;

/* Codes whose bytes name entries, as they are scored for every query. */
typedef struct {
    const float *directions; /* (active, dim) that the entries describe, or NULL for the dimensions themselves */
    const float *mean;       /* (dim,), or NULL where products with what the headers name come with a query */
    int64_t dim;
    int64_t active;
    const float *entries;    /* (active, ENTRIES) */
    const int64_t *widths;   /* (bytes,): directions of each byte */
    int64_t bytes;
    const float *squares;    /* (bytes, ENTRIES) to the squared length of a vector, or NULL to keep it */
    float square;            /* that of the mean */
    const float *lengths;    /* (ENTRIES,): what one more byte makes the length, or NULL for 1 */
    int64_t header_bytes;    /* 0, 1 or 2 bytes before those of entries: an id and, below it, a factor */
    int64_t factor_bits;
    const float *factors;    /* (1 << factor_bits,), or NULL where all are 1 */
} Bytewise;

/* What is written while such codes are scored; `lay_out` in bytewise.c says how large the arrays are. */
typedef struct {
    float *columns, *turned;
    void *table;
    int64_t *order, *places;
    float *steps, *shifts, *bases, *ranges, *scales;
} Room;

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

/* Fetches two lines of the processor's cache, which hold most codes, where a code of `width` bytes begins and ends. */
#ifdef __GNUC__
#define FETCH(code, width) (__builtin_prefetch(code), __builtin_prefetch((code) + (width)))
#else
#define FETCH(code, width) ((void)0)
#endif

/* The first bytes of a token as a number: its id and, in the lowest bits, its factor. */
INLINE unsigned header_of(const uint8_t *code, int64_t id_bytes) {
    return id_bytes == 2 ? (unsigned)(code[0] << 8 | code[1]) : id_bytes ? code[0] : 0;
}

/* Bytes of a code that have rows of 16 bits in a table of integers. 16 of them fit into a small cache. */
INLINE int64_t wide_parts(int64_t width) { return width < 16 ? width : width < 64 ? 16 : (width + 3) / 4; }

#if defined(__GNUC__) && defined(__x86_64__)
#include <immintrin.h>

/* A mask of the first `count` lanes, or of all 16. */
static inline __mmask16 first_lanes(int64_t count) { return (__mmask16)(count < 16 ? (1 << count) - 1 : 0xffff); }

/* Four bytes, each of them in all four bytes of a number. */
static inline __m128i four_times_four(const void *place) {
    int32_t four;
    memcpy(&four, place, 4);
    const __m128i twice = _mm_unpacklo_epi8(_mm_cvtsi32_si128(four), _mm_cvtsi32_si128(four));
    return _mm_unpacklo_epi16(twice, twice);
}
#endif

/* Query tokens (tokens, dim) as columns (dim, lanes), of which those behind the last token are 0. */
INLINE void as_columns(const float *query, int64_t tokens, int64_t dim, int64_t lanes, float *columns) {
    for (int64_t d = 0; d < dim; d++)
        for (int64_t lane = 0; lane < lanes; lane++)
            columns[d * lanes + lane] = lane < tokens ? query[lane * dim + d] : 0.0f;
}

/* The bytes by the range of their products, largest first: Shell's sort. */
static void sort_by_size(int64_t *order, const float *sizes, int64_t count) {
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

/* An order in which the bytes that have rows of 16 bits, its first ones, and the others rise. What `flags`
 * (bytes,) holds is lost. */
static void rising(int64_t *order, float *flags, int64_t bytes) {
    const int64_t wide = wide_parts(bytes);
    int64_t first = 0, second = wide;
    for (int64_t i = 0; i < bytes; i++) flags[order[i]] = i < wide;
    for (int64_t byte = 0; byte < bytes; byte++) order[flags[byte] > 0 ? first++ : second++] = byte;
}

#define JOIN(name, set, lanes) name##_##set##_##lanes
#define EXPANDED(name, set, lanes) JOIN(name, set, lanes)
#define NAME(name) EXPANDED(name, SET, LANES)

#if defined(__GNUC__) && (defined(__x86_64__) || defined(__aarch64__))
#define REGISTER_BYTES 16
#else
#define REGISTER_BYTES 4
#endif
#define SET base
#define TARGET
#include "tiles.c"
#if defined(__GNUC__) && defined(__x86_64__)
#define SET avx2
#define REGISTER_BYTES 32
#define TARGET __attribute__((target("avx2,fma")))
#include "tiles.c"
#define SET avx512
#define REGISTER_BYTES 64
#define TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")))
#include "tiles.c"
#define LEVELS 3
#define INT8_PRODUCTS
static const char *const names[] = {"sse2", "avx2", "avx512"};
#define DISPATCH(name, ...) \
    (level >= 2   ? OF_LANES(name, avx512, __VA_ARGS__) \
     : level == 1 ? OF_LANES(name, avx2, __VA_ARGS__) \
                  : OF_LANES(name, base, __VA_ARGS__))
#else
#define LEVELS 1
#define DISPATCH(name, ...) ((void)level, OF_LANES(name, base, __VA_ARGS__))
#if defined(__GNUC__) && defined(__aarch64__)
static const char *const names[] = {"neon"};
#else
static const char *const names[] = {"c"};
#endif
#endif
#define OF_LANES(name, set, ...) \
    (lanes <= 8 ? JOIN(name, set, 8)(__VA_ARGS__) \
     : lanes <= 16 ? JOIN(name, set, 16)(__VA_ARGS__) : JOIN(name, set, 32)(__VA_ARGS__))

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
EXPORT void embplug_table(int level, int lanes, int kind, const float *entries, const int64_t *widths,
                          int64_t bytes, const float *query, void *table, int64_t *order, float *steps,
                          float *shifts, int64_t *places, float *ranges) {
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
EXPORT int64_t embplug_maxsim(int level, int lanes, int kind, const Uniform *in, int64_t first, int64_t last) {
    return DISPATCH(maxsim, kind, in, first, last);
}

/* Query tokens (lanes, dim) along directions (active, dim): `turned` (active, lanes). `columns` (dim, lanes) is
 * written. */
EXPORT void embplug_turned(int level, int lanes, const float *directions, const float *query, int64_t dim,
                           int64_t active, float *columns, float *turned) {
    as_columns(query, lanes, dim, lanes, columns);
    DISPATCH(along, directions, columns, dim, active, turned);
}

/* MaxSim of documents whose tokens are predicted from earlier ones, in three steps: their tokens by class, the sums of
 * the classes first..last - 1, of which several threads take some each, and the scores of the documents
 * first..last - 1. Classes come one after the other, so that one table is enough and stays in the cache. */
EXPORT void embplug_predictive_order(const Predictive *in, int64_t documents) {
    int64_t counts[CLASSES] = {0};
    for (int64_t document = 0; document < documents; document++) {
        const int64_t count = in->offsets[document + 1] - in->offsets[document];
        const uint8_t *classes = in->codes + in->starts[document] + HEADER_BYTES - 1;
        for (int64_t token = 0; token < count; token++) counts[classes[HEADER_BYTES * token] >> 5]++;
    }
    for (int64_t k = 0, tokens = 0; k < CLASSES; tokens += counts[k++]) in->stops[k] = tokens;
    for (int64_t document = 0; document < documents; document++) {
        const int64_t count = in->offsets[document + 1] - in->offsets[document];
        const uint8_t *classes = in->codes + in->starts[document] + HEADER_BYTES - 1;
        /* The codes of a document follow its headers, class by class. */
        int64_t members[CLASSES] = {0}, places[CLASSES];
        for (int64_t token = 0; token < count; token++) members[classes[HEADER_BYTES * token] >> 5]++;
        places[0] = in->starts[document] + HEADER_BYTES * count;
        for (int k = 1; k < CLASSES; k++) places[k] = places[k - 1] + members[k - 1] * in->widths[k - 1];
        for (int64_t token = 0; token < count; token++) {
            const int k = classes[HEADER_BYTES * token] >> 5;
            in->places[in->stops[k]] = places[k];
            in->members[in->stops[k]++] = in->offsets[document] + token;
            places[k] += in->widths[k];
        }
    }
}

EXPORT void embplug_predictive_sums(int level, int lanes, int kind, const Predictive *in, const Work *work,
                                    int64_t first, int64_t last) {
    DISPATCH(predictive_sums, kind, in, work, first, last);
}

EXPORT void embplug_predictive(int level, int lanes, int kind, const Predictive *in, int64_t first, int64_t last) {
    DISPATCH(predictive, kind, in, first, last);
}

/* Sums (columns,) of rows of 8 bits (rows, columns), each times its weight. */
EXPORT void embplug_weighted_rows(int level, const int8_t *codes, const float *weights, int64_t rows,
                                  int64_t columns, float *sums) {
    const int lanes = LARGEST_LANES;
    for (int64_t column = 0; column < columns; column++) sums[column] = 0;
    DISPATCH(weighted_rows, codes, weights, rows, columns, sums);
}

/* Check documents whose tokens are `stride` bytes apart and `width` bytes long. Returns the first one that leaves
 * the codes (bytes,), -1 where none does, and -2 where offsets do not rise from 0. */
EXPORT int64_t embplug_documents(const int64_t *starts, const int64_t *offsets, int64_t count, int64_t bytes,
                                 int64_t stride, int64_t width) {
    if (offsets[0]) return -2;
    for (int64_t i = 0; i < count; i++)
        if (offsets[i + 1] < offsets[i]) return -2;
    for (int64_t i = 0; i < count; i++) {
        const int64_t tokens = offsets[i + 1] - offsets[i];
        if (!tokens) continue;
        /* Numbers of tokens that lie may be so large that their bytes overflow. */
        if (starts[i] < 0 || tokens - 1 > bytes / stride) return i;
        if (starts[i] > bytes - (tokens - 1) * stride - width) return i;
    }
    return -1;
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
        int64_t token = offsets[document];
        /* Four tokens at a time, because an addition waits for the one before. */
        for (; token + 4 <= offsets[document + 1]; token += 4, code += 4 * stride) {
            float four[4] = {0, 0, 0, 0};
            for (int64_t byte = 0; byte < width; byte++)
                for (int i = 0; i < 4; i++) four[i] += table[byte * ENTRIES + code[byte + i * stride]];
            for (int i = 0; i < 4; i++) sums[token + i] = four[i];
        }
        for (; token < offsets[document + 1]; token++, code += stride) {
            sums[token] = 0;
            for (int64_t byte = 0; byte < width; byte++) sums[token] += table[byte * ENTRIES + code[byte]];
        }
    }
}

#include "base85.c"
#include "bits.c"
#include "bytewise.c"
#include "eight_bits.c"
#include "entries.c"
#include "messages.c"
