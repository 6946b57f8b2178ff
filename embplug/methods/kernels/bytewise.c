/* Scores of codes whose bytes name entries, in one call for one query: included by kernel.c. */
#include <float.h>

#define CACHE_LINE 64

/* The next array of so many bytes in `memory`, behind the first `used` ones. */
static void *array_of(uint8_t *memory, int64_t *used, int64_t bytes) {
    void *array = memory ? memory + *used : NULL;
    *used += (bytes + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
    return array;
}

/* Where each array stands in `memory`, which begins at a multiple of CACHE_LINE. Returns how many bytes they
 * take together. */
static int64_t lay_out(Room *room, uint8_t *memory, const Bytewise *with, int lanes, int kind, int64_t tokens) {
    const int64_t row = lanes * (int64_t)sizeof(float), bytes = with->bytes;
    const int64_t entry = kind == FLOAT32 ? bytes * (int64_t)sizeof(float) : bytes + wide_parts(bytes);
    int64_t used = 0;
    room->columns = array_of(memory, &used, with->dim * row);
    room->turned = array_of(memory, &used, with->directions ? with->active * row : 0);
    room->table = array_of(memory, &used, entry * ENTRIES * lanes);
    room->order = array_of(memory, &used, bytes * (int64_t)sizeof(int64_t));
    room->places = array_of(memory, &used, bytes * (int64_t)sizeof(int64_t));
    room->steps = array_of(memory, &used, row);
    room->shifts = array_of(memory, &used, row);
    room->bases = array_of(memory, &used, row);
    room->ranges = array_of(memory, &used, bytes * (2 * row + (int64_t)sizeof(float)));
    room->scales = array_of(memory, &used, with->squares ? tokens * (int64_t)sizeof(float) : 0);
    return used;
}

/* Bytes of memory that one query takes for so many tokens of documents. */
EXPORT int64_t embplug_bytewise_room(const Bytewise *with, int lanes, int kind, int64_t tokens) {
    Room room;
    return lay_out(&room, NULL, with, lanes, kind, tokens);
}

/* MaxSim of the documents first..last - 1 with some query tokens (query_tokens, dim), at most `lanes`. Without
 * `query` the table is that which an earlier call has left in `memory`. Without a mean, `bases` (rows, lanes) are
 * the products with what headers name, in `units` as in Uniform. Returns the first document with a header that
 * names none of them, or -1. */
EXPORT int64_t embplug_bytewise(int level, int lanes, int kind, const Bytewise *with, const float *query,
                                int64_t query_tokens, const uint8_t *codes, const int64_t *starts,
                                const int64_t *offsets, int64_t stride, int64_t first, int64_t last, float *scores,
                                void *memory, const void *bases, const float *units, int64_t rows) {
    Room room;
    lay_out(&room, memory, with, lanes, kind, offsets[last]);
    if (query) {
        for (int lane = 0; lane < lanes; lane++) room.steps[lane] = room.shifts[lane] = 0;
        for (int64_t byte = 0; byte < with->bytes; byte++) room.order[byte] = byte;
        DISPATCH(prepared, kind, with, query, query_tokens, &room);
    }
    if (with->squares) {
        const int64_t token = offsets[first];
        embplug_sums(codes, starts, offsets, first, last, stride, with->bytes, with->squares, room.scales);
        DISPATCH(inverse_lengths, with->square, offsets[last] - token, room.scales + token);
    }
    if (with->squares && with->lengths)
        for (int64_t document = first; document < last; document++) {
            const uint8_t *length = codes + starts[document] + with->bytes;
            for (int64_t token = offsets[document]; token < offsets[document + 1]; token++, length += stride)
                room.scales[token] *= with->lengths[*length];
        }
    const Uniform in = {
        .codes = codes, .starts = starts, .offsets = offsets, .stride = stride, .first = with->header_bytes,
        .width = with->bytes, .query_tokens = query_tokens, .table = room.table, .order = room.order,
        .steps = room.steps, .shifts = room.shifts, .bases = with->mean ? room.bases : bases,
        .units = with->mean ? NULL : units, .rows = with->mean ? 1 : rows, .id_bytes = with->header_bytes,
        .factor_bits = with->factor_bits, .factors = with->factors, .scales = with->squares ? room.scales : NULL,
        .scores = scores,
    };
    return DISPATCH(maxsim, kind, &in, first, last);
}

/* The dot product of two vectors, in parts that compilers add side by side. */
static float product(const float *a, const float *b, int64_t dim) {
    float parts[16] = {0}, total = 0;
    int64_t d = 0;
    for (; d + 16 <= dim; d += 16)
        for (int i = 0; i < 16; i++) parts[i] += a[d + i] * b[d + i];
    for (; d < dim; d++) parts[0] += a[d] * b[d];
    for (int i = 0; i < 16; i++) total += parts[i];
    return total;
}

/* Products (count,) of the sum of query tokens (query_tokens, dim) with codes that stand at `starts` in `codes`
 * (size,), without headers and with lengths that are kept. `room` holds dim + active + bytes * ENTRIES numbers.
 * Returns the first code that is not there, or -1. */
EXPORT int64_t embplug_bytewise_sum(const Bytewise *with, const float *query, int64_t query_tokens,
                                    const uint8_t *codes, int64_t size, const int64_t *starts, int64_t count,
                                    float *scores, float *room) {
    for (int64_t i = 0; i < count; i++)
        if (starts[i] < 0 || starts[i] > size - with->bytes) return i;
    const int64_t dim = with->dim, active = with->active;
    float *sum = room, *turned = with->directions ? room + dim : sum, *table = room + dim + active;
    for (int64_t d = 0; d < dim; d++) sum[d] = 0;
    for (int64_t token = 0; token < query_tokens; token++)
        for (int64_t d = 0; d < dim; d++) sum[d] += query[token * dim + d];
    if (with->directions)
        for (int64_t a = 0; a < active; a++) turned[a] = product(with->directions + a * dim, sum, dim);
    const float base = product(with->mean, sum, dim);
    embplug_vector_table(with->entries, with->widths, with->bytes, turned, table);
    for (int64_t i = 0; i < count; i++) {
        const uint8_t *code = codes + starts[i];
        float total = 0;
        for (int64_t byte = 0; byte < with->bytes; byte++) total += table[byte * ENTRIES + code[byte]];
        scores[i] = total + base;
    }
    return -1;
}
