/* rcpt_scan.c - see rcpt_scan.h.
 *
 * Strings without escapes are not copied; one with escapes is undone into a part of the reader's room: what
 * all strings of a line take is never more than the line. */
#include "engine/intake/rcpt_scan.h"

#include "engine/base/js_scan.h"

enum member { MEMBER_TO = 1, MEMBER_VARS = 2, MEMBER_ID = 4 };

struct rcpt_scan {
    struct js_scan text;
    const char *start;
    struct rcpt_reader *reader;
};

static bool scan_string(struct rcpt_scan *scan, struct str *out)
{
    return js_scan_char(&scan->text, '"') &&
           js_scan_string(&scan->text, scan->reader->room + (scan->text.p - scan->start), out);
}

static bool scan_string_or_plain(struct rcpt_scan *scan, struct str *out)
{
    js_scan_space(&scan->text);
    return scan->text.p < scan->text.end && *scan->text.p == '"' ? scan_string(scan, out)
                                                                 : js_scan_plain(&scan->text, out);
}

static bool scan_to(struct rcpt_scan *scan, struct rcpt_spec *out)
{
    struct address *address = &scan->reader->address;
    struct err err;
    if (!scan_string(scan, &out->to) || !address_parse(out->to, address, &err) || address->idn)
        return false;
    out->domain = address_domain(address);
    return true;
}

static bool scan_vars(struct rcpt_scan *scan, struct rcpt_spec *out)
{
    struct vars_builder *vars = &scan->reader->vars;
    struct err err;
    if (!js_scan_char(&scan->text, '{'))
        return false;
    if (js_scan_char(&scan->text, '}'))
        return true;
    do {
        struct str name, value;
        if (!scan_string(scan, &name) || !js_scan_char(&scan->text, ':') ||
            !scan_string_or_plain(scan, &value) || !vars_add(vars, name, value, &err))
            return false;
    } while (js_scan_char(&scan->text, ','));
    out->vars = vars_blob(vars);
    return js_scan_char(&scan->text, '}');
}

static bool scan_id(struct rcpt_scan *scan, struct rcpt_spec *out)
{
    if (!scan_string_or_plain(scan, &out->id) || out->id.n > RCPT_ID_MAX)
        return false;
    for (size_t i = 0; i < out->id.n; i++) {
        if ((unsigned char)out->id.p[i] < ' ' || out->id.p[i] == 0x7f)
            return false;
    }
    /* true and false are no ids; as strings they are, and then a quote stands behind. */
    return scan->text.p[-1] == '"' || (out->id.p[0] != 't' && out->id.p[0] != 'f');
}

/* The member's value; 0: not one of these. */
static enum member scan_member(struct rcpt_scan *scan, struct rcpt_spec *out)
{
    struct str name;
    if (!scan_string(scan, &name) || !js_scan_char(&scan->text, ':'))
        return 0;
    if (str_eq(name, STR("to")))
        return scan_to(scan, out) ? MEMBER_TO : 0;
    if (str_eq(name, STR("vars")))
        return scan_vars(scan, out) ? MEMBER_VARS : 0;
    if (str_eq(name, STR("id")))
        return scan_id(scan, out) ? MEMBER_ID : 0;
    return 0;
}

bool rcpt_scan(struct rcpt_reader *reader, struct str line, struct rcpt_spec *out)
{
    struct rcpt_scan scan = {.text = {line.p, line.p + line.n}, .start = line.p, .reader = reader};
    unsigned seen = 0;
    if (line.n > sizeof reader->room || !js_scan_char(&scan.text, '{'))
        return false;
    *out = (struct rcpt_spec){0};
    vars_builder_clear(&reader->vars);
    do {
        enum member member = scan_member(&scan, out);
        if (member == 0 || (seen & member) != 0)
            return false;
        seen |= member;
    } while (js_scan_char(&scan.text, ','));
    if ((seen & MEMBER_TO) == 0 || !js_scan_char(&scan.text, '}'))
        return false;
    js_scan_space(&scan.text);
    return scan.text.p == scan.text.end;
}
