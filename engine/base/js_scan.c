/* js_scan.c - see js_scan.h.
 *
 * jansson reads a byte at a time through three functions: 140 instructions a byte, over half of all that an
 * upload of messages cost. Here strings are passed eight bytes at a time up to the next that means something
 * (a quote, a backslash, a control character or one that is not ASCII), and copied once. */
#include "engine/base/js_scan.h"

#include "engine/base/utf8.h"

#include <endian.h>
#include <stdlib.h>

#define DEPTH_MAX     32 /* deeper texts are jansson's */
#define LONG_TEXT     (64 * 1024)
#define ROOM_OPENED   240          /* jansson's for a list with a value, an object, or a member; */
#define ROOM_NEXT     104          /* for a list's next value; */
#define ROOM_ALWAYS   1024         /* for any text; */
#define ROOM_MAPPED   32           /* and a page more for each block of 128 KiB */
#define VALUES_LOOK   1024         /* values after which it is looked whether there is room for as many, */
#define VALUES_ROOM   (512 * 1024) /* which take so much at most, */
#define VALUE_PLACE   32           /* and for a list or object that doubles, for each value so far */
#define ROOM_ON_STACK (12 * 1024)  /* for strings with escapes: a message of 4 KiB and its line fit */

#define EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

/* The highest bit of the lowest byte that means something, and perhaps of others above it; 0: none does. */
static uint64_t find_special(uint64_t word)
{
    uint64_t control = word - EACH(0x20), quote = (word ^ EACH('"')) - EACH(1);
    uint64_t backslash = (word ^ EACH('\\')) - EACH(1);
    return (control | quote | backslash | word) & EACH(0x80);
}

static bool is_special(char c)
{
    return (unsigned char)c < ' ' || c == '"' || c == '\\' || (c & '\x80') != 0;
}

static const char *pass_ordinary(const char *p, const char *end)
{
    for (uint64_t word; (size_t)(end - p) >= sizeof word; p += sizeof word) {
        memcpy(&word, p, sizeof word);
        uint64_t special = find_special(le64toh(word));
        if (special != 0)
            return p + __builtin_ctzll(special) / 8;
    }
    while (p < end && !is_special(*p))
        p++;
    return p;
}

/* The same, with a copy. There is room for what is left of the text. */
static const char *copy_ordinary(const char *p, const char *end, char **to)
{
    for (uint64_t word; (size_t)(end - p) >= sizeof word; p += sizeof word, *to += sizeof word) {
        memcpy(&word, p, sizeof word);
        memcpy(*to, &word, sizeof word);
        uint64_t special = find_special(le64toh(word));
        if (special != 0) {
            size_t n = (size_t)__builtin_ctzll(special) / 8;
            *to += n;
            return p + n;
        }
    }
    while (p < end && !is_special(*p))
        *(*to)++ = *p++;
    return p;
}

/* The four digits behind \u; UINT32_MAX if they are not. */
static uint32_t hex4(const char *p, const char *end)
{
    uint32_t value = 0;
    if (end - p < 4)
        return UINT32_MAX;
    for (size_t i = 0; i < 4; i++) {
        char c = ascii_lower(p[i]);
        bool digit = c >= '0' && c <= '9';
        if (!digit && !(c >= 'a' && c <= 'f'))
            return UINT32_MAX;
        value = value << 4 | (uint32_t)(digit ? c - '0' : c - 'a' + 10);
    }
    return value;
}

static char *put_utf8(char *to, uint32_t c)
{
    if (c < 0x80) {
        *to++ = (char)c;
        return to;
    }
    unsigned more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    *to++ = (char)((0xff00u >> (more + 1) & 0xffu) | c >> 6 * more);
    while (more-- > 0)
        *to++ = (char)(0x80u | (c >> 6 * more & 0x3fu));
    return to;
}

/* \uXXXX, or two of them that make up one character, at p behind the u. NULL: malformed, or U+0000. */
static const char *take_unicode(const char *p, const char *end, char **to)
{
    uint32_t c = hex4(p, end);
    if (c == UINT32_MAX || c == 0 || (c >= 0xdc00 && c <= 0xdfff))
        return NULL;
    p += 4;
    if (c >= 0xd800 && c <= 0xdbff) {
        if (end - p < 6 || p[0] != '\\' || p[1] != 'u')
            return NULL;
        uint32_t low = hex4(p + 2, end);
        if (low < 0xdc00 || low > 0xdfff)
            return NULL;
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        p += 6;
    }
    *to = put_utf8(*to, c);
    return p;
}

/* What follows a backslash. */
static const char *take_escape(const char *p, const char *end, char **to)
{
    static const char names[] = "\"\\/bfnrt", bytes[] = "\"\\/\b\f\n\r\t";
    if (p == end)
        return NULL;
    if (*p == 'u')
        return take_unicode(p + 1, end, to);
    const char *name = memchr(names, *p, sizeof names - 1);
    if (name == NULL)
        return NULL;
    *(*to)++ = bytes[name - names];
    return p + 1;
}

/* From the first backslash on. */
static bool scan_escaped(struct js_scan *scan, const char *p, char *room, struct str *out)
{
    const char *start = scan->p, *end = scan->end;
    char *to = room + (p - start);
    memcpy(room, start, (size_t)(p - start));
    while (p < end && *p != '"') {
        if (*p == '\\') {
            p = take_escape(p + 1, end, &to);
            if (p == NULL)
                return false;
        } else {
            size_t n = (unsigned char)*p < ' ' ? 0 : utf8_length(p, (size_t)(end - p));
            if (n == 0)
                return false;
            memcpy(to, p, n);
            to += n;
            p += n;
        }
        p = copy_ordinary(p, end, &to);
    }
    if (p == end)
        return false;
    *out = str_make(room, (size_t)(to - room));
    scan->p = p + 1;
    return true;
}

bool js_scan_string(struct js_scan *scan, char *room, struct str *out)
{
    const char *p = scan->p, *end = scan->end;
    for (;;) {
        p = pass_ordinary(p, end);
        if (p == end)
            return false;
        if (*p == '"')
            break;
        if (*p == '\\')
            return scan_escaped(scan, p, room, out);
        size_t n = (unsigned char)*p < ' ' ? 0 : utf8_length(p, (size_t)(end - p));
        if (n == 0)
            return false;
        p += n;
    }
    *out = str_make(scan->p, (size_t)(p - scan->p));
    scan->p = p + 1;
    return true;
}

static bool take_word(struct js_scan *scan, struct str word, struct str *out)
{
    if ((size_t)(scan->end - scan->p) < word.n || memcmp(scan->p, word.p, word.n) != 0)
        return false;
    *out = str_make(scan->p, word.n);
    scan->p += word.n;
    return true;
}

/* What may stand behind a number or word; anything else would be a part of it. */
static bool ends(const struct js_scan *scan)
{
    return scan->p == scan->end || memchr(" \t\r\n,]}", *scan->p, 7) != NULL;
}

bool js_scan_plain(struct js_scan *scan, struct str *out)
{
    js_scan_space(scan);
    if (take_word(scan, STR("true"), out) || take_word(scan, STR("false"), out))
        return ends(scan);
    const char *start = scan->p, *digits = start + (start < scan->end && *start == '-');
    const char *p = digits;
    while (p < scan->end && p - digits <= JS_SCAN_DIGITS && *p >= '0' && *p <= '9')
        p++;
    size_t n = (size_t)(p - digits);
    if (n == 0 || n > JS_SCAN_DIGITS || (*digits == '0' && p - start > 1))
        return false;
    *out = str_make(start, (size_t)(p - start));
    scan->p = p;
    return ends(scan);
}

/* ---- whole values ---- */

struct loader {
    struct js_scan scan;
    char *room; /* for one string at a time; made when first needed, if the stack's is too small */
    char *allocated;
    unsigned depth;
    size_t values;
    bool lacks; /* there was no memory for a long text, or for many values */
};

static json_t *load_value(struct loader *loader); /* NULL: jansson is to look */

static bool load_string(struct loader *loader, struct str *out)
{
    size_t left = (size_t)(loader->scan.end - loader->scan.p);
    if (left > ROOM_ON_STACK && loader->allocated == NULL) {
        loader->room = loader->allocated = malloc(left); /* less is left for any further string */
        if (loader->allocated == NULL) {
            loader->lacks = true;
            return false;
        }
    }
    return js_scan_string(&loader->scan, loader->room, out);
}

static json_t *drop(json_t *value)
{
    json_decref(value);
    return NULL;
}

static json_t *load_object(struct loader *loader)
{
    json_t *object = json_object();
    if (object == NULL || js_scan_char(&loader->scan, '}'))
        return object;
    do {
        struct str name;
        size_t before = json_object_size(object);
        if (!js_scan_char(&loader->scan, '"') || !load_string(loader, &name) || name.p == loader->room)
            return drop(object); /* a name with escapes is in the room, where the value's text comes next */
        json_t *value = js_scan_char(&loader->scan, ':') ? load_value(loader) : NULL;
        if (value == NULL || json_object_setn_new_nocheck(object, name.p, name.n, value) != 0 ||
            json_object_size(object) == before) /* it was there: a duplicate */
            return drop(object);
    } while (js_scan_char(&loader->scan, ','));
    return js_scan_char(&loader->scan, '}') ? object : drop(object);
}

static json_t *load_array(struct loader *loader)
{
    json_t *array = json_array();
    if (array == NULL || js_scan_char(&loader->scan, ']'))
        return array;
    do {
        json_t *value = load_value(loader);
        if (value == NULL || json_array_append_new(array, value) != 0)
            return drop(array);
    } while (js_scan_char(&loader->scan, ','));
    return js_scan_char(&loader->scan, ']') ? array : drop(array);
}

static json_t *load_plain(struct loader *loader)
{
    struct str text;
    uint64_t n;
    if (take_word(&loader->scan, STR("null"), &text))
        return ends(&loader->scan) ? json_null() : NULL;
    if (!js_scan_plain(&loader->scan, &text))
        return NULL;
    if (text.p[0] == 't' || text.p[0] == 'f')
        return json_boolean(text.p[0] == 't');
    bool negative = text.p[0] == '-';
    str_u64(str_make(text.p + negative, text.n - negative), INT64_MAX, &n);
    return json_integer(negative ? -(json_int_t)n : (json_int_t)n);
}

static json_t *load_nested(struct loader *loader, char open)
{
    if (++loader->depth > DEPTH_MAX)
        return NULL;
    json_t *value = open == '{' ? load_object(loader) : load_array(loader);
    loader->depth--;
    return value;
}

/* Whether jansson will find so much. It is not to wait (js_set_up) for a long text, whose sender can be
 * refused. */
static bool finds(size_t n)
{
    void *room = n > LONG_TEXT ? malloc(n) : NULL;
    free(room);
    return n <= LONG_TEXT || room != NULL;
}

static json_t *load_text(struct loader *loader)
{
    struct str text;
    if (!load_string(loader, &text))
        return NULL;
    loader->lacks |= !finds(text.n);
    return loader->lacks ? NULL : json_stringn_nocheck(text.p, text.n);
}

static json_t *load_value(struct loader *loader)
{
    if (++loader->values % VALUES_LOOK == 0)
        loader->lacks |= !finds(VALUES_ROOM + VALUE_PLACE * loader->values);
    if (loader->lacks)
        return NULL;
    if (js_scan_char(&loader->scan, '"'))
        return load_text(loader);
    if (js_scan_char(&loader->scan, '{'))
        return load_nested(loader, '{');
    if (js_scan_char(&loader->scan, '['))
        return load_nested(loader, '[');
    return load_plain(loader);
}

/* The whole text, if it is an object. */
static json_t *load_whole(struct str text, bool *lacks)
{
    char room[ROOM_ON_STACK];
    struct loader loader = {.scan = {text.p, text.p + text.n}, .room = room};
    json_t *root = js_scan_char(&loader.scan, '{') ? load_nested(&loader, '{') : NULL;
    free(loader.allocated);
    js_scan_space(&loader.scan);
    *lacks = loader.lacks;
    return loader.scan.p == loader.scan.end ? root : drop(root);
}

/* Blocks of glibc's on 64-bit machines, as jansson 2.14 asks for them:
 * - A list is 48 + 80 bytes, and grows for each of its values by 16 beside the 8 that it had.
 * - An object is 80 + 144, and its table grows for each member by 32 beside the 16 that it had.
 * - A value is a block of 48 and, of a string, one that is 30 longer than the string with its quotes.
 * - A member is such a block for its name, until the value is there, and one that is 80 longer than the name.
 * - The lexer's buffer doubles up to twice the longest string, and a name is in two blocks: 4 times the text.
 * Within strings nothing is counted, and behind an error jansson reads no more. */
size_t js_load_room(struct str text)
{
    size_t room = ROOM_ALWAYS + 4 * text.n;
    bool quoted = false;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (c == '"')
            quoted = !quoted;
        else if (quoted)
            i += c == '\\';
        else if (c == '{' || c == '[' || c == ':')
            room += ROOM_OPENED;
        else if (c == ',')
            room += ROOM_NEXT;
    }
    return room + room / ROOM_MAPPED;
}

json_t *js_load(struct str text, json_error_t *error)
{
    bool lacks = false;
    json_t *root = text.n > 0 ? load_whole(text, &lacks) : NULL;
    if (root == NULL && (lacks || !finds(js_load_room(text)))) {
        *error = (json_error_t){.text = "no memory"};
        error->text[sizeof error->text - 1] = (char)json_error_out_of_memory; /* where jansson has its code */
        return NULL;
    }
    return root != NULL ? root : json_loadb(text.n > 0 ? text.p : "", text.n, JSON_REJECT_DUPLICATES, error);
}
