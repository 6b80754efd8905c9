/* raw.c - compiles a whole RFC 5322 message: walks its parts, and writes each header and body. See compile.h.
 */
#include "engine/base/utf8.h"
#include "engine/message/compile.h"
#include "engine/message/decode.h"
#include "engine/message/field.h"
#include "engine/message/lines.h"
#include "engine/message/merge.h"
#include "engine/message/mime.h"

#include <stdlib.h>

/* A part as its header describes it. */
struct part {
    struct mime_type type;
    struct buf type_text; /* what `type` points into */
    bool multipart, message;
    const char *encoding; /* to be declared instead of what is there; NULL: stays */
    struct leaf leaf;
    const char *where; /* the body's place in the source */
    bool keeps_binary; /* what is in it may stay so */
};

static enum encoding encoding_of(struct str token)
{
    static const struct {
        struct str name;
        enum encoding encoding;
    } known[] = {
        {{"7bit", 4}, ENCODING_7BIT},     {{"8bit", 4}, ENCODING_8BIT},
        {{"binary", 6}, ENCODING_BINARY}, {{"quoted-printable", 16}, ENCODING_QP},
        {{"base64", 6}, ENCODING_BASE64},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (str_eq_nocase(token, known[i].name))
            return known[i].encoding;
    return token.n == 0 ? ENCODING_NONE : ENCODING_UNKNOWN;
}

static bool out_of_memory(struct compiler *c)
{
    return err_set(c->err, 0, "a header field is too large, or memory is out");
}

/* Reads what decides how the part is treated. `digest`: its default is message/rfc822 (RFC 2046 5.1.5). */
static bool read_part(struct compiler *c, const struct mime_fields *fields, bool digest, struct part *part)
{
    bool typed = false;
    for (size_t i = 0; i < fields->count; i++) {
        enum field_id id = field_type_of(fields->at[i].name).id;
        if ((id != ID_CONTENT_TYPE || typed) && id != ID_ENCODING && id != ID_DISPOSITION)
            continue;
        struct buf *to = id == ID_CONTENT_TYPE ? &part->type_text : &c->value;
        buf_clear(to);
        if (!mime_unfold(fields->at[i].value, to))
            return out_of_memory(c);
        if (id == ID_ENCODING)
            part->leaf.encoding = encoding_of(mime_token(buf_str(to)));
        else if (id == ID_DISPOSITION)
            part->leaf.attachment = str_eq_nocase(mime_token(buf_str(to)), STR("attachment"));
        else
            typed = true;
    }
    mime_parse_type(buf_str(&part->type_text), &part->type);
    struct str type = part->type.type, subtype = part->type.subtype;
    bool embedded = str_eq_nocase(type, STR("message")) &&
                    (str_eq_nocase(subtype, STR("rfc822")) || str_eq_nocase(subtype, STR("global")));
    part->multipart = str_eq_nocase(type, STR("multipart")) && part->type.boundary_n > 0;
    part->message = (embedded || (digest && !typed)) && part->leaf.encoding <= ENCODING_BINARY;
    part->leaf.text = str_eq_nocase(type, STR("text")) || !typed;
    part->leaf.html = str_eq_nocase(subtype, STR("html")) || str_eq_nocase(subtype, STR("x-amp-html")) ||
                      str_eq_nocase(subtype, STR("xml"));
    part->leaf.charset = part->type.charset;
    return true;
}

/* Fields. */

static void put_clean(struct compiler *c, struct field_writer *w, struct str text)
{
    field_put(w, c->spec->seven_bit ? compile_clean_line(c, text) : text);
}

/* As it came: its lines are folded where too long, white-space lines and controls go. */
static void write_as_given(struct compiler *c, struct emit *e, const struct mime_field *field, bool address)
{
    struct field_writer w;
    struct lines lines = lines_of(field->value);
    struct str line;
    bool ended, first = true;
    emit_text(e, field->name);
    emit_text(e, STR(":"));
    field_begin(&w, &e->bytes, &c->text, field->name.n + 1);
    for (; lines_next(&lines, &line, &ended); first = false) {
        if (!first)
            field_break(&w);
        put_clean(c, &w, line);
    }
    field_end(&w);
    emit_encoded(e);
    c->flags |= w.has_8bit ? RECORD_HAS_8BIT : 0U;
    c->flags |= w.has_8bit && address ? RECORD_NEEDS_SMTPUTF8 : 0U;
}

/* Writes a field, merged if it holds variables; these may also be hidden in encoded words. */
static bool write_field(struct compiler *c, struct emit *e, const struct mime_field *field,
                        struct field_type type)
{
    bool decodes = type.kind == FIELD_TEXT || type.kind == FIELD_ADDRESSES || type.kind == FIELD_LIST_ID;
    bool foreign = false;
    bool recode = c->spec->seven_bit && decodes && !utf8_is_ascii(field->value);
    if (!recode && !(c->merge && (merge_has_any(field->value) ||
                                  (decodes && memmem(field->value.p, field->value.n, "=?", 2) != NULL)))) {
        write_as_given(c, e, field, type.kind == FIELD_ADDRESSES);
        return true;
    }
    buf_clear(&c->value);
    buf_clear(&c->decoded);
    if (!mime_unfold(field->value, &c->value) ||
        (decodes && !words_decode(buf_str(&c->value), type.kind != FIELD_TEXT, &c->decoded, &foreign)))
        return out_of_memory(c);
    struct str value = str_trim(buf_str(decodes ? &c->decoded : &c->value));
    bool merged = c->merge && merge_has_any(value);
    if (!merged && (!recode || foreign || !utf8_valid(value))) {
        write_as_given(c, e, field, type.kind == FIELD_ADDRESSES);
        return true;
    }
    if (merged && type.kind == FIELD_FIXED)
        return compile_fail(c, field->name.p, "%.*s may hold no variables", STR_ARG(field->name));
    if (merged && (foreign || !utf8_valid(value)))
        return compile_fail(c, field->name.p, "%.*s holds a variable and text that is not UTF-8",
                            STR_ARG(field->name));
    return compile_field(c, e, field->name, type.kind, value, false, field->name.p);
}

/* Content-Type with its charset made UTF-8. */
static void write_utf8_type(struct compiler *c, struct emit *e, const struct part *part)
{
    struct str text = str_trim(buf_str(&part->type_text)), old = part->type.charset_whole;
    struct field_writer w;
    if (part->type.type.n == 0) { /* none, or malformed */
        compile_plain_field(e, "Content-Type: text/plain; charset=utf-8");
        return;
    }
    emit_text(e, STR("Content-Type:"));
    field_begin(&w, &e->bytes, &c->text, 13);
    if (old.n == 0) {
        put_clean(c, &w, text);
        field_put(&w, text.p[text.n - 1] == ';' ? STR(" charset=utf-8") : STR("; charset=utf-8"));
    } else {
        put_clean(c, &w, str_make(text.p, (size_t)(old.p - text.p)));
        field_put(&w, STR("charset=utf-8"));
        const char *rest = old.p + old.n;
        put_clean(c, &w, str_make(rest, (size_t)(text.p + text.n - rest)));
    }
    field_end(&w);
    emit_encoded(e);
    c->flags |= w.has_8bit ? RECORD_HAS_8BIT : 0U;
}

/* For this engine, from a client that speaks SMTP. */
static bool is_ours(const struct compiler *c, struct str name)
{
    return c->spec->trace.n > 0 && str_starts_nocase(name, STR("X-Postrider-"));
}

static unsigned removal(const struct compiler *c, enum field_id id)
{
    switch (id) {
    case ID_BCC:
        return RECORD_REMOVED_BCC;
    case ID_RETURN_PATH:
        return RECORD_REMOVED_RETURN_PATH;
    case ID_RECEIVED:
        return c->spec->trace.n > 0 ? 0 : RECORD_REMOVED_RECEIVED;
    default:
        return 0;
    }
}

static bool write_header(struct compiler *c, struct emit *e, const struct mime_fields *fields,
                         const struct part *part, bool top)
{
    if (top && c->spec->trace.n > 0) {
        emit_text(e, c->spec->trace);
        emit_encoded(e);
    }
    for (size_t i = 0; i < fields->count; i++) {
        struct field_type type = field_type_of(fields->at[i].name);
        if (top) {
            c->seen |= 1U << type.id;
            c->flags |= removal(c, type.id);
            if (removal(c, type.id) != 0 || is_ours(c, fields->at[i].name))
                continue;
        }
        if ((type.id == ID_ENCODING && part->encoding != NULL) ||
            (type.id == ID_CONTENT_TYPE && part->leaf.declare_utf8))
            continue;
        if (!write_field(c, e, &fields->at[i], type))
            return false;
    }
    if (part->leaf.declare_utf8)
        write_utf8_type(c, e, part);
    if (part->encoding != NULL) {
        emit_text(e, STR("Content-Transfer-Encoding: "));
        emit_text(e, str_of(part->encoding));
        emit_line_end(e);
    }
    return true;
}

/* Parts. */

static bool write_entity(struct compiler *c, struct str entity, unsigned depth, bool digest, bool binary);

static bool write_multipart(struct compiler *c, const struct part *part, unsigned depth)
{
    struct emit *e = &c->body;
    struct str boundary = str_make(part->type.boundary, part->type.boundary_n), preamble, child;
    struct mime_parts parts;
    bool digest = str_eq_nocase(part->type.subtype, STR("digest"));
    if (!mime_parts_begin(&parts, part->leaf.body, boundary, &preamble)) {
        compile_lines(c, e, part->leaf.body);
        return true;
    }
    if (preamble.n > 0) {
        compile_lines(c, e, preamble);
        emit_line_end(e);
    }
    while (mime_parts_next(&parts, &child)) {
        emit_text(e, STR("--"));
        emit_text(e, boundary);
        emit_line_end(e);
        if (!write_entity(c, child, depth + 1, digest, part->keeps_binary))
            return false;
        emit_line_end(e);
    }
    emit_text(e, STR("--"));
    emit_text(e, boundary);
    emit_text(e, STR("--"));
    struct str epilogue = lines_rest(&parts.lines);
    if (str_trim(epilogue).n > 0) {
        emit_line_end(e);
        compile_lines(c, e, epilogue);
    }
    return true;
}

static bool write_body(struct compiler *c, const struct part *part, unsigned depth)
{
    emit_line_end(&c->body);
    if (part->multipart)
        return write_multipart(c, part, depth);
    if (part->message)
        return write_entity(c, part->leaf.body, depth + 1, false, false);
    return leaf_write(c, &c->body, &part->leaf, part->where);
}

static bool plan_part(struct compiler *c, struct part *part)
{
    if (part->multipart || part->message) {
        bool lower = part->leaf.encoding == ENCODING_8BIT && c->spec->seven_bit;
        part->keeps_binary =
            part->multipart && part->leaf.may_be_binary && part->leaf.encoding == ENCODING_BINARY;
        if (part->keeps_binary)
            c->flags |= RECORD_HAS_BINARY;
        else if (lower || part->leaf.encoding == ENCODING_BINARY)
            part->encoding = c->spec->seven_bit ? "7bit" : "8bit";
        return true;
    }
    if (!leaf_plan(c, &part->leaf, part->where))
        return false;
    part->encoding = leaf_encoding(&part->leaf);
    return true;
}

/* A header and its body: the message itself (depth 0), a part of a multipart, an embedded message. binary:
 * it may stay so; at depth 0 only a multipart can. */
static bool write_entity(struct compiler *c, struct str entity, unsigned depth, bool digest, bool binary)
{
    struct mime_fields fields = {0};
    struct part part = {.encoding = NULL};
    if (depth > MIME_DEPTH_MAX)
        return compile_fail(c, entity.p, "parts are nested more than %d deep", MIME_DEPTH_MAX);
    if (++c->parts > MIME_PARTS_MAX)
        return compile_fail(c, entity.p, "the message has more than %d parts", MIME_PARTS_MAX);
    buf_init(&part.type_text, CONTENT_MAX);
    bool ok = mime_read_header(entity, &fields, &part.leaf.body, c->err);
    part.where = part.leaf.body.p;
    ok = ok && read_part(c, &fields, digest, &part);
    part.leaf.may_be_binary = binary && (part.multipart || depth > 0);
    ok = ok && plan_part(c, &part) &&
         write_header(c, depth == 0 ? &c->head : &c->body, &fields, &part, depth == 0) &&
         write_body(c, &part, depth);
    free(fields.at);
    buf_free(&part.type_text);
    return ok;
}

/* What may stand before the header: a byte order mark, an mbox "From " line, blank lines. */
static struct str skip_wrapping(struct str raw)
{
    if (str_starts(raw, STR("\xef\xbb\xbf")))
        raw = str_make(raw.p + 3, raw.n - 3);
    struct lines lines = lines_of(raw);
    struct str line, rest = raw;
    bool ended;
    while (lines_next(&lines, &line, &ended)) {
        bool mbox = str_starts(line, STR("From ")) &&
                    !str_starts(str_trim(str_make(line.p + 4, line.n - 4)), STR(":"));
        if (line.n > 0 && !mbox)
            break;
        rest = lines_rest(&lines);
    }
    return rest;
}

bool compile_raw(struct compiler *c)
{
    c->source = c->spec->raw;
    return write_entity(c, skip_wrapping(c->source), 0, false, c->spec->keep_binary && !c->spec->seven_bit);
}

bool compile_embedded(struct compiler *c, struct str message)
{
    return write_entity(c, skip_wrapping(message), 1, false, false);
}
