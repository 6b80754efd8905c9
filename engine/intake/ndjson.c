/* ndjson.c - see ndjson.h. */
#include "engine/intake/ndjson.h"

#include "engine/limits.h"

void ndjson_init(struct ndjson *ndjson, size_t line_max)
{
    *ndjson = (struct ndjson){0};
    buf_init(&ndjson->carry, line_max);
}

void ndjson_free(struct ndjson *ndjson)
{
    buf_free(&ndjson->carry);
}

static void drop_given(struct ndjson *ndjson)
{
    if (!ndjson->given)
        return;
    ndjson->given = false;
    if (ndjson->carry.cap > INTAKE_LARGE_BYTES)
        buf_free(&ndjson->carry);
    else
        buf_clear(&ndjson->carry);
}

static enum ndjson_result carry(struct ndjson *ndjson, struct str piece)
{
    if (piece.n > ndjson->carry.max - ndjson->carry.len) {
        ndjson->number++;
        return NDJSON_TOO_LONG;
    }
    return buf_add_str(&ndjson->carry, piece) ? NDJSON_MORE : NDJSON_NO_MEMORY;
}

/* Strips what does not belong to the line; false if nothing is left. */
static bool clean(struct ndjson *ndjson, struct str *line)
{
    ndjson->number++;
    if (ndjson->number == 1 && str_starts(*line, STR("\xef\xbb\xbf")))
        *line = str_make(line->p + 3, line->n - 3);
    if (line->n > 0 && line->p[line->n - 1] == '\r')
        line->n--;
    /* Most lines begin with what they hold: only others are looked through. */
    return line->n > 0 && ((unsigned char)line->p[0] > ' ' || str_trim(*line).n > 0);
}

enum ndjson_result ndjson_next(struct ndjson *ndjson, struct str *data, struct str *line)
{
    drop_given(ndjson);
    while (data->n > 0) {
        const char *end = memchr(data->p, '\n', data->n);
        size_t n = end != NULL ? (size_t)(end - data->p) : data->n;
        struct str piece = str_make(data->p, n);
        bool carried = ndjson->carry.len > 0;
        if (end == NULL || carried || piece.n > ndjson->carry.max) {
            enum ndjson_result result = carry(ndjson, piece);
            if (result != NDJSON_MORE)
                return result;
        }
        size_t used = n + (end != NULL);
        *data = str_make(data->p + used, data->n - used);
        if (end == NULL)
            break;
        *line = carried ? buf_str(&ndjson->carry) : piece;
        ndjson->given = carried;
        if (clean(ndjson, line))
            return NDJSON_LINE;
        drop_given(ndjson);
    }
    return NDJSON_MORE;
}

enum ndjson_result ndjson_last(struct ndjson *ndjson, struct str *line)
{
    drop_given(ndjson);
    if (ndjson->carry.len == 0)
        return NDJSON_MORE;
    *line = buf_str(&ndjson->carry);
    ndjson->given = true;
    return clean(ndjson, line) ? NDJSON_LINE : NDJSON_MORE;
}

size_t ndjson_held(const struct ndjson *ndjson)
{
    return ndjson->given ? 0 : ndjson->carry.len;
}
