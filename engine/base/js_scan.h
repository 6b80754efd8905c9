/* js_scan.h - JSON text read without jansson where that is too slow: every line of an upload.
 *
 * Strict as jansson 2.14 is (RFC 8259; strings are UTF-8 without control characters and without \u0000), but
 * it knows no errors: whoever is told false hands the text to jansson, which says what is wrong, or takes
 * what is only too rare to be read here. Pure; any thread. */
#ifndef POSTRIDER_BASE_JS_SCAN_H
#define POSTRIDER_BASE_JS_SCAN_H

#include "engine/base/js.h"

struct js_scan {
    const char *p, *end;
};

static inline void js_scan_space(struct js_scan *scan)
{
    while (scan->p < scan->end &&
           (*scan->p == ' ' || *scan->p == '\n' || *scan->p == '\r' || *scan->p == '\t'))
        scan->p++;
}

/* White space, then this character? Then it is taken. */
static inline bool js_scan_char(struct js_scan *scan, char c)
{
    js_scan_space(scan);
    if (scan->p == scan->end || *scan->p != c)
        return false;
    scan->p++;
    return true;
}

/* Behind an opening quote: takes the string and its closing quote. One without escapes is a view of the text,
 * another lies in `room`, which has as many bytes as the text from scan->p on. */
bool js_scan_string(struct js_scan *scan, char *room, struct str *out);
/* A number without fraction and exponent, of at most JS_SCAN_DIGITS, or true or false: its text, which is
 * also how jansson's value would be written. */
#define JS_SCAN_DIGITS 18
bool js_scan_plain(struct js_scan *scan, struct str *out);

/* json_loadb(text, JSON_REJECT_DUPLICATES) in a fraction of the time: the same value, or NULL and the same
 * error; where there is no memory for a long text, one of json_error_out_of_memory. */
json_t *js_load(struct str text, json_error_t *error);
/* The most memory that jansson has at any time while it reads this text, good or not: js_load looks whether
 * there is as much. */
size_t js_load_room(struct str text);

#endif
