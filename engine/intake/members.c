/* members.c - see members.h. */
#include "engine/intake/members.h"

#include "engine/limits.h"
#include "queue/store.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static const char *type_name(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "a list";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    default:
        return "null";
    }
}

bool member_wrong_type(const char *name, const char *expected, const json_t *value, struct err *err)
{
    return err_set(err, 0, "\"%.100s\" must be %s, not %s", name, expected, type_name(value));
}

bool member_string(const char *name, const json_t *value, size_t max, struct str *out, struct err *err)
{
    if (!json_is_string(value))
        return member_wrong_type(name, "a string", value, err);
    *out = str_make(json_string_value(value), json_string_length(value));
    if (out->n > max)
        return err_set(err, 0, "\"%.100s\" is %zu bytes long: at most %zu", name, out->n, max);
    return true;
}

bool member_name(const char *name, const json_t *value, size_t max, struct str *out, struct err *err)
{
    if (!member_string(name, value, max, out, err))
        return false;
    for (size_t i = 0; i < out->n; i++) {
        if ((unsigned char)out->p[i] < ' ' || out->p[i] == 0x7f)
            return err_set(err, 0, "\"%.100s\" holds a control character", name);
    }
    return true;
}

bool member_bool(const char *name, const json_t *value, bool *out, struct err *err)
{
    *out = json_is_true(value);
    return json_is_boolean(value) || member_wrong_type(name, "true or false", value, err);
}

bool member_notify(const char *name, const json_t *value, uint8_t *out, struct err *err)
{
    static const struct {
        const char *name;
        uint8_t bit;
    } known[] = {{"never", NOTIFY_NEVER},
                 {"success", NOTIFY_SUCCESS},
                 {"failure", NOTIFY_FAILURE},
                 {"delay", NOTIFY_DELAY}};
    static const char expected[] = "a list of \"failure\", \"delay\", \"success\", or of \"never\" alone";
    uint8_t bits = 0;
    size_t i;
    const json_t *item;
    if (!json_is_array(value))
        return member_wrong_type(name, expected, value, err);
    json_array_foreach(value, i, item)
    {
        size_t k = 0;
        while (k < 4 && !(json_is_string(item) && strcmp(json_string_value(item), known[k].name) == 0))
            k++;
        if (k == 4)
            return err_set(err, 0, "\"%s\" must be %s", name, expected);
        bits |= known[k].bit;
    }
    if (bits == 0 || ((bits & NOTIFY_NEVER) && bits != NOTIFY_NEVER))
        return err_set(err, 0, "\"%s\" must be %s", name, expected);
    *out = bits;
    return true;
}

bool member_metadata(const json_t *value, struct buf *text, struct err *err)
{
    const char *key;
    const json_t *member;
    if (!json_is_object(value))
        return member_wrong_type("metadata", "an object of strings", value, err);
    json_object_foreach((json_t *)(uintptr_t)value, key, member)
    {
        if (!json_is_string(member))
            return err_set(err, 0, "\"metadata\" must be an object of strings: \"%.100s\" is %s", key,
                           type_name(member));
    }
    text->max = METADATA_MAX;
    buf_clear(text);
    if (!js_write(text, json_incref((json_t *)(uintptr_t)value)))
        return err_set(err, 0, "\"metadata\" is longer than %d bytes", METADATA_MAX);
    return true;
}

/* The shortest text that reads back as the same number. */
static int real_text(double real, char text[MEMBER_NUMBER_MAX])
{
    int n = 0;
    for (int digits = 15; digits <= 17; digits++) {
        n = snprintf(text, MEMBER_NUMBER_MAX, "%.*g", digits, real);
        if (strtod(text, NULL) == real)
            break;
    }
    return n;
}

bool member_scalar(const json_t *value, char text[MEMBER_NUMBER_MAX], size_t *n)
{
    int length;
    if (json_is_integer(value))
        length = snprintf(text, MEMBER_NUMBER_MAX, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_real(value))
        length = real_text(json_real_value(value), text);
    else if (json_is_boolean(value))
        length = snprintf(text, MEMBER_NUMBER_MAX, "%s", json_is_true(value) ? "true" : "false");
    else
        return false;
    *n = (size_t)length;
    return true;
}
