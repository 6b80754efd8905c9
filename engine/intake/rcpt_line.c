/* rcpt_line.c - see rcpt_line.h. */
#include "engine/intake/rcpt_line.h"

void rcpt_reader_init(struct rcpt_reader *reader)
{
    vars_builder_init(&reader->vars);
    buf_init(&reader->metadata, METADATA_MAX);
}

void rcpt_reader_free(struct rcpt_reader *reader)
{
    vars_builder_free(&reader->vars);
    buf_free(&reader->metadata);
}

/* An address goes out as it was written, but for a domain in UTF-8. */
static bool read_to(struct rcpt_reader *reader, const json_t *value, struct rcpt_spec *out, struct err *err)
{
    struct address *address = &reader->address;
    if (!json_is_string(value))
        return member_wrong_type("to", "a string", value, err);
    out->to = str_make(json_string_value(value), json_string_length(value));
    if (!address_parse(out->to, address, err))
        return false;
    out->domain = address_domain(address);
    if (address->idn) {
        size_t local = address->local.n;
        if (local + 1 + out->domain.n > ADDRESS_MAX)
            return err_set(err, 0, "the address is too long");
        memcpy(reader->to, address->local.p, local);
        reader->to[local] = '@';
        memcpy(reader->to + local + 1, out->domain.p, out->domain.n);
        out->to = str_make(reader->to, local + 1 + out->domain.n);
    }
    return true;
}

static bool read_vars(struct rcpt_reader *reader, const json_t *value, struct rcpt_spec *out, struct err *err)
{
    if (!json_is_object(value))
        return member_wrong_type("vars", "an object", value, err);
    /* jansson's iteration does not change the object; its prototype only lacks the const. */
    json_t *object = (json_t *)(uintptr_t)value;
    for (void *at = json_object_iter(object); at != NULL; at = json_object_iter_next(object, at)) {
        const char *name = json_object_iter_key(at);
        const json_t *var = json_object_iter_value(at);
        char number[MEMBER_NUMBER_MAX];
        struct str text;
        if (json_is_string(var))
            text = str_make(json_string_value(var), json_string_length(var));
        else if (member_scalar(var, number, &text.n))
            text.p = number;
        else
            return err_set(err, 0, "the variable \"%.100s\" must be a string, a number or a boolean", name);
        if (!vars_add(&reader->vars, str_of(name), text, err))
            return false;
    }
    out->vars = vars_blob(&reader->vars);
    return true;
}

static bool read_id(struct rcpt_reader *reader, const json_t *value, struct rcpt_spec *out, struct err *err)
{
    if (json_is_number(value) && member_scalar(value, reader->id, &out->id.n)) {
        out->id.p = reader->id;
        return true;
    }
    if (!json_is_string(value))
        return member_wrong_type("id", "a string or a number", value, err);
    return member_name("id", value, RCPT_ID_MAX, &out->id, err);
}

/* RFC 3461 4.2: an address type, a semicolon, the address. */
static bool read_orcpt(const json_t *value, struct rcpt_spec *out, struct err *err)
{
    if (!member_name("orcpt", value, ORCPT_MAX, &out->orcpt, err))
        return false;
    size_t semicolon = str_find(out->orcpt, ';', 0);
    if (semicolon == SIZE_MAX || semicolon == 0 || semicolon + 1 == out->orcpt.n)
        return err_set(err, 0, "\"orcpt\" must be a type and an address, such as \"rfc822;ada@example.com\"");
    return true;
}

static bool read_member(struct rcpt_reader *reader, const char *name, const json_t *value,
                        struct rcpt_spec *out, struct err *err)
{
    if (strcmp(name, "to") == 0)
        return read_to(reader, value, out, err);
    if (strcmp(name, "vars") == 0)
        return read_vars(reader, value, out, err);
    if (strcmp(name, "id") == 0)
        return read_id(reader, value, out, err);
    if (strcmp(name, "notify") == 0)
        return member_notify("notify", value, &out->notify, err);
    if (strcmp(name, "orcpt") == 0)
        return read_orcpt(value, out, err);
    if (strcmp(name, "metadata") == 0) {
        if (!member_metadata(value, &reader->metadata, err))
            return false;
        out->metadata = buf_str(&reader->metadata);
        return true;
    }
    return err_set(
        err, 0, "unknown field \"%.100s\": a recipient has to, vars, id, notify, orcpt and metadata", name);
}

bool rcpt_read(struct rcpt_reader *reader, const json_t *object, struct rcpt_spec *out, struct err *err)
{
    *out = (struct rcpt_spec){0};
    if (!json_is_object(object))
        return err_set(err, 0, "a recipient must be a JSON object");
    json_t *members = (json_t *)(uintptr_t)object;
    vars_builder_clear(&reader->vars);
    for (void *at = json_object_iter(members); at != NULL; at = json_object_iter_next(members, at)) {
        if (!read_member(reader, json_object_iter_key(at), json_object_iter_value(at), out, err))
            return false;
    }
    if (out->to.p == NULL)
        return err_set(err, 0, "\"to\" is missing");
    return true;
}
