/* author.c - the domain of a message's author, from its From field. See template.h.
 *
 * A template's header is looked at literal by literal: a field without variables stands whole in one of them,
 * of one with variables the name and its colon end a literal. */
#include "engine/message/address.h"
#include "engine/message/lines.h"
#include "engine/message/mime.h"
#include "engine/message/record.h"
#include "engine/message/scan.h"
#include "engine/message/template.h"

/* The From field's value in whole lines of a header; false: it is not there. */
static bool find_from(struct str header, struct str *value)
{
    struct str field;
    for (size_t at = 0; lines_field(header, &at, &field);) {
        size_t colon = str_find(field, ':', 0);
        if (colon != SIZE_MAX && str_eq_nocase(str_trim(str_make(field.p, colon)), STR("From"))) {
            *value = str_make(field.p + colon + 1, field.n - colon - 1);
            return true;
        }
    }
    return false;
}

/* Takes the first address of a field from the scanner's pieces. */
struct author {
    struct scan_sink sink;
    struct buf address;
    bool over;
};

static void take_piece(struct scan_sink *sink, enum record_kind kind, unsigned flags, struct str text)
{
    struct author *author = (struct author *)(void *)sink;
    bool of_address = kind == RECORD_RAW && (flags & OP_ADDRESS || author->address.len > 0);
    if (of_address && !(flags & OP_ADDRESS) && (str_find(text, '>', 0) != SIZE_MAX || text.p[0] == ','))
        author->over = true;
    if (of_address && !author->over)
        buf_add_str(&author->address, text);
}

static bool domain_of(struct str value, char domain[DOMAIN_MAX + 1])
{
    struct author author = {.sink = {take_piece}};
    struct address address;
    struct buf line;
    struct err err;
    buf_init(&line, CONTENT_MAX);
    buf_init(&author.address, ADDRESS_MAX);
    bool found = mime_unfold(value, &line) &&
                 field_scan(FIELD_ADDRESSES, str_trim(buf_str(&line)), false, &author.sink, &err) &&
                 address_parse(str_trim(buf_str(&author.address)), &address, &err);
    if (found)
        memcpy(domain, address.domain, address.domain_n + 1U);
    buf_free(&line);
    buf_free(&author.address);
    return found;
}

enum template_from template_from_domain(const struct template *t, char domain[DOMAIN_MAX + 1])
{
    for (size_t i = 0; i < t->body_op; i++) {
        const struct record_op *op = &t->ops[i];
        struct str literal = str_make(t->bytes + op->at, op->n), value;
        if (op->kind != RECORD_LITERAL || !find_from(literal, &value))
            continue;
        if (value.n == 0 && i + 1 < t->body_op && t->ops[i + 1].kind == RECORD_FIELD)
            return TEMPLATE_FROM_VARIES;
        return domain_of(value, domain) ? TEMPLATE_FROM_FIXED : TEMPLATE_FROM_NONE;
    }
    return TEMPLATE_FROM_NONE;
}

enum template_from rendition_from_domain(const struct rendition *r, char domain[DOMAIN_MAX + 1])
{
    struct buf header;
    struct str value;
    buf_init(&header, RENDITION_MAX);
    for (size_t i = 0; i < r->header_count; i++)
        buf_add(&header, r->parts[i].iov_base, r->parts[i].iov_len);
    bool found = find_from(buf_str(&header), &value) && domain_of(value, domain);
    buf_free(&header);
    return found ? TEMPLATE_FROM_FIXED : TEMPLATE_FROM_NONE;
}
