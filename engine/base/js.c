/* js.c - see js.h. */
#include "engine/base/js.h"

#include "engine/base/reserve.h"
#include "engine/base/units.h"
#include "engine/base/utf8.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

void js_set_up(void)
{
    json_set_alloc_funcs(reserve_must, free);
}

static json_t *repaired_text(struct str s)
{
    struct buf good;
    buf_init(&good, s.n * 3 + 1);
    for (size_t i = 0; i < s.n;) {
        size_t length = utf8_length(s.p + i, s.n - i);
        if (length == 0)
            buf_add_z(&good, UTF8_REPLACEMENT);
        else
            buf_add(&good, s.p + i, length);
        i += length ? length : 1;
    }
    json_t *text = good.failed ? NULL : json_stringn(good.data ? good.data : "", good.len);
    buf_free(&good);
    return text;
}

json_t *js_text(struct str s)
{
    json_t *text = json_stringn(s.n ? s.p : "", s.n);
    return text != NULL ? text : repaired_text(s);
}

/* How many bytes from the front stand for themselves in a JSON string. */
static size_t plain_span(struct str s)
{
    size_t i = 0;
    while (i < s.n && s.p[i] >= ' ' && s.p[i] < 0x7f && s.p[i] != '"' && s.p[i] != '\\')
        i++;
    return i;
}

static size_t add_special(struct buf *out, struct str s)
{
    unsigned char c = (unsigned char)s.p[0];
    size_t length = utf8_length(s.p, s.n);
    if (c == '"' || c == '\\')
        buf_printf(out, "\\%c", c);
    else if (c < ' ' || c == 0x7f)
        buf_printf(out, "\\u%04x", c);
    else if (length > 0)
        buf_add(out, s.p, length);
    else
        buf_add_z(out, UTF8_REPLACEMENT);
    return length ? length : 1;
}

bool js_add_text(struct buf *out, struct str s)
{
    buf_add_char(out, '"');
    for (size_t i = 0; i < s.n;) {
        size_t plain = plain_span(str_make(s.p + i, s.n - i));
        buf_add(out, s.p + i, plain);
        i += plain;
        if (i < s.n)
            i += add_special(out, str_make(s.p + i, s.n - i));
    }
    return buf_add_char(out, '"');
}

json_t *js_time(int64_t wall_ms)
{
    char text[UNITS_TEXT_MAX];
    if (wall_ms == 0)
        return json_null();
    size_t n = time_format(wall_ms, text);
    return json_stringn_nocheck(text, n);
}

json_t *js_id(uint64_t id)
{
    char text[24];
    int n = snprintf(text, sizeof text, "%" PRIu64, id);
    return json_stringn_nocheck(text, (size_t)n);
}

json_t *js_parsed(struct str text)
{
    json_t *value = text.n ? json_loadb(text.p, text.n, 0, NULL) : NULL;
    return value != NULL ? value : json_object();
}

static int append(const char *data, size_t n, void *user)
{
    return buf_add(user, data, n) ? 0 : -1;
}

bool js_write(struct buf *out, json_t *root)
{
    bool done = root != NULL && json_dump_callback(root, append, out, JSON_COMPACT | JSON_ENCODE_ANY) == 0;
    json_decref(root);
    return done;
}

void js_set(json_t *object, const char *name, json_t *value)
{
    json_object_set_new_nocheck(object, name, value);
}

void js_set_int(json_t *object, const char *name, uint64_t value)
{
    js_set(object, name, json_integer((json_int_t)value));
}

const char *js_get_text(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text != NULL ? text : "";
}

long long js_get_int(const json_t *object, const char *name)
{
    return json_integer_value(json_object_get(object, name));
}
