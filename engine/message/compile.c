/* compile.c - template_compile, and header fields. See template.h and compile.h.
 *
 * A message is read part by part (raw.c) or composed (compose.c). Each field and each part is either final,
 * then it goes into the literals, or holds variables, then ops are left for render.c. Both use the same
 * writers, so that a field looks the same whether its text was known or came with the recipient. */
#include "engine/message/compile.h"

#include "engine/base/units.h"
#include "engine/message/address.h"
#include "engine/message/field.h"
#include "engine/message/lines.h"
#include "engine/message/merge.h"
#include "engine/message/mime.h"

#include <stddef.h>
#include <stdio.h>

bool compile_fail(struct compiler *c, const char *where, const char *format, ...)
{
    char text[ERR_TEXT_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (where == NULL || where < c->source.p || where > c->source.p + c->source.n)
        return err_set(c->err, 0, "%s", text);
    struct lines lines = lines_of(str_make(c->source.p, (size_t)(where - c->source.p)));
    struct str line;
    bool ended;
    size_t number = 1;
    while (lines_next(&lines, &line, &ended))
        number += ended;
    return err_set(c->err, 0, "line %zu: %s", number, text);
}

/* The value with marks in place of variables; these are queued. */
static bool mark_variables(struct compiler *c, struct str value, const char *where)
{
    struct merge_variable v = {.end = 0};
    const char *why;
    buf_clear(&c->marked);
    buf_clear(&c->queue);
    for (;;) {
        size_t at = v.end;
        enum merge_found found = merge_next(value, at, &v, &why);
        if (found == MERGE_MALFORMED)
            return compile_fail(c, where, "%s", why);
        size_t end = found == MERGE_NONE ? value.n : v.start;
        buf_add(&c->marked, value.p + at, end - at);
        if (found == MERGE_NONE)
            return !c->marked.failed || err_set(c->err, 0, "a header field is too large");
        buf_add_char(&c->marked, SCAN_MARK);
        if (!buf_add(&c->queue, &v, sizeof v))
            return err_set(c->err, 0, "a header field has too many variables");
    }
}

/* Records pieces as ops. */
struct op_sink {
    struct scan_sink sink;
    struct compiler *c;
    struct emit *e;
    size_t next; /* variable of the queue */
    bool failed;
};

static void record_piece(struct scan_sink *base, enum record_kind kind, unsigned flags, struct str text)
{
    struct op_sink *sink = (struct op_sink *)(void *)base;
    struct record_op op = {.kind = (uint8_t)kind, .flags = (uint8_t)flags};
    if (kind == RECORD_TEXT_VALUE || kind == RECORD_RAW_VALUE) {
        struct merge_variable v;
        memcpy(&v, sink->c->queue.data + sink->next, sizeof v);
        sink->next += sizeof v;
        size_t name = names_add(&sink->c->names, v.name, v.fallback.p == NULL);
        sink->failed |= name == SIZE_MAX;
        op.name = (uint16_t)name;
        op.flags |= (v.fallback.p != NULL ? OP_DEFAULT : 0) | (v.url ? OP_URL : 0);
        sink->c->variables++;
        emit_text_op(sink->e, op, v.fallback);
    } else if (kind == RECORD_TEXT_END || kind == RECORD_PHRASE_END) {
        emit_op(sink->e, op);
    } else if (text.n > 0) {
        emit_text_op(sink->e, op, text);
    }
}

static bool write_now(struct compiler *c, struct emit *e, struct str name, enum field_kind kind,
                      struct str value, bool strict)
{
    struct field_writer w;
    field_begin(&w, &e->bytes, &c->text, name.n + 1);
    struct field_sink sink = field_sink_of(&w);
    bool ok = field_scan(kind, value, strict, &sink.sink, c->err);
    field_end(&w);
    emit_encoded(e);
    c->flags |= (w.has_8bit ? RECORD_HAS_8BIT : 0U) | (w.needs_smtputf8 ? RECORD_NEEDS_SMTPUTF8 : 0U);
    return ok;
}

bool compile_field(struct compiler *c, struct emit *e, struct str name, enum field_kind kind,
                   struct str value, bool strict, const char *where)
{
    emit_text(e, name);
    emit_text(e, STR(":"));
    if (!c->merge || !merge_has_any(value))
        return write_now(c, e, name, kind, value, strict);
    if (!mark_variables(c, value, where))
        return false;
    struct op_sink sink = {.sink = {record_piece}, .c = c, .e = e};
    emit_op(e, (struct record_op){.kind = RECORD_FIELD, .n = (uint32_t)name.n + 1});
    if (!field_scan(kind, buf_str(&c->marked), strict, &sink.sink, c->err))
        return false;
    if (sink.failed)
        return err_set(c->err, 0, "the message has more than %d different variables", TEMPLATE_NAMES_MAX);
    emit_op(e, (struct record_op){.kind = RECORD_FIELD_END});
    return true;
}

void compile_plain_field(struct emit *e, const char *line)
{
    emit_text(e, str_of(line));
    emit_line_end(e);
}

static void add_date(struct compiler *c)
{
    char date[UNITS_TEXT_MAX], line[UNITS_TEXT_MAX + 8];
    if (mail_date_format(c->spec->date_ms, date) == 0)
        return;
    snprintf(line, sizeof line, "Date: %s", date);
    compile_plain_field(&c->head, line);
}

/* One a recipient if recipients differ, else one a job. */
static bool add_message_id(struct compiler *c)
{
    char domain[DOMAIN_MAX + 1], value[2 * NAME_MAX_BYTES + DOMAIN_MAX];
    size_t n;
    if (!domain_to_ascii(c->spec->id_domain, domain, &n, c->err))
        return err_prefix(c->err, "the domain for a Message-ID");
    bool each = c->variables > 0 || c->spec->merge == MESSAGE_MERGE_YES;
    if (!each && c->spec->job.n > NAME_MAX_BYTES)
        return err_set(c->err, 0, "the job's id is too long for a Message-ID");
    if (each)
        snprintf(value, sizeof value, "<{{rid}}@%s>", domain);
    else
        snprintf(value, sizeof value, "<%.*s@%s>", STR_ARG(c->spec->job), domain);
    bool merge = c->merge;
    c->merge = each;
    bool ok = compile_field(c, &c->head, STR("Message-ID"), FIELD_IDS, str_of(value), false, NULL);
    c->merge = merge;
    return ok;
}

static bool add_feedback_id(struct compiler *c)
{
    bool merge = c->merge;
    c->merge = true;
    bool ok = compile_field(c, &c->head, STR("Feedback-ID"), FIELD_RAW, c->spec->feedback_id, false, NULL);
    c->merge = merge;
    return ok || err_prefix(c->err, "Feedback-ID");
}

static bool finish(struct compiler *c, struct buf *out)
{
    if (c->spec->feedback_id.n > 0 && !(c->seen & 1U << ID_FEEDBACK_ID) && !add_feedback_id(c))
        return false;
    if (!(c->seen & 1U << ID_DATE))
        add_date(c);
    if (!(c->seen & 1U << ID_MIME_VERSION))
        compile_plain_field(&c->head, "MIME-Version: 1.0");
    if (!(c->seen & 1U << ID_MESSAGE_ID) && !add_message_id(c))
        return false;
    if (!(c->seen & 1U << ID_FROM))
        c->flags |= RECORD_LACKS_FROM;
    if (c->seen & 1U << ID_DKIM_SIGNATURE)
        c->flags |= RECORD_HAS_SIGNATURE;
    if (c->seen & 1U << ID_TLS_REQUIRED) /* No is all that it can say (RFC 8689 5) */
        c->flags |= RECORD_TLS_OPTIONAL;
    c->flags |= c->spec->require_dkim ? RECORD_REQUIRE_DKIM : 0;
    if (!c->body.line_start)
        emit_line_end(&c->body);
    return record_write(&c->head, &c->body, &c->names, c->flags, out, c->err);
}

static bool has_fields(const struct message_spec *spec)
{
    return spec->from.p || spec->sender.p || spec->to.p || spec->cc.p || spec->reply_to.p ||
           spec->in_reply_to.p || spec->references.p || spec->subject.p || spec->text.p || spec->html.p ||
           spec->amp.p || spec->unsubscribe_url.p || spec->unsubscribe_mailto.p ||
           spec->header_count + spec->list_count + spec->attachment_count > 0 ||
           spec->priority != MESSAGE_PRIORITY_UNSET;
}

bool template_compile(const struct message_spec *spec, struct buf *out, struct err *err)
{
    struct compiler c;
    memset(&c, 0, offsetof(struct compiler, names));
    c.spec = spec;
    c.err = err;
    c.merge = spec->merge != MESSAGE_MERGE_NO;
    if (spec->raw.p && has_fields(spec))
        return err_set(err, 0, "a message is either raw or given by its fields, not both");
    struct buf *scratch[] = {&c.value, &c.decoded, &c.marked, &c.text, &c.queue, &c.content};
    for (size_t i = 0; i < sizeof scratch / sizeof scratch[0]; i++)
        buf_init(scratch[i], CONTENT_MAX);
    emit_init(&c.head, 1024);
    emit_init(&c.body, spec->raw.p ? spec->raw.n + 64 : 0);
    names_init(&c.names);
    bool ok = (spec->raw.p ? compile_raw(&c) : compile_composed(&c)) && finish(&c, out);
    for (size_t i = 0; i < sizeof scratch / sizeof scratch[0]; i++)
        buf_free(scratch[i]);
    emit_free(&c.head);
    emit_free(&c.body);
    names_free(&c.names);
    return ok;
}
