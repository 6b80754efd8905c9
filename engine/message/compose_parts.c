/* compose_parts.c - compiles the parts of a message from its fields. See compile.h.
 *
 * The boundary of a multipart holds "=_", which quoted-printable never yields (a `=` is followed by two
 * hexadecimal digits or a line end), whatever a variable brings, and base64 has no `_`; text that is kept as
 * it is must not hold it either. Attachments go out as base64, byte by byte; message/rfc822, which must not
 * be encoded (RFC 2046 5.2.1), as what it is, part by part. */
#include "engine/base/utf8.h"
#include "engine/message/compile.h"
#include "engine/message/encode.h"
#include "engine/message/field.h"
#include "engine/message/html_text.h"
#include "engine/message/mime.h"

#include <stdio.h>

#define BOUNDARY_MARK "=_"
#define NAME_PIECE    50 /* bytes of a file name in one parameter, so that each fits on a line */

enum multipart { MIXED, ALTERNATIVE, RELATED };

struct parts {
    struct compiler *c;
    uint64_t hash; /* of the boundaries */
    struct str text, html, amp;
    size_t shown, attached; /* how many attachments belong to the html; and how many do not */
};

/* ---- multiparts ---- */

static void begin_multipart(struct parts *p, struct emit *head, enum multipart kind)
{
    static const char *const types[] = {
        [MIXED] = "multipart/mixed",
        [ALTERNATIVE] = "multipart/alternative",
        [RELATED] = "multipart/related; type=\"text/html\"",
    };
    char boundary[64];
    snprintf(boundary, sizeof boundary, " boundary=\"" BOUNDARY_MARK "%d%016llx\"", (int)kind,
             (unsigned long long)p->hash);
    emit_text(head, STR("Content-Type: "));
    emit_text(head, str_of(types[kind]));
    emit_text(head, STR(";"));
    emit_line_end(head);
    compile_plain_field(head, boundary);
    emit_line_end(&p->c->body);
}

static void put_delimiter(struct parts *p, enum multipart kind, const char *end)
{
    char delimiter[48];
    snprintf(delimiter, sizeof delimiter, "--" BOUNDARY_MARK "%d%016llx%s", (int)kind,
             (unsigned long long)p->hash, end);
    emit_text(&p->c->body, str_of(delimiter));
}

static void begin_part(struct parts *p, enum multipart kind)
{
    put_delimiter(p, kind, "");
    emit_line_end(&p->c->body);
}

static void end_part(struct parts *p)
{
    emit_line_end(&p->c->body);
}

/* ---- text ---- */

static bool plan_text(struct compiler *c, struct leaf *leaf, struct str body, bool html, const char *what)
{
    *leaf = (struct leaf){.body = body, .encoding = ENCODING_7BIT, .text = true, .html = html};
    leaf->charset = STR("utf-8");
    if (!utf8_valid(body))
        return err_set(c->err, 0, "%s is not UTF-8", what);
    if (!leaf_plan(c, leaf, NULL))
        return err_prefix(c->err, "%s", what);
    if (leaf->form == LEAF_KEPT && body.n > 0 && memmem(body.p, body.n, BOUNDARY_MARK, 2) != NULL) {
        leaf->form = LEAF_QP;
        leaf->content = body;
    }
    return true;
}

static bool add_text(struct parts *p, struct emit *head, struct str body, const char *subtype,
                     const char *what)
{
    struct compiler *c = p->c;
    struct leaf leaf;
    char field[64];
    bool html = strcmp(what, "text") != 0;
    if (!plan_text(c, &leaf, body, html, what))
        return false;
    const char *encoding = leaf_encoding(&leaf);
    snprintf(field, sizeof field, "Content-Type: text/%s; charset=utf-8", subtype);
    compile_plain_field(head, field);
    snprintf(field, sizeof field, "Content-Transfer-Encoding: %s", encoding ? encoding : "7bit");
    compile_plain_field(head, field);
    emit_line_end(&c->body);
    c->source = body; /* errors name its lines */
    bool ok = leaf_write(c, &c->body, &leaf, NULL) || err_prefix(c->err, "%s", what);
    c->source = (struct str){NULL, 0};
    return ok;
}

/* ---- attachments ---- */

/* Fits, quoted, on a line; not what readers take for an encoded word, though none belongs there. */
static bool is_plain_name(struct str name)
{
    for (size_t i = 0; i < name.n; i++)
        if (name.p[i] < ' ' || name.p[i] == 0x7f ||
            (name.p[i] == '=' && i + 1 < name.n && name.p[i + 1] == '?'))
            return false;
    return name.n <= NAME_PIECE;
}

/* How many bytes of the name go into the next parameter: whole characters, three columns for most of them. */
static size_t name_piece(struct str name)
{
    size_t n = 0;
    while (n < name.n && n < NAME_PIECE / 3) {
        size_t step = utf8_length(name.p + n, name.n - n);
        n += step ? step : 1;
    }
    return n;
}

static void put_percent(struct emit *e, struct str s)
{
    char code[3 * NAME_PIECE];
    emit_text(e, str_make(code, (size_t)(percent_encode(code, s) - code)));
}

/* filename="…", or as RFC 2231 asks where it is no plain name: filename*0*=utf-8''… */
static void put_file_name(struct emit *e, struct str name)
{
    char parameter[48];
    if (is_plain_name(name)) {
        emit_text(e, STR(";"));
        emit_line_end(e);
        emit_text(e, STR(" filename=\""));
        for (size_t i = 0; i < name.n; i++) {
            if (name.p[i] == '"' || name.p[i] == '\\')
                emit_text(e, STR("\\"));
            emit_text(e, str_make(name.p + i, 1));
        }
        emit_text(e, STR("\""));
        return;
    }
    bool whole = name_piece(name) == name.n;
    for (size_t i = 0; name.n > 0; i++) {
        size_t n = name_piece(name);
        snprintf(parameter, sizeof parameter, whole ? " filename*=" : " filename*%zu*=", i);
        emit_text(e, STR(";"));
        emit_line_end(e);
        emit_text(e, str_of(parameter));
        emit_text(e, i == 0 ? STR("utf-8''") : STR(""));
        put_percent(e, str_make(name.p, n));
        name = str_make(name.p + n, name.n - n);
    }
}

static bool wrong_attachment(struct compiler *c, size_t index, const char *why)
{
    return err_set(c->err, 0, "attachments: number %zu: %s", index + 1, why);
}

static bool check_attachment(struct compiler *c, size_t index, const struct message_attachment *a,
                             struct mime_type *type)
{
    mime_parse_type(a->type, type);
    if (type->type.n == 0 || type->subtype.n == 0 || !utf8_is_ascii(a->type) || a->type.n > 500)
        return wrong_attachment(c, index, "\"type\" must be a media type such as \"image/png\"");
    for (size_t i = 0; i < a->type.n; i++)
        if (a->type.p[i] < ' ' || a->type.p[i] == 0x7f)
            return wrong_attachment(c, index, "\"type\" holds a control character");
    if (str_eq_nocase(type->type, STR("multipart")))
        return wrong_attachment(c, index, "a multipart can't be attached: give the message as \"raw\"");
    for (size_t i = 0; i < a->cid.n; i++)
        if (a->cid.p[i] <= ' ' || a->cid.p[i] == 0x7f || strchr("<>()\"\\", a->cid.p[i]) != NULL)
            return wrong_attachment(c, index,
                                    "\"cid\" is of ASCII letters, digits and signs, as in the "
                                    "html's cid:logo@example.com");
    if (a->cid.p != NULL && (a->cid.n == 0 || a->cid.n > MIME_NAME_MAX))
        return wrong_attachment(c, index, "\"cid\" is empty or too long");
    return utf8_valid(a->filename) || wrong_attachment(c, index, "\"filename\" is not UTF-8");
}

static void put_attachment_header(struct parts *p, const struct message_attachment *a, bool shown,
                                  const char *encoding)
{
    struct compiler *c = p->c;
    struct emit *e = &c->body;
    struct field_writer w;
    emit_text(e, STR("Content-Type:"));
    field_begin(&w, &e->bytes, &c->text, 13);
    field_put(&w, a->type);
    field_end(&w);
    emit_encoded(e);
    emit_text(e, STR("Content-Transfer-Encoding: "));
    compile_plain_field(e, encoding);
    if (a->cid.p != NULL) {
        emit_text(e, STR("Content-ID: <"));
        emit_text(e, a->cid);
        compile_plain_field(e, ">");
    }
    emit_text(e, shown ? STR("Content-Disposition: inline") : STR("Content-Disposition: attachment"));
    if (a->filename.n > 0)
        put_file_name(e, a->filename);
    emit_line_end(e);
    emit_line_end(e);
}

static bool add_embedded(struct parts *p, size_t index, const struct message_attachment *a)
{
    struct compiler *c = p->c;
    bool merge = c->merge, ascii = utf8_is_ascii(a->content);
    put_attachment_header(p, a, false, ascii || c->spec->seven_bit ? "7bit" : "8bit");
    c->merge = false; /* what is attached is not merged */
    bool ok = compile_embedded(c, a->content);
    c->merge = merge;
    return ok || err_prefix(c->err, "attachments: number %zu", index + 1);
}

static bool add_attachment(struct parts *p, size_t index, bool shown)
{
    struct compiler *c = p->c;
    struct message_attachment a = c->spec->attachments[index];
    struct mime_type type;
    if (a.type.p == NULL)
        a.type = STR("application/octet-stream");
    if (!check_attachment(c, index, &a, &type))
        return false;
    bool message = str_eq_nocase(type.type, STR("message"));
    if (message && (str_eq_nocase(type.subtype, STR("rfc822")) || str_eq_nocase(type.subtype, STR("global"))))
        return add_embedded(p, index, &a);
    if (message && !utf8_is_ascii(a.content))
        return wrong_attachment(c, index, "a message/… must be ASCII: its type allows no encoding");
    put_attachment_header(p, &a, shown, message ? "7bit" : "base64");
    if (message) {
        compile_lines(c, &c->body, a.content);
        return true;
    }
    if (buf_add_base64(&c->body.bytes, a.content) && a.content.n > 0)
        c->body.bytes.len -= 2; /* the last line end is the boundary's */
    emit_encoded(&c->body);
    return true;
}

/* Those that the html shows, or the others. */
static bool add_attachments(struct parts *p, enum multipart kind)
{
    for (size_t i = 0; i < p->c->spec->attachment_count; i++) {
        bool shown = p->html.p != NULL && p->c->spec->attachments[i].cid.p != NULL;
        if (shown != (kind == RELATED))
            continue;
        begin_part(p, kind);
        if (!add_attachment(p, i, shown))
            return false;
        end_part(p);
    }
    put_delimiter(p, kind, "--");
    return true;
}

/* ---- the whole ---- */

static bool add_html(struct parts *p, struct emit *head)
{
    if (p->shown == 0)
        return add_text(p, head, p->html, "html", "html");
    begin_multipart(p, head, RELATED);
    begin_part(p, RELATED);
    if (!add_text(p, &p->c->body, p->html, "html", "html"))
        return false;
    end_part(p);
    return add_attachments(p, RELATED);
}

static bool add_alternative(struct parts *p, struct emit *head)
{
    struct emit *e = &p->c->body;
    bool text = p->text.p != NULL, html = p->html.p != NULL, amp = p->amp.p != NULL;
    if (text + html + amp == 1)
        return html ? add_html(p, head) : add_text(p, head, p->text, "plain", "text");
    begin_multipart(p, head, ALTERNATIVE);
    for (int i = 0; i < 3; i++) { /* from the plainest to the richest; AMP not last, by its own rules */
        if (!(i == 0 ? text : i == 1 ? amp : html))
            continue;
        begin_part(p, ALTERNATIVE);
        if (!(i == 0   ? add_text(p, e, p->text, "plain", "text")
              : i == 1 ? add_text(p, e, p->amp, "x-amp-html", "amp")
                       : add_html(p, e)))
            return false;
        end_part(p);
    }
    put_delimiter(p, ALTERNATIVE, "--");
    return true;
}

static bool add_mixed(struct parts *p)
{
    struct compiler *c = p->c;
    if (p->attached == 0)
        return add_alternative(p, &c->head);
    begin_multipart(p, &c->head, MIXED);
    begin_part(p, MIXED);
    if (!add_alternative(p, &c->body))
        return false;
    end_part(p);
    return add_attachments(p, MIXED);
}

/* The text that stands in for an html: none if it shows nothing but pictures. */
static bool make_text(struct parts *p, struct buf *made)
{
    if (p->html.p == NULL || p->text.p != NULL)
        return true;
    if (!html_to_text(p->html, made))
        return err_set(p->c->err, 0, "html is too large for a text to be made of it: give \"text\" too");
    if (made->len > 0)
        p->text = buf_str(made);
    return true;
}

bool compose_parts(struct compiler *c)
{
    const struct message_spec *spec = c->spec;
    struct parts p = {.c = c, .text = spec->text, .html = spec->html, .amp = spec->amp};
    struct buf made;
    if (p.amp.p != NULL && p.html.p == NULL)
        return err_set(c->err, 0, "\"amp\" needs \"html\" beside it, for readers that do not know AMP");
    if (c->parts + spec->attachment_count > MIME_PARTS_MAX)
        return err_set(c->err, 0, "there are more than %d attachments", MIME_PARTS_MAX);
    p.hash = str_hash(p.text) ^ str_hash(p.html) ^ str_hash(p.amp);
    for (size_t i = 0; i < spec->attachment_count; i++) {
        p.hash ^= str_hash_seeded(spec->attachments[i].content, i + 1);
        p.shown += p.html.p != NULL && spec->attachments[i].cid.p != NULL;
    }
    p.attached = spec->attachment_count - p.shown;
    buf_init(&made, CONTENT_MAX);
    bool ok = make_text(&p, &made);
    if (p.text.p != NULL && p.text.n == 0 && p.html.p != NULL)
        p.text.p = NULL; /* none is wanted */
    ok = ok && add_mixed(&p);
    buf_free(&made);
    return ok;
}
