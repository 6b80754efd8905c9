/* template.c - opens content records and asks them; rendering is in render.c. See template.h, record.h. */
#include "engine/message/template.h"

#include "engine/message/base64_merge.h"
#include "engine/message/emit.h"
#include "engine/message/lookup.h"
#include "engine/message/mime.h"
#include "engine/message/record.h"

#include <errno.h>

static bool damaged(struct err *err, const char *what)
{
    return err_set(err, EILSEQ, "a stored message is damaged (%s): cancel its job and submit it again", what);
}

static bool in_bytes(const struct record *record, uint64_t at, uint64_t n)
{
    return at + n <= record->bytes_n;
}

static bool check_names(const struct record *record, const struct template *t)
{
    size_t used = 0;
    for (size_t i = 0; i < t->name_count; i++)
        if (!in_bytes(record, t->names[i].at, t->names[i].n) || t->names[i].n > VAR_NAME_MAX)
            return false;
    for (size_t i = 0; i <= t->slot_mask; i++) {
        if (t->slots[i] != RECORD_SLOT_EMPTY && t->slots[i] >= t->name_count)
            return false;
        used += t->slots[i] != RECORD_SLOT_EMPTY;
    }
    return used == t->name_count; /* at most half: a search finds an empty slot */
}

static bool check_literal(const struct template *t, const struct record_op *op)
{
    return op->n > 0 && (!(op->flags & OP_DOT) || t->bytes[op->at] == '.');
}

/* One op; *in_field tells whether it stands in a header field, and is kept. */
static bool check_op(const struct record *record, const struct template *t, const struct record_op *op,
                     bool *in_field)
{
    bool inside = *in_field;
    if (op->kind == RECORD_FIELD) {
        *in_field = true;
        return !inside && op->n <= MIME_NAME_MAX + 1;
    }
    uint64_t size = op->kind == RECORD_BASE64_TEXT ? base64_forms_size(op->n) : op->n;
    if (!in_bytes(record, op->at, size) || op->name >= t->name_count)
        return false;
    switch (op->kind) {
    case RECORD_LITERAL:
        return !inside && check_literal(t, op);
    case RECORD_VALUE:
    case RECORD_BASE64_TEXT:
    case RECORD_BASE64_VALUE:
    case RECORD_BASE64_END:
        return !inside;
    case RECORD_FIELD_END:
        *in_field = false;
        return inside;
    default:
        return inside && op->kind < RECORD_KINDS;
    }
}

/* What it adds to a message, variables as nothing. */
static size_t size_at_least(const struct record_op *op)
{
    if (op->kind == RECORD_BASE64_TEXT)
        return op->n / 3 * 4; /* what is left over counts with others' */
    return op->kind == RECORD_LITERAL ? op->n - (op->flags & OP_DOT ? 1U : 0U) : 0;
}

static bool check_ops(const struct record *record, struct template *t)
{
    bool in_field = false;
    for (size_t i = 0; i < t->op_count; i++) {
        const struct record_op *op = &t->ops[i];
        if ((i == t->body_op && in_field) || !check_op(record, t, op, &in_field))
            return false;
        t->info.size += size_at_least(op);
        t->info.same_for_all &= op->kind == RECORD_LITERAL;
        t->info.same_body &= op->kind == RECORD_LITERAL || i < t->body_op;
        t->info.same_begin += i >= t->body_op && t->info.same_body ? size_at_least(op) : 0;
    }
    if (in_field || t->body_op >= t->op_count)
        return false;
    const struct record_op *last = &t->ops[t->op_count - 1];
    return last->kind == RECORD_LITERAL && last->n >= 2 &&
           memcmp(t->bytes + last->at + last->n - 2, "\r\n", 2) == 0;
}

static struct template_info info_of(const struct record *record)
{
    return (struct template_info){
        .same_for_all = true,
        .same_body = true,
        .has_signature = record->flags & RECORD_HAS_SIGNATURE,
        .require_dkim = record->flags & RECORD_REQUIRE_DKIM,
        .has_8bit = record->flags & RECORD_HAS_8BIT,
        .has_binary = record->flags & RECORD_HAS_BINARY,
        .needs_smtputf8 = record->flags & RECORD_NEEDS_SMTPUTF8,
        .removed_bcc = record->flags & RECORD_REMOVED_BCC,
        .removed_return_path = record->flags & RECORD_REMOVED_RETURN_PATH,
        .removed_received = record->flags & RECORD_REMOVED_RECEIVED,
        .lacks_from = record->flags & RECORD_LACKS_FROM,
        .recoded = record->flags & RECORD_RECODED,
        .tls_optional = record->flags & RECORD_TLS_OPTIONAL,
    };
}

bool template_open(const void *data, size_t n, struct template *t, struct err *err)
{
    const struct record *record = data;
    size_t covered = offsetof(struct record, checksum) + sizeof record->checksum;
    if (n < sizeof *record || (uintptr_t)data % _Alignof(struct record) != 0)
        return damaged(err, "too short or not aligned");
    if (record->magic != RECORD_MAGIC)
        return damaged(err, "it does not begin as one");
    if (record->version < 1 || record->version > RECORD_VERSION)
        return err_set(err, EINVAL, "a stored message is of version %u, this program reads up to version %d",
                       record->version, RECORD_VERSION);
    if (record->checksum != str_hash(str_make((const char *)data + covered, n - covered)))
        return damaged(err, "its checksum is wrong");
    if (record->name_count < NAME_BUILTINS || record->name_count > TEMPLATE_NAMES_MAX + NAME_BUILTINS ||
        record->slot_count < 2 * record->name_count || record->slot_count > NAME_SLOTS ||
        (record->slot_count & (record->slot_count - 1)) != 0)
        return damaged(err, "its table of names");
    uint64_t want = sizeof *record + (uint64_t)record->op_count * sizeof(struct record_op) +
                    record->name_count * sizeof(struct record_name) + record->slot_count * sizeof(uint16_t) +
                    record->bytes_n;
    if (want != n)
        return damaged(err, "its length");
    *t = (struct template){.info = info_of(record), .op_count = record->op_count, .body_op = record->body_op};
    t->name_count = record->name_count;
    t->slot_mask = record->slot_count - 1;
    t->ops = (const void *)(record + 1);
    t->names = (const void *)(t->ops + t->op_count);
    t->slots = (const void *)(t->names + t->name_count);
    t->bytes = (const void *)(t->slots + record->slot_count);
    if (!check_names(record, t) || !check_ops(record, t))
        return damaged(err, "its tables");
    for (size_t i = 0; i < t->name_count; i++)
        t->required_count += t->names[i].required != 0;
    t->hash_name = template_lookup(t, STR(NAME_HASH));
    return true;
}

bool template_missing(const struct template *t, struct str vars, struct str *name)
{
    uint64_t seen[(TEMPLATE_NAMES_MAX + NAME_BUILTINS) / 64 + 1];
    size_t found = 0;
    if (t->required_count == 0)
        return false;
    memset(seen, 0, (t->name_count / 64 + 1) * sizeof seen[0]);
    struct reader r = vars_reader(vars);
    struct str var, value;
    while (vars_next(&r, &var, &value)) {
        size_t i = template_lookup(t, var);
        if (i == SIZE_MAX || !t->names[i].required || seen[i / 64] >> i % 64 & 1)
            continue;
        seen[i / 64] |= UINT64_C(1) << i % 64;
        if (++found == t->required_count)
            return false;
    }
    for (size_t i = 0; i < t->name_count; i++)
        if (t->names[i].required && !(seen[i / 64] >> i % 64 & 1)) {
            *name = str_make(t->bytes + t->names[i].at, t->names[i].n);
            return true;
        }
    return false;
}
