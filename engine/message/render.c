/* render.c - a template and a recipient to a list of pieces. See template.h, record.h.
 *
 * Literals are listed where they lie. What variables bring is encoded into one buffer, which may move while
 * it grows: its pieces are listed by offset, marked in their length, and given their address at the end. */
#include "engine/message/template.h"

#include "engine/message/base64_merge.h"
#include "engine/message/encode.h"
#include "engine/message/field.h"
#include "engine/message/lookup.h"
#include "engine/message/record.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define OWN (SIZE_MAX / 2 + 1) /* in iov_len: the piece lies in the rendition's buffer */

struct render {
    const struct template *t;
    struct rendition *out;
    struct err *err;
    bool unstuffed;
    size_t dots;  /* that stuffing added */
    unsigned col; /* of a line of quoted-printable or base64 */
    struct base64_rest rest;
    struct field_writer field;
    size_t field_at;
};

static bool out_of_memory(struct err *err)
{
    return err_set(err, ENOMEM, "out of memory while a message was rendered");
}

static bool begin(struct rendition *out, const struct template *t, struct err *err)
{
    if (out->bytes.max == 0) {
        buf_init(&out->bytes, RENDITION_MAX);
        buf_init(&out->text, RENDITION_MAX);
        buf_init(&out->encoded, RENDITION_MAX);
    }
    if (out->value_capacity < t->name_count) {
        struct str *values = realloc(out->values, t->name_count * sizeof *values);
        if (values == NULL)
            return out_of_memory(err);
        out->values = values;
        out->value_capacity = t->name_count;
    }
    buf_clear(&out->bytes);
    buf_clear(&out->text);
    out->count = out->header_count = out->size = out->message_size = 0;
    return true;
}

static bool add_piece(struct render *r, uintptr_t at, size_t n, size_t own)
{
    struct rendition *out = r->out;
    out->size += n;
    if (n == 0)
        return true;
    if (out->count > out->header_count) {
        struct iovec *last = &out->parts[out->count - 1];
        if ((last->iov_len & OWN) == own && (uintptr_t)last->iov_base + (last->iov_len & ~OWN) == at) {
            last->iov_len += n;
            return true;
        }
    }
    if (out->count == out->capacity) {
        size_t capacity = out->capacity ? 2 * out->capacity : 32;
        struct iovec *parts = realloc(out->parts, capacity * sizeof *parts);
        if (parts == NULL)
            return out_of_memory(r->err);
        out->parts = parts;
        out->capacity = capacity;
    }
    out->parts[out->count++] = (struct iovec){(void *)at, n | own}; /* NOLINT: an offset until the end */
    return true;
}

/* What was appended to the buffer since it was `from` long. */
static bool add_own(struct render *r, size_t from)
{
    return add_piece(r, from, r->out->bytes.len - from, OWN);
}

static bool too_large(struct render *r)
{
    return err_set(r->err, EFBIG, "a recipient's variables make the message larger than %d MiB",
                   RENDITION_MAX / (1024 * 1024));
}

static bool add_literal(struct render *r, const struct record_op *op)
{
    static const char soft_break[] = "=\r\n";
    const char *p = r->t->bytes + op->at;
    size_t n = op->n;
    if (op->first > 0 && r->col + op->first > QP_LINE_MAX) {
        if (!add_piece(r, (uintptr_t)soft_break, 3, 0))
            return false;
        r->col = 0;
    }
    r->col = op->flags & OP_BREAKS ? op->last : r->col + (unsigned)n;
    if (op->flags & OP_DOT) {
        r->dots += !r->unstuffed;
        p += r->unstuffed;
        n -= r->unstuffed;
    }
    return add_piece(r, (uintptr_t)p, n, 0);
}

static bool percent_encoded(struct render *r, struct str *value)
{
    struct buf *out = &r->out->encoded;
    buf_clear(out);
    char *room = value->n < RENDITION_MAX / 8 ? buf_room(out, 3 * value->n + 1) : NULL;
    if (room == NULL)
        return too_large(r);
    *value = str_make(room, (size_t)(percent_encode(room, *value) - room));
    return true;
}

static bool value_of(struct render *r, const struct record_op *op, struct str *value)
{
    *value = r->out->values[op->name];
    if (value->n == 0 && op->flags & OP_DEFAULT)
        *value = str_make(r->t->bytes + op->at, op->n);
    else if (value->p == NULL)
        return err_set(r->err, ENOENT, "variable \"%.*s\" is missing", (int)r->t->names[op->name].n,
                       r->t->bytes + r->t->names[op->name].at);
    return !(op->flags & OP_URL) || percent_encoded(r, value);
}

static bool add_value(struct render *r, const struct record_op *op)
{
    struct str value;
    struct buf *bytes = &r->out->bytes;
    if (!value_of(r, op, &value))
        return false;
    if (value.n == 0)
        return true;
    char *room = value.n < RENDITION_MAX / 8 ? buf_room(bytes, QP_ROOM(value.n)) : NULL;
    if (room == NULL)
        return too_large(r);
    size_t from = bytes->len;
    if (r->col > QP_LINE_MAX - 1)
        r->col = QP_LINE_MAX - 1;
    bytes->len += (size_t)(qp_encode(room, value, op->flags & OP_HTML, false, &r->col) - room);
    return add_own(r, from);
}

/* The bytes at the seam are encoded, the rest is listed. */
static bool add_base64_text(struct render *r, const struct record_op *op)
{
    struct buf *bytes = &r->out->bytes;
    struct base64_form form = base64_form(r->t->bytes + op->at, op->n, r->rest.n);
    char *room = buf_room(bytes, BASE64_ROOM(form.head.n));
    if (room == NULL)
        return too_large(r);
    size_t from = bytes->len;
    char *end = base64_put(room, form.head, &r->rest, &r->col);
    if (form.middle.n > 0 && r->col + form.first > BASE64_LINE_MAX) {
        memcpy(end, "\r\n", 2);
        end += 2;
        r->col = 0;
    }
    bytes->len += (size_t)(end - room);
    r->col = form.middle.n > form.first ? form.last : r->col + form.last;
    base64_put(end, form.tail, &r->rest, &r->col); /* they wait */
    return add_own(r, from) && add_piece(r, (uintptr_t)form.middle.p, form.middle.n, 0);
}

static bool add_base64_value(struct render *r, const struct record_op *op)
{
    struct str value;
    struct buf *bytes = &r->out->bytes, *text = &r->out->encoded;
    if (!value_of(r, op, &value))
        return false;
    if (!(op->flags & OP_URL)) {
        buf_clear(text);
        if (!buf_add_text(text, value, op->flags & OP_HTML))
            return too_large(r);
        value = buf_str(text);
    }
    char *room = buf_room(bytes, BASE64_ROOM(value.n));
    if (room == NULL)
        return too_large(r);
    size_t from = bytes->len;
    bytes->len += (size_t)(base64_put(room, value, &r->rest, &r->col) - room);
    return add_own(r, from);
}

static bool add_base64_end(struct render *r)
{
    struct buf *bytes = &r->out->bytes;
    char *room = buf_room(bytes, BASE64_ROOM(0));
    if (room == NULL)
        return too_large(r);
    size_t from = bytes->len;
    bytes->len += (size_t)(base64_finish(room, &r->rest, &r->col) - room);
    return add_own(r, from);
}

/* An op of a header field. */
static bool add_field_op(struct render *r, const struct record_op *op)
{
    struct str text = str_make(r->t->bytes + op->at, op->n);
    if (op->kind == RECORD_FIELD) {
        r->field_at = r->out->bytes.len;
        field_begin(&r->field, &r->out->bytes, &r->out->text, op->n);
        return true;
    }
    if ((op->kind == RECORD_TEXT_VALUE || op->kind == RECORD_RAW_VALUE) && !value_of(r, op, &text))
        return false;
    bool encoded = op->kind == RECORD_RAW_VALUE && op->flags & OP_URL; /* fit for any place */
    field_step(&r->field, encoded ? RECORD_RAW : (enum record_kind)op->kind, encoded ? 0 : op->flags, text);
    if (op->kind != RECORD_FIELD_END)
        return true;
    r->col = 0;
    r->out->has_8bit |= r->field.has_8bit;
    r->out->needs_smtputf8 |= r->field.needs_smtputf8;
    if (r->out->bytes.failed || r->out->text.failed)
        return too_large(r);
    return add_own(r, r->field_at);
}

static bool add_op(struct render *r, const struct record_op *op)
{
    switch (op->kind) {
    case RECORD_LITERAL:
        return add_literal(r, op);
    case RECORD_VALUE:
        return add_value(r, op);
    case RECORD_BASE64_TEXT:
        return add_base64_text(r, op);
    case RECORD_BASE64_VALUE:
        return add_base64_value(r, op);
    case RECORD_BASE64_END:
        return add_base64_end(r);
    default:
        return add_field_op(r, op);
    }
}

static bool add_ops(struct render *r)
{
    const struct record_op *ops = r->t->ops;
    for (size_t i = 0; i < r->t->op_count; i++) {
        if (i == r->t->body_op)
            r->out->header_count = r->out->count;
        if (!add_op(r, &ops[i]))
            return false;
    }
    return true;
}

static struct str hash_of(struct str to, char text[17])
{
    char lower[ADDRESS_MAX];
    if (to.n > sizeof lower)
        to.n = sizeof lower;
    str_lower(to, lower);
    snprintf(text, 17, "%016llx", (unsigned long long)str_hash(str_make(lower, to.n)));
    return str_make(text, 16);
}

/* Looks every variable up once. */
static void set_values(const struct template *t, const struct render_args *args, struct str *values,
                       char hash[17])
{
    memset(values, 0, t->name_count * sizeof *values);
    struct reader r = vars_reader(args->vars);
    struct str name, value;
    while (vars_next(&r, &name, &value)) {
        size_t i = template_lookup(t, name);
        if (i != SIZE_MAX)
            values[i] = value;
    }
    values[NAME_TO] = args->to;
    values[NAME_RID] = args->rid;
    values[NAME_ID] = args->id;
    values[NAME_JOB] = args->job;
    if (t->hash_name != SIZE_MAX)
        values[t->hash_name] = hash_of(args->to, hash);
    for (size_t i = 0; i < NAME_BUILTINS; i++) /* always there, if empty */
        if (values[i].p == NULL)
            values[i] = STR("");
}

bool template_render(const struct template *t, const struct render_args *args, struct rendition *out,
                     struct err *err)
{
    struct render r = {.t = t, .out = out, .err = err, .unstuffed = args->unstuffed};
    (void)buf_lacked();
    if (!begin(out, t, err))
        return false;
    out->has_8bit = t->info.has_8bit;
    out->needs_smtputf8 = t->info.needs_smtputf8;
    if (!add_piece(&r, (uintptr_t)args->first.p, args->first.n, 0))
        return false;
    if (!t->info.same_for_all)
        set_values(t, args, out->values, out->hash);
    if (!add_ops(&r))
        return false;
    if (buf_lacked())
        return out_of_memory(err);
    for (size_t i = 0; i < out->count; i++) {
        struct iovec *part = &out->parts[i];
        if (part->iov_len & OWN) {
            part->iov_len &= ~OWN;
            part->iov_base = out->bytes.data + (uintptr_t)part->iov_base;
        }
    }
    out->message_size = out->size - r.dots;
    return true;
}

void rendition_free(struct rendition *rendition)
{
    free(rendition->parts);
    free(rendition->values);
    if (rendition->bytes.max > 0) {
        buf_free(&rendition->bytes);
        buf_free(&rendition->text);
        buf_free(&rendition->encoded);
    }
    *rendition = (struct rendition){0};
}
