/* http_framing.c - see http_framing.h. */
#include "engine/admin/http_framing.h"

#include "engine/base/str.h"
#include "engine/limits.h"

#include <string.h>

#define FIELD_BYTES 64 /* what the library keeps of a field besides its text */

void http_framing_note(struct http_framing *framing, const char *name, const char *value)
{
    framing->fields++;
    framing->blank |= strpbrk(name, " \t") != NULL;
    framing->lengths += str_eq_nocase(str_of(name), STR("Content-Length"));
    if (str_eq_nocase(str_of(name), STR("Transfer-Encoding"))) {
        framing->codings++;
        framing->chunked = value != NULL && str_eq_nocase(str_of(value), STR("chunked"));
    }
}

bool http_framing_certain(const struct http_framing *framing)
{
    return !framing->blank && framing->lengths + framing->codings <= 1 &&
           (framing->codings == 0 || framing->chunked);
}

bool http_framing_answerable(const struct http_framing *framing, size_t size)
{
    return size + (size_t)framing->fields * FIELD_BYTES <= HTTP_MEMORY_MAX - HTTP_FRAMING_ANSWER;
}
