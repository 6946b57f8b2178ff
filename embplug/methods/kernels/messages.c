/* Points of Qdrant's answers to searches, found in the bytes of protobuf messages: included by kernel.c.
 *
 * An answer comes from a network. A field whose length leaves the message that it stands in, or whose kind
 * protobuf does not have, makes the answer MALFORMED, and nothing is read beyond `size` bytes.
 */

enum { NUMBER, EIGHT_BYTES, MESSAGE, FOUR_BYTES = 5 };                 /* how a field is written */
enum { RESULT = 1 };                                                   /* of QueryBatchResponse, BatchResult */
enum { POINT_ID = 1, POINT_PAYLOAD = 2, POINT_SCORE = 3 };             /* of ScoredPoint */
enum { ID_NUMBER = 1, ID_TEXT = 2, KEY = 1, VALUE = 2, STRING = 4 };   /* of PointId, an entry of a map, Value */
enum { ABSENT = -1, NO_TEXT = -2, MALFORMED = -1 };
enum { START, STOP, NUMBER_OF_ID, TEXT_START, TEXT_LENGTH, COLUMNS };  /* of what is told of a point */
#define LARGEST_SHIFT 63

typedef struct {
    const uint8_t *at, *end;
} Message;

typedef struct {
    uint64_t number;
    int kind;
    uint64_t value;  /* of a NUMBER */
    Message inside;  /* the bytes of any other kind */
} Field;

static int read_number(Message *message, uint64_t *number) {
    *number = 0;
    for (int shift = 0; shift <= LARGEST_SHIFT && message->at < message->end; shift += 7) {
        const uint8_t byte = *message->at++;
        *number |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) return 1;
    }
    return 0;
}

/* Read the next field of a message: 1 where there is one, 0 at the end, MALFORMED. */
static int next_field(Message *message, Field *field) {
    uint64_t key, size;
    if (message->at == message->end) return 0;
    if (!read_number(message, &key)) return MALFORMED;
    field->number = key >> 3;
    field->kind = (int)(key & 7);
    field->inside.at = field->inside.end = message->at;
    switch (field->kind) {
    case NUMBER: return read_number(message, &field->value) ? 1 : MALFORMED;
    case EIGHT_BYTES: size = 8; break;
    case FOUR_BYTES: size = 4; break;
    case MESSAGE:
        if (!read_number(message, &size)) return MALFORMED;
        break;
    default: return MALFORMED;
    }
    if (size > (uint64_t)(message->end - message->at)) return MALFORMED;
    field->inside.at = message->at;
    field->inside.end = message->at += size;
    return 1;
}

/* What is told of one point; 0 where its message is malformed. */
static int read_point(const uint8_t *answer, Message message, int64_t *point, float *score) {
    Field field, own;
    int more, inner = 0;
    point[START] = message.at - answer, point[STOP] = message.end - answer;
    point[NUMBER_OF_ID] = 0, point[TEXT_START] = 0, point[TEXT_LENGTH] = ABSENT;
    *score = 0;
    while ((more = next_field(&message, &field)) > 0) {
        if (field.number == POINT_SCORE && field.kind == FOUR_BYTES) {
            const uint8_t *byte = field.inside.at;
            const uint32_t bits = byte[0] | byte[1] << 8 | byte[2] << 16 | (uint32_t)byte[3] << 24;
            memcpy(score, &bits, sizeof bits);
        }
        if (field.number != POINT_ID || field.kind != MESSAGE) continue;
        while ((inner = next_field(&field.inside, &own)) > 0)
            if (own.number == ID_NUMBER && own.kind == NUMBER) {
                memcpy(&point[NUMBER_OF_ID], &own.value, sizeof own.value);
                point[TEXT_LENGTH] = ABSENT;
            } else if (own.number == ID_TEXT && own.kind == MESSAGE) {
                point[TEXT_START] = own.inside.at - answer;
                point[TEXT_LENGTH] = own.inside.end - own.inside.at;
            }
        if (inner < 0) return 0;
    }
    return more == 0;
}

/* Find the points of one result of an answer. Writes COLUMNS numbers and a score of each, and returns how many there
 * are, or MALFORMED; also where there is no such result, or `room` is less. The text of an id that is a number is
 * ABSENT. */
EXPORT int64_t embplug_points(const uint8_t *answer, int64_t size, int64_t result, int64_t room, int64_t *points,
                              float *scores) {
    Message whole = {answer, answer + size};
    Field field, own;
    int more;
    while ((more = next_field(&whole, &field)) > 0)
        if (field.number == RESULT && field.kind == MESSAGE && result-- == 0) break;
    if (more <= 0) return MALFORMED;
    int64_t count = 0;
    while ((more = next_field(&field.inside, &own)) > 0) {
        if (own.number != RESULT || own.kind != MESSAGE) continue;
        if (count == room || !read_point(answer, own.inside, points + COLUMNS * count, scores + count))
            return MALFORMED;
        count++;
    }
    return more < 0 ? MALFORMED : count;
}

/* Find the text in a value of a payload: NO_TEXT where it is no text, and 0 where it is malformed. */
static int read_text(const uint8_t *answer, Message value, int64_t *start, int64_t *length) {
    Field field;
    int more;
    *start = 0, *length = NO_TEXT;
    while ((more = next_field(&value, &field)) > 0) {
        *length = NO_TEXT;
        if (field.number == STRING && field.kind == MESSAGE) {
            *start = field.inside.at - answer;
            *length = field.inside.end - field.inside.at;
        }
    }
    return more == 0;
}

/* Find the texts of one field in the payloads of points, as `embplug_points` has told of them. The length of a text is
 * ABSENT where a point lacks the field, and NO_TEXT where it has another value. Returns 0, or MALFORMED. */
EXPORT int64_t embplug_texts(const uint8_t *answer, const int64_t *points, int64_t count, const char *name,
                             int64_t name_size, int64_t *starts, int64_t *lengths) {
    Field field, own;
    for (int64_t i = 0; i < count; i++) {
        Message message = {answer + points[COLUMNS * i + START], answer + points[COLUMNS * i + STOP]};
        int more, inner;
        starts[i] = 0, lengths[i] = ABSENT;
        while ((more = next_field(&message, &field)) > 0) {
            if (field.number != POINT_PAYLOAD || field.kind != MESSAGE) continue;
            Message key = {answer, answer}, value = {answer, answer};
            while ((inner = next_field(&field.inside, &own)) > 0)
                if (own.number == KEY && own.kind == MESSAGE) key = own.inside;
                else if (own.number == VALUE && own.kind == MESSAGE) value = own.inside;
            if (inner < 0) return MALFORMED;
            if (key.end - key.at != name_size || memcmp(key.at, name, (size_t)name_size) != 0) continue;
            if (!read_text(answer, value, &starts[i], &lengths[i])) return MALFORMED;
        }
        if (more < 0) return MALFORMED;
    }
    return 0;
}
