/* MaxSim of codes with a bit for each dimension, BITS of them looked up at a time: included by bits.c. */

#define BITS_JOIN(name, bits) name##_##bits
#define BITS_EXPANDED(name, bits) BITS_JOIN(name, bits)
#define OF_BITS(name) BITS_EXPANDED(name, BITS)

static TARGET void OF_BITS(bits_tables)(const float *vectors, int64_t count, int64_t width, uint8_t *tables,
                                        float *steps, float *shifts) {
    enum { ENTRIES_OF = 1 << BITS };
    const int64_t groups = bits_groups(width, BITS), dim = 8 * width;
    for (int64_t v = 0; v < count; v++, vectors += dim) {
        const int lengths = v == count - 1;
        const float most = BITS_LARGEST * (lengths ? 129.0f : 1.0f);
        float span = 1e-30f, sum = 0;
        for (int64_t d = 0; d < dim; d += BITS) {
            float reach = 0;
            for (int64_t i = d; i < dim && i < d + BITS; i++) reach += fabsf(vectors[i]);
            sum += reach;
            span = reach > span ? reach : span;
        }
        /* The products of a group lie between minus and plus the sum of its absolute values. */
        const float unit = most / (2 * span);
        steps[v] = 1 / unit;
        shifts[v] = -sum;
        for (int64_t group = 0; group < groups; group++, tables += ENTRIES_OF) {
            /* Behind the last dimension there are zeros. */
            float own[BITS], products[ENTRIES_OF];
            for (int i = 0; i < BITS; i++) own[i] = BITS * group + i < dim ? vectors[BITS * group + i] * unit : 0;
            products[0] = 0.5f;
            for (int i = 0; i < BITS; i++) products[0] += fabsf(own[i]) - own[i];
            for (int i = 0; i < BITS; i++)
                for (int entry = 0; entry < 1 << i; entry++)
                    products[(1 << i) + entry] = products[entry] + 2 * own[BITS - 1 - i];
            int32_t rounded[ENTRIES_OF];
            for (int entry = 0; entry < ENTRIES_OF; entry++) {
                /* Sums may lie outside by their own rounding. */
                const float value = products[entry] > 0 ? products[entry] : 0;
                rounded[entry] = (int32_t)(value < most ? value : most);
            }
            if (lengths) {
                for (int entry = 0; entry < ENTRIES_OF; entry++)
                    tables[groups * ENTRIES_OF + entry] = (uint8_t)(rounded[entry] & 127);
                for (int entry = 0; entry < ENTRIES_OF; entry++) rounded[entry] >>= 7;
            }
            for (int entry = 0; entry < ENTRIES_OF; entry++) tables[entry] = (uint8_t)rounded[entry];
        }
    }
}

/* Sums of the entries of one table that the tokens of some tiles name: all at once where they fill a block. */
INLINE TARGET void OF_BITS(bits_block)(int tiles, const uint8_t *table, const uint8_t *groups, int64_t count,
                                       int64_t size, uint16_t *out) {
    if (tiles == BITS_TILES) {
        OF_BITS(bits_sums)(BITS_TILES, table, groups, count, size, out);
        return;
    }
    for (int tile = 0; tile < tiles; tile++)
        OF_BITS(bits_sums)(1, table, groups + tile * size, count, size, out + tile * BITS_TILE);
}

static TARGET void OF_BITS(bits_maxsim)(const Bits *in, int64_t first, int64_t last) {
    const int64_t width = in->width, padded = bits_padded(width), groups = bits_groups(width, BITS);
    const int64_t table = groups << BITS, lengths = in->query_tokens;
    const int64_t size = padded / BITS * 8 * BITS_TILE, most_tiles = BITS_CACHED / size;
    const int64_t most_tokens = BITS_TILE * (most_tiles < 1 ? 1 : most_tiles < BITS_TILES ? most_tiles : BITS_TILES);
    uint8_t *split = in->room, *turned = split + BITS_TILES * size;
    const uint8_t *rows[BITS_BLOCK];
    _Alignas(64) uint16_t sums[BITS_BLOCK], low[BITS_BLOCK];
    float scales[BITS_BLOCK];
    for (int64_t lane = 0; lane < in->query_tokens; lane++) in->highest[lane] = -INFINITY;
    for (int64_t document = first; document < last; document++)
        in->scores[document] = in->offsets[document] < in->offsets[document + 1] ? 0 : -INFINITY;
    /* A share of no documents may begin behind the last one. */
    int64_t token = in->offsets[first], document = first, place = first < last ? in->starts[first] : 0;
    while (token < in->offsets[last]) {
        /* Which documents have tokens in the block, and where those of each end. */
        int64_t documents[BITS_BLOCK];
        int ends[BITS_BLOCK], parts = 0, count = 0;
        while (count < most_tokens && document < last) {
            const int64_t left = in->offsets[document + 1] - token;
            const int some = (int)(left < most_tokens - count ? left : most_tokens - count);
            for (int i = 0; i < some; i++, place += width) rows[count + i] = in->codes + place;
            count += some, token += some;
            if (some) ends[parts] = count, documents[parts++] = document;
            if (some < left) break;
            if (++document < last) place = in->starts[document];
        }
        /* What stands behind the last token does not count. */
        const int tiles = (count + BITS_TILE - 1) / BITS_TILE;
        for (; count < tiles * BITS_TILE; count++) rows[count] = rows[0];
        for (int tile = 0; tile < tiles; tile++) {
            OF_BITS(bits_columns)(rows + tile * BITS_TILE, width, turned);
            OF_BITS(bits_split)(turned, padded, split + tile * size);
        }
        OF_BITS(bits_block)(tiles, in->tables + lengths * table, split, groups, size, sums);
        OF_BITS(bits_block)(tiles, in->tables + (lengths + 1) * table, split, groups, size, low);
        for (int i = 0; i < count; i++) {
            const float sum = 128.0f * sums[i] + low[i];
            const float square = sum * in->steps[lengths] + in->shifts[lengths];
            scales[i] = 1 / sqrtf(square > FLT_MIN ? square : FLT_MIN);
        }
        for (int64_t lane = 0; lane < lengths; lane++) {
            OF_BITS(bits_block)(tiles, in->tables + lane * table, split, groups, size, sums);
            const float step = in->steps[lane], shift = in->shifts[lane];
            for (int part = 0, start = 0; part < parts; start = ends[part++]) {
                float most = OF_BITS(bits_most)(sums, step, shift, scales, start, ends[part]);
                if (!part && in->highest[lane] > most) most = in->highest[lane];
                /* The last document may go on in the next block. */
                const int ended = documents[part] != document;
                if (ended) in->scores[documents[part]] += most;
                if (part == parts - 1) in->highest[lane] = ended ? -INFINITY : most;
            }
        }
    }
}

#undef BITS
#undef TARGET
#undef BITS_JOIN
#undef BITS_EXPANDED
#undef OF_BITS
