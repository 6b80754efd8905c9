/* compose.c - compiles a message from its fields. See compile.h.
 *
 * The boundary of a multipart holds "=_", which quoted-printable never yields (a `=` is followed by two
 * hexadecimal digits or a line end), whatever a variable brings; text that is kept as it is must not hold it
 * either. */
#include "engine/base/utf8.h"
#include "engine/message/compile.h"
#include "engine/message/encode.h"
#include "engine/message/merge.h"
#include "engine/message/mime.h"

#include <stdio.h>

#define BOUNDARY_MARK "=_"

/* Fields of the message in the order they are written. */
struct given {
    struct str name, value;
    enum field_kind kind;
    enum field_id id;
};

/* One line of text: controls, line ends among them, become spaces. */
static bool clean(struct compiler *c, struct str value, struct str *out)
{
    buf_clear(&c->value);
    for (size_t i = 0; i < value.n; i++) {
        char ch = value.p[i];
        buf_add_char(&c->value, (ch >= 0 && ch < ' ') || ch == 0x7f ? ' ' : ch);
    }
    *out = str_trim(buf_str(&c->value));
    return !c->value.failed || err_set(c->err, 0, "a header field is too large, or memory is out");
}

/* Message ids without angle brackets get them. */
static bool bracket_ids(struct compiler *c, struct str value, struct str *out)
{
    buf_clear(&c->decoded);
    bool failed = false;
    for (size_t i = 0; i < value.n;) {
        size_t start = i;
        while (i < value.n && value.p[i] != ' ' && value.p[i] != ',')
            i++;
        if (i > start) {
            struct str id = str_make(value.p + start, i - start);
            bool bare = str_find(id, '<', 0) == SIZE_MAX;
            failed |= !buf_add_z(&c->decoded, c->decoded.len > 0 ? " " : "") ||
                      !buf_add_z(&c->decoded, bare ? "<" : "") || !buf_add_str(&c->decoded, id) ||
                      !buf_add_z(&c->decoded, bare ? ">" : "");
        }
        i++;
    }
    *out = buf_str(&c->decoded);
    return !failed || err_set(c->err, 0, "a header field is too large, or memory is out");
}

static bool add_given(struct compiler *c, const struct given *field)
{
    struct str value;
    c->seen |= 1U << field->id;
    if (!clean(c, field->value, &value))
        return false;
    if (!utf8_valid(value))
        return err_set(c->err, 0, "%.*s is not UTF-8", STR_ARG(field->name));
    if (field->kind == FIELD_IDS && !merge_has_any(value) && !bracket_ids(c, value, &value))
        return false;
    bool strict = field->kind == FIELD_ADDRESSES;
    return compile_field(c, &c->head, field->name, field->kind, value, strict, NULL) ||
           err_prefix(c->err, "%.*s", STR_ARG(field->name));
}

static bool add_fields(struct compiler *c)
{
    const struct message_spec *spec = c->spec;
    const struct given fields[] = {
        {STR("From"), spec->from, FIELD_ADDRESSES, ID_FROM},
        {STR("Sender"), spec->sender, FIELD_ADDRESSES, ID_SENDER},
        {STR("Reply-To"), spec->reply_to, FIELD_ADDRESSES, ID_REPLY_TO},
        {STR("To"), spec->to, FIELD_ADDRESSES, ID_TO},
        {STR("Cc"), spec->cc, FIELD_ADDRESSES, ID_CC},
        {STR("Subject"), spec->subject, FIELD_TEXT, ID_SUBJECT},
        {STR("In-Reply-To"), spec->in_reply_to, FIELD_IDS, ID_IN_REPLY_TO},
        {STR("References"), spec->references, FIELD_IDS, ID_REFERENCES},
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        if (fields[i].value.p != NULL && !add_given(c, &fields[i]))
            return false;
    return true;
}

static unsigned removal(enum field_id id)
{
    return id == ID_BCC           ? RECORD_REMOVED_BCC
           : id == ID_RETURN_PATH ? RECORD_REMOVED_RETURN_PATH
           : id == ID_RECEIVED    ? RECORD_REMOVED_RECEIVED
                                  : 0;
}

static bool add_header(struct compiler *c, const struct message_header *header)
{
    struct field_type type = field_type_of(header->name);
    if (!mime_is_field_name(header->name) || header->name.n > 76 || !utf8_is_ascii(header->name))
        return err_set(c->err, 0, "headers: \"%.*s\" can't be the name of a header field",
                       header->name.n > 76 ? 76 : (int)header->name.n, header->name.n ? header->name.p : "");
    if (removal(type.id) != 0) {
        c->flags |= removal(type.id);
        return true;
    }
    if (str_starts_nocase(header->name, STR("Content-")) || type.id == ID_MIME_VERSION)
        return err_set(c->err, 0, "headers: %.*s is set by the engine and can't be given",
                       STR_ARG(header->name));
    if (type.id != ID_OTHER && c->seen & 1U << type.id)
        return err_set(c->err, 0, "headers: %.*s is given twice", STR_ARG(header->name));
    return add_given(c, &(struct given){header->name, header->value, type.kind, type.id}) ||
           err_prefix(c->err, "headers");
}

/* The recipient's own address, also when nothing else is merged. */
static bool add_recipient(struct compiler *c)
{
    bool merge = c->merge;
    c->merge = true;
    bool ok = add_given(c, &(struct given){STR("To"), STR("{{to}}"), FIELD_ADDRESSES, ID_TO});
    c->merge = merge;
    return ok;
}

/* Parts. */

static bool plan_text(struct compiler *c, struct leaf *leaf, struct str body, bool html)
{
    *leaf = (struct leaf){.body = body, .encoding = ENCODING_7BIT, .text = true, .html = html};
    leaf->charset = STR("utf-8");
    if (!utf8_valid(body))
        return err_set(c->err, 0, "%s is not UTF-8", html ? "html" : "text");
    if (!leaf_plan(c, leaf, NULL))
        return err_prefix(c->err, "%s", html ? "html" : "text");
    if (leaf->form == LEAF_KEPT && body.n > 0 && memmem(body.p, body.n, BOUNDARY_MARK, 2) != NULL) {
        leaf->form = LEAF_QP;
        leaf->content = body;
    }
    return true;
}

static bool add_text(struct compiler *c, struct emit *head, struct str body, bool html)
{
    struct leaf leaf;
    if (!plan_text(c, &leaf, body, html))
        return false;
    compile_plain_field(head, html ? "Content-Type: text/html; charset=utf-8"
                                   : "Content-Type: text/plain; charset=utf-8");
    compile_plain_field(head, leaf.form == LEAF_KEPT ? "Content-Transfer-Encoding: 7bit"
                                                     : "Content-Transfer-Encoding: quoted-printable");
    emit_line_end(&c->body);
    c->source = body; /* errors name its lines */
    bool ok = leaf_write(c, &c->body, &leaf, NULL) || err_prefix(c->err, "%s", html ? "html" : "text");
    c->source = (struct str){NULL, 0};
    return ok;
}

static bool add_alternative(struct compiler *c)
{
    char field[96], delimiter[48];
    uint64_t hash = str_hash(c->spec->text) ^ str_hash(c->spec->html);
    snprintf(field, sizeof field,
             "Content-Type: multipart/alternative; boundary=\"" BOUNDARY_MARK "%016llx\"",
             (unsigned long long)hash);
    snprintf(delimiter, sizeof delimiter, "--" BOUNDARY_MARK "%016llx", (unsigned long long)hash);
    compile_plain_field(&c->head, field);
    emit_line_end(&c->body);
    for (int html = 0; html < 2; html++) {
        emit_text(&c->body, str_of(delimiter));
        emit_line_end(&c->body);
        if (!add_text(c, &c->body, html ? c->spec->html : c->spec->text, html))
            return false;
        emit_line_end(&c->body);
    }
    emit_text(&c->body, str_of(delimiter));
    emit_text(&c->body, STR("--"));
    emit_line_end(&c->body);
    return true;
}

bool compile_composed(struct compiler *c)
{
    const struct message_spec *spec = c->spec;
    if (spec->from.p == NULL)
        return err_set(c->err, 0, "the message has no \"from\"");
    if (spec->text.p == NULL && spec->html.p == NULL)
        return err_set(c->err, 0, "the message has neither \"text\" nor \"html\"");
    if (!add_fields(c))
        return false;
    for (size_t i = 0; i < spec->header_count; i++)
        if (!add_header(c, &spec->headers[i]))
            return false;
    if (!(c->seen & 1U << ID_TO) && !add_recipient(c))
        return false;
    if (spec->text.p != NULL && spec->html.p != NULL)
        return add_alternative(c);
    return spec->text.p != NULL ? add_text(c, &c->head, spec->text, false)
                                : add_text(c, &c->head, spec->html, true);
}
