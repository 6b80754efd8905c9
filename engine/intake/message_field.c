/* message_field.c - see message_field.h. Address fields and headers may be a string or a list of strings. */
#include "engine/intake/message_field.h"

#include "engine/intake/members.h"
#include "engine/message/decode.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

#define NOT_YET(name)                                                                                        \
    (strcmp(name, "amp") == 0 || strcmp(name, "list") == 0 || strcmp(name, "attachments") == 0 ||            \
     strcmp(name, "unsubscribe") == 0)

/* The field of *out that a member fills, or NULL. */
static struct str *member_of(struct message_spec *out, const char *name)
{
#define MEMBER(field)                                                                                        \
    {                                                                                                        \
#field, offsetof(struct message_spec, field)                                                         \
    }
    static const struct {
        const char *name;
        size_t offset;
    } members[] = {MEMBER(raw),     MEMBER(from),     MEMBER(sender),      MEMBER(to),
                   MEMBER(cc),      MEMBER(reply_to), MEMBER(in_reply_to), MEMBER(references),
                   MEMBER(subject), MEMBER(text),     MEMBER(html)};
    for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
        if (strcmp(members[i].name, name) == 0)
            return (struct str *)(void *)((char *)out + members[i].offset);
    }
    return NULL;
}

static bool takes_list(const char *name)
{
    return strcmp(name, "to") == 0 || strcmp(name, "cc") == 0 || strcmp(name, "reply_to") == 0 ||
           strcmp(name, "references") == 0;
}

/* A list of strings, joined; the text is appended to `texts` and noted as offset, since texts may move. */
struct joined {
    struct str *field;
    size_t start, n;
};

static bool join_list(const char *name, const json_t *list, struct buf *texts, struct joined *out,
                      struct err *err)
{
    size_t i;
    const json_t *item;
    const char *separator = strcmp(name, "references") == 0 ? " " : ", ";
    out->start = texts->len;
    json_array_foreach(list, i, item)
    {
        struct str text;
        if (!member_text(name, item, CONTENT_MAX, &text, err))
            return false;
        buf_add_z(texts, i > 0 ? separator : "");
        buf_add_str(texts, text);
    }
    out->n = texts->len - out->start;
    return !texts->failed || err_set(err, ENOMEM, "\"%s\" is too large", name);
}

static bool read_headers(const json_t *value, struct message_spec *out, struct message_header **headers,
                         struct err *err)
{
    const char *name;
    json_t *member;
    size_t n = 0;
    if (!json_is_object(value))
        return member_wrong_type("headers", "an object of strings", value, err);
    json_object_foreach((json_t *)(uintptr_t)value, name, member)
    {
        n += json_is_array(member) ? json_array_size(member) : 1;
    }
    *headers = calloc(n + 1, sizeof **headers);
    if (*headers == NULL)
        return err_set(err, ENOMEM, "no memory for the headers");
    out->headers = *headers;
    json_object_foreach((json_t *)(uintptr_t)value, name, member)
    {
        size_t count = json_is_array(member) ? json_array_size(member) : 1;
        for (size_t i = 0; i < count; i++) {
            struct message_header *header = &(*headers)[out->header_count++];
            header->name = str_of(name);
            if (!member_text(name, json_is_array(member) ? json_array_get(member, i) : member, CONTENT_MAX,
                             &header->value, err))
                return false;
        }
    }
    return true;
}

/* Strict: a character that does not belong there is a sign that the text is something else. */
static bool read_base64(const json_t *value, struct buf *raw, struct err *err)
{
    struct str text;
    if (!member_text("raw_base64", value, JOB_LINE_MAX, &text, err))
        return false;
    size_t letters = 0, padding = 0;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                      c == '+' || c == '/';
        bool blank = c == '\r' || c == '\n' || c == ' ' || c == '\t';
        if ((!letter && !blank && c != '=') || (letter && padding > 0))
            return err_set(err, 0, "\"raw_base64\" is no base64: see its character %zu", i + 1);
        letters += letter;
        padding += c == '=';
    }
    if (padding > 2 || (padding > 0 && (letters + padding) % 4 != 0) || letters % 4 == 1)
        return err_set(err, 0, "\"raw_base64\" is cut short or wrongly padded");
    return base64_decode(text, raw) || err_set(err, ENOMEM, "the message in \"raw_base64\" is too large");
}

static bool read_member(const char *name, const json_t *value, struct message_spec *out,
                        struct message_header **headers, struct buf *raw, struct buf *texts,
                        struct joined *joined, size_t *joined_count, struct err *err)
{
    if (strcmp(name, "headers") == 0)
        return read_headers(value, out, headers, err);
    if (strcmp(name, "raw_base64") == 0)
        return read_base64(value, raw, err);
    if (NOT_YET(name))
        return err_set(
            err, 0, "\"%s\" is not available yet: build the message yourself and give it as \"raw\"", name);
    struct str *field = member_of(out, name);
    if (field == NULL)
        return err_set(err, 0, "unknown field \"%.100s\"", name);
    if (!json_is_array(value) || !takes_list(name))
        return member_text(name, value, CONTENT_MAX, field, err);
    joined[*joined_count].field = field;
    return join_list(name, value, texts, &joined[(*joined_count)++], err);
}

bool message_field_read(const json_t *object, struct message_spec *out, struct message_header **headers,
                        struct buf *raw, struct buf *texts, struct err *err)
{
    struct joined joined[8];
    size_t joined_count = 0;
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, name, value)
    {
        if (!read_member(name, value, out, headers, raw, texts, joined, &joined_count, err)) {
            err_prefix(err, "\"message\"");
            return false;
        }
    }
    for (size_t i = 0; i < joined_count; i++)
        *joined[i].field = str_make(texts->data + joined[i].start, joined[i].n);
    bool decoded = json_object_get(object, "raw_base64") != NULL;
    if (decoded && out->raw.p != NULL)
        return err_set(err, 0, "\"message\": \"raw\" and \"raw_base64\" exclude each other");
    if (decoded)
        out->raw = str_make(raw->data ? raw->data : "", raw->len);
    if (out->raw.p != NULL && json_object_size(object) > 1)
        return err_set(err, 0, "\"message\": \"raw\" is the whole message: no other fields beside it");
    return true;
}
