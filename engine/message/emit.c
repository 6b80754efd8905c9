/* emit.c - see emit.h. */
#include "engine/message/emit.h"

#include "engine/message/base64_merge.h"

#include <errno.h>

void emit_init(struct emit *e, size_t size)
{
    *e = (struct emit){.line_start = true};
    buf_init(&e->ops, CONTENT_MAX);
    buf_init(&e->bytes, CONTENT_MAX);
    if (size > 0 && size <= CONTENT_MAX)
        buf_room(&e->bytes, size);
}

void emit_free(struct emit *e)
{
    buf_free(&e->ops);
    buf_free(&e->bytes);
}

/* Ends the literal that is being written, if there is one. */
static void close_literal(struct emit *e)
{
    size_t n = e->bytes.len - e->literal_at;
    if (n == 0)
        return;
    const char *p = e->bytes.data + e->literal_at;
    const char *cr = memchr(p, '\r', n), *lf = memrchr(p, '\n', n);
    size_t last = lf != NULL ? (size_t)(p + n - lf) - 1 : 0;
    struct record_op op = {
        .kind = RECORD_LITERAL,
        .flags = e->literal_flags | (lf != NULL ? OP_BREAKS : 0),
        .at = (uint32_t)e->literal_at,
        .n = (uint32_t)n,
        .last = (uint16_t)(last < UINT16_MAX ? last : UINT16_MAX),
    };
    if (e->after_value)
        op.first = (uint16_t)(cr != NULL ? (size_t)(cr - p) : n + 1);
    buf_add(&e->ops, &op, sizeof op);
    e->literal_at = e->bytes.len;
    e->literal_flags = 0;
    e->after_value = false;
}

void emit_text(struct emit *e, struct str s)
{
    if (s.n == 0)
        return;
    if (e->line_start && s.p[0] == '.') {
        close_literal(e);
        e->literal_flags = OP_DOT;
        buf_add_char(&e->bytes, '.');
    }
    buf_add_str(&e->bytes, s);
    e->line_start = false;
}

void emit_line_end(struct emit *e)
{
    buf_add(&e->bytes, "\r\n", 2);
    e->line_start = true;
}

void emit_encoded(struct emit *e)
{
    if (e->bytes.len > e->literal_at)
        e->line_start = e->bytes.data[e->bytes.len - 1] == '\n';
}

void emit_op(struct emit *e, struct record_op op)
{
    close_literal(e);
    buf_add(&e->ops, &op, sizeof op);
    e->after_value = op.kind == RECORD_VALUE;
    e->line_start = op.kind == RECORD_FIELD_END;
}

void emit_text_op(struct emit *e, struct record_op op, struct str text)
{
    close_literal(e);
    op.at = (uint32_t)e->bytes.len;
    op.n = (uint32_t)text.n;
    buf_add_str(&e->bytes, text);
    e->literal_at = e->bytes.len;
    emit_op(e, op);
}

void emit_base64_text(struct emit *e, struct str text)
{
    if (text.n == 0)
        return;
    close_literal(e);
    struct record_op op = {.kind = RECORD_BASE64_TEXT, .at = (uint32_t)e->bytes.len, .n = (uint32_t)text.n};
    buf_add_base64_forms(&e->bytes, text);
    e->literal_at = e->bytes.len;
    emit_op(e, op);
}

static size_t find_slot(const uint16_t *slots, size_t mask, const struct record_name *names,
                        const char *bytes, struct str name)
{
    size_t slot = record_hash(name) & mask;
    while (slots[slot] != RECORD_SLOT_EMPTY) {
        const struct record_name *at = &names[slots[slot]];
        if (str_eq(str_make(bytes + at->at, at->n), name))
            break;
        slot = (slot + 1) & mask;
    }
    return slot;
}

void names_init(struct names *names)
{
    static const struct str builtins[NAME_BUILTINS] = {
        [NAME_TO] = {"to", 2}, [NAME_RID] = {"rid", 3}, [NAME_ID] = {"id", 2}, [NAME_JOB] = {"job", 3}};
    names->count = 0;
    buf_init(&names->bytes, (size_t)TEMPLATE_NAMES_MAX * VAR_NAME_MAX + 64);
    memset(names->slots, 0xff, sizeof names->slots);
    for (size_t i = 0; i < NAME_BUILTINS; i++)
        names_add(names, builtins[i], false);
}

void names_free(struct names *names)
{
    buf_free(&names->bytes);
}

size_t names_add(struct names *names, struct str name, bool required)
{
    if (names->bytes.failed) /* no memory: record_write says so */
        return 0;
    size_t slot = find_slot(names->slots, NAME_SLOTS - 1, names->at, names->bytes.data, name);
    size_t index = names->slots[slot];
    if (index == RECORD_SLOT_EMPTY) {
        if (names->count == TEMPLATE_NAMES_MAX + NAME_BUILTINS || name.n > VAR_NAME_MAX)
            return SIZE_MAX;
        index = names->count++;
        names->slots[slot] = (uint16_t)index;
        names->at[index] = (struct record_name){(uint32_t)names->bytes.len, (uint16_t)name.n, 0};
        buf_add_str(&names->bytes, name);
    }
    if (required && index >= NAME_BUILTINS && !str_eq(name, STR(NAME_HASH)))
        names->at[index].required = 1;
    return index;
}

/* Ops of the second half, whose bytes stand behind the first one's. */
static void add_ops(struct buf *out, const struct emit *e, size_t shift)
{
    for (size_t i = 0; i < e->ops.len; i += sizeof(struct record_op)) {
        struct record_op op;
        memcpy(&op, e->ops.data + i, sizeof op);
        if (op.kind != RECORD_FIELD)
            op.at += (uint32_t)shift;
        buf_add(out, &op, sizeof op);
    }
}

static void add_names(struct buf *out, const struct names *names, size_t shift, size_t slot_count)
{
    uint16_t slots[NAME_SLOTS];
    memset(slots, 0xff, sizeof slots);
    for (size_t i = 0; i < names->count; i++) {
        struct record_name name = names->at[i];
        struct str text = str_make(names->bytes.data + name.at, name.n);
        slots[find_slot(slots, slot_count - 1, names->at, names->bytes.data, text)] = (uint16_t)i;
        name.at += (uint32_t)shift;
        buf_add(out, &name, sizeof name);
    }
    buf_add(out, slots, slot_count * sizeof slots[0]);
}

bool record_write(struct emit *head, struct emit *body, const struct names *names, unsigned flags,
                  struct buf *out, struct err *err)
{
    close_literal(head);
    close_literal(body);
    size_t before = out->len, slot_count = 8;
    while (slot_count < 2 * names->count)
        slot_count *= 2;
    size_t head_ops = head->ops.len / sizeof(struct record_op),
           body_ops = body->ops.len / sizeof(struct record_op);
    struct record record = {
        .magic = RECORD_MAGIC,
        .version = RECORD_VERSION,
        .flags = flags,
        .op_count = (uint32_t)(head_ops + body_ops),
        .body_op = (uint32_t)head_ops,
        .name_count = (uint32_t)names->count,
        .slot_count = (uint32_t)slot_count,
        .bytes_n = (uint32_t)(head->bytes.len + body->bytes.len + names->bytes.len),
    };
    buf_room(out, sizeof record + head->ops.len + body->ops.len + names->count * sizeof names->at[0] +
                      slot_count * sizeof names->slots[0] + record.bytes_n);
    bool failed = head->ops.failed || head->bytes.failed || body->ops.failed || body->bytes.failed ||
                  names->bytes.failed;
    if (!failed) {
        buf_add(out, &record, sizeof record);
        add_ops(out, head, 0);
        add_ops(out, body, head->bytes.len);
        add_names(out, names, head->bytes.len + body->bytes.len, slot_count);
        buf_add_str(out, buf_str(&head->bytes));
        buf_add_str(out, buf_str(&body->bytes));
        buf_add_str(out, buf_str(&names->bytes));
    }
    if (failed || out->failed) {
        out->len = before;
        out->failed = false;
        return err_set(err, EFBIG, "the message, once encoded, is larger than %d MiB, or memory is out",
                       CONTENT_MAX / (1024 * 1024));
    }
    size_t covered = offsetof(struct record, checksum) + sizeof record.checksum;
    record.checksum = str_hash(str_make(out->data + before + covered, out->len - before - covered));
    memcpy(out->data + before, &record, sizeof record);
    return true;
}
