/* fuzz_json.c - our own reader of JSON text against jansson: the same value, or both refuse it. And a
 * body cut into lines, whatever the pieces. */
#include "engine/base/js_scan.h"
#include "engine/intake/ndjson.h"
#include "tests/fuzz/fuzz.h"

static void same_value(struct str text)
{
    json_error_t ours, theirs;
    char *copy = fuzz_copy(text);
    json_t *is = js_load(str_make(copy, text.n), &ours);
    json_t *expected = json_loadb(copy, text.n, JSON_REJECT_DUPLICATES, &theirs);
    CLAIM((is == NULL) == (expected == NULL));
    CLAIM(is == NULL || json_equal(is, expected));
    CLAIM(is != NULL || strcmp(ours.text, theirs.text) == 0);
    json_decref(is);
    json_decref(expected);
    free(copy);
}

/* Sums up the lines of a body that comes in pieces of `by` bytes. */
static uint64_t lines_hash(struct str body, size_t by, bool judge)
{
    struct ndjson ndjson;
    struct str line;
    uint64_t hash = 0;
    enum ndjson_result result = NDJSON_MORE;
    ndjson_init(&ndjson, 4096);
    while (body.n > 0 && result != NDJSON_TOO_LONG) {
        struct str piece = fuzz_piece(&body, by);
        char *copy = fuzz_copy(piece);
        struct str data = str_make(copy, piece.n);
        while ((result = ndjson_next(&ndjson, &data, &line)) == NDJSON_LINE) {
            CLAIM(line.n <= 4096 && str_find(line, '\n', 0) == SIZE_MAX);
            hash = hash * 31 + str_hash(line) + ndjson.number;
            if (judge)
                same_value(line);
        }
        CLAIM(result == NDJSON_TOO_LONG || data.n == 0);
        free(copy);
    }
    if (result != NDJSON_TOO_LONG && ndjson_last(&ndjson, &line) == NDJSON_LINE)
        hash = hash * 31 + str_hash(line) + ndjson.number;
    ndjson_free(&ndjson);
    return hash;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str rest = fuzz_rest(data, size);
    size_t by = (size_t)fuzz_byte(&rest) + 1;
    same_value(rest);
    CLAIM(lines_hash(rest, rest.n + 1, true) == lines_hash(rest, by, false));
    return 0;
}
