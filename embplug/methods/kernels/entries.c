/* Codes whose bytes name entries: the nearest entries of vectors, and the entries of codes. kernel.c includes this
 * file once. */

/* Bytes (rows, bytes) of the entries that are nearest to vectors (rows, active), the first of those that are equally
 * near. `entries` (active, ENTRIES) and `halves` (bytes, ENTRIES), which are half their squared lengths, are those of
 * all bytes. */
EXPORT void embplug_nearest(int level, const float *vectors, int64_t rows, int64_t active, const float *entries,
                            const float *halves, const int64_t *widths, int64_t bytes, uint8_t *codes) {
    const int lanes = LARGEST_LANES;
    for (int64_t row = 0; row < rows; row++, vectors += active, codes += bytes)
        DISPATCH(nearest, vectors, entries, halves, widths, bytes, codes);
}

/* Entries (rows, active) that codes (rows, bytes) name, of those of all bytes (ENTRIES, active). */
EXPORT void embplug_entries(const uint8_t *codes, int64_t rows, int64_t active, const float *entries,
                            const int64_t *widths, int64_t bytes, float *vectors) {
    for (int64_t row = 0; row < rows; row++)
        for (int64_t byte = 0, column = 0; byte < bytes; column += widths[byte++], codes++)
            for (int64_t d = 0; d < widths[byte]; d++) *vectors++ = entries[*codes * active + column + d];
}
