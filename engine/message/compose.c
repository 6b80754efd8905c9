/* compose.c - compiles a message from its fields: the header. compose_list.c has what is made of `list` and
 * `unsubscribe`, compose_parts.c the parts. See compile.h. */
#include "engine/base/utf8.h"
#include "engine/message/compile.h"
#include "engine/message/merge.h"
#include "engine/message/mime.h"

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

bool compose_field(struct compiler *c, struct str name, struct str value, enum field_kind kind,
                   enum field_id id)
{
    c->seen |= 1U << id;
    if (!clean(c, value, &value))
        return false;
    if (!utf8_valid(value))
        return err_set(c->err, 0, "%.*s is not UTF-8", STR_ARG(name));
    if (kind == FIELD_IDS && !merge_has_any(value) && !bracket_ids(c, value, &value))
        return false;
    return compile_field(c, &c->head, name, kind, value, kind == FIELD_ADDRESSES, NULL) ||
           err_prefix(c->err, "%.*s", STR_ARG(name));
}

/* Fields of the message in the order they are written. */
struct given {
    struct str name, value;
    enum field_kind kind;
    enum field_id id;
};

static struct str sender_given(const struct message_spec *spec)
{
    for (size_t i = 0; spec->sender.p == NULL && i < spec->header_count; i++)
        if (field_type_of(spec->headers[i].name).id == ID_SENDER)
            return spec->headers[i].value;
    return spec->sender;
}

/* RFC 5322, 3.6.2: of several authors it must be said who sent it. What holds variables is the platform's to
 * know. */
static bool sender_fits(struct compiler *c)
{
    struct str sender = sender_given(c->spec);
    if (sender.p == NULL && !merge_has_any(c->spec->from) && field_mailboxes(c->spec->from) > 1)
        return err_set(c->err, 0, "\"from\" names several authors: say in \"sender\" which of them sent it");
    if (sender.p != NULL && !merge_has_any(sender) && field_mailboxes(sender) > 1)
        return err_set(c->err, 0, "\"sender\" names several mailboxes: it is one");
    return true;
}

static bool add_fields(struct compiler *c)
{
    const struct message_spec *spec = c->spec;
    struct str sender = spec->sender;
    if (sender.p != NULL && str_eq(str_trim(sender), str_trim(spec->from)))
        sender.p = NULL;
    const struct given fields[] = {
        {STR("From"), spec->from, FIELD_ADDRESSES, ID_FROM},
        {STR("Sender"), sender, FIELD_ADDRESSES, ID_SENDER},
        {STR("Reply-To"), spec->reply_to, FIELD_ADDRESSES, ID_REPLY_TO},
        {STR("To"), spec->to, FIELD_ADDRESSES, ID_TO},
        {STR("Cc"), spec->cc, FIELD_ADDRESSES, ID_CC},
        {STR("Subject"), spec->subject, FIELD_TEXT, ID_SUBJECT},
        {STR("In-Reply-To"), spec->in_reply_to, FIELD_IDS, ID_IN_REPLY_TO},
        {STR("References"), spec->references, FIELD_IDS, ID_REFERENCES},
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        if (fields[i].value.p != NULL &&
            !compose_field(c, fields[i].name, fields[i].value, fields[i].kind, fields[i].id))
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
    if ((type.id != ID_OTHER && c->seen & 1U << type.id) || compose_list_has(c->spec, header->name))
        return err_set(c->err, 0, "headers: %.*s is given twice", STR_ARG(header->name));
    return compose_field(c, header->name, header->value, type.kind, type.id) || err_prefix(c->err, "headers");
}

/* The recipient's own address, also when nothing else is merged. */
static bool add_recipient(struct compiler *c)
{
    bool merge = c->merge;
    c->merge = true;
    bool ok = compose_field(c, STR("To"), STR("{{to}}"), FIELD_ADDRESSES, ID_TO);
    c->merge = merge;
    return ok;
}

bool compile_composed(struct compiler *c)
{
    const struct message_spec *spec = c->spec;
    if (spec->from.p == NULL)
        return err_set(c->err, 0, "the message has no \"from\"");
    if (spec->text.p == NULL && spec->html.p == NULL)
        return err_set(c->err, 0, "the message has neither \"text\" nor \"html\"");
    if (!sender_fits(c) || !add_fields(c) || !compose_list(c))
        return false;
    for (size_t i = 0; i < spec->header_count; i++)
        if (!add_header(c, &spec->headers[i]))
            return false;
    if (!(c->seen & 1U << ID_TO) && !add_recipient(c))
        return false;
    return compose_parts(c);
}
