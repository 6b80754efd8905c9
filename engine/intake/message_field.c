/* message_field.c - see message_field.h. Address fields and headers may be a string or a list of strings. */
#include "engine/intake/message_field.h"

#include "engine/intake/members.h"
#include "engine/message/decode.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>

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
                   MEMBER(subject), MEMBER(text),     MEMBER(html),        MEMBER(amp)};
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
        if (!member_string(name, item, CONTENT_MAX, &text, err))
            return false;
        buf_add_z(texts, i > 0 ? separator : "");
        buf_add_str(texts, text);
    }
    out->n = texts->len - out->start;
    return !texts->failed || err_set(err, ENOMEM, "\"%s\" is too large", name);
}

static bool read_headers(const json_t *value, struct message_spec *out, struct message_storage *storage,
                         struct err *err)
{
    struct message_header *headers;
    const char *name;
    json_t *member;
    size_t n = 0;
    if (!json_is_object(value))
        return member_wrong_type("headers", "an object of strings", value, err);
    json_object_foreach((json_t *)(uintptr_t)value, name, member)
    {
        n += json_is_array(member) ? json_array_size(member) : 1;
    }
    headers = storage->headers = calloc(n + 1, sizeof *headers);
    if (headers == NULL)
        return err_set(err, ENOMEM, "no memory for the headers");
    out->headers = headers;
    json_object_foreach((json_t *)(uintptr_t)value, name, member)
    {
        size_t count = json_is_array(member) ? json_array_size(member) : 1;
        for (size_t i = 0; i < count; i++) {
            struct message_header *header = &headers[out->header_count++];
            header->name = str_of(name);
            if (!member_string(name, json_is_array(member) ? json_array_get(member, i) : member, CONTENT_MAX,
                               &header->value, err))
                return false;
        }
    }
    return true;
}

/* Appends what the text stands for. Strict: a character that does not belong there is a sign that the text is
 * something else. */
static bool read_base64(const char *name, const json_t *value, struct buf *bytes, struct err *err)
{
    struct str text;
    if (!member_string(name, value, JOB_LINE_MAX, &text, err))
        return false;
    size_t letters = 0, padding = 0;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                      c == '+' || c == '/';
        bool blank = c == '\r' || c == '\n' || c == ' ' || c == '\t';
        if ((!letter && !blank && c != '=') || (letter && padding > 0))
            return err_set(err, 0, "\"%s\" is no base64: see its character %zu", name, i + 1);
        letters += letter;
        padding += c == '=';
    }
    if (padding > 2 || (padding > 0 && (letters + padding) % 4 != 0) || letters % 4 == 1)
        return err_set(err, 0, "\"%s\" is cut short or wrongly padded", name);
    return base64_decode(text, bytes) || err_set(err, ENOMEM, "what is in \"%s\" is too large", name);
}

/* ---- attachments ---- */

static bool read_attachment(const json_t *object, struct message_attachment *out, struct buf *bytes,
                            struct err *err)
{
    const char *name;
    json_t *value;
    size_t before = bytes->len;
    if (!json_is_object(object))
        return member_wrong_type("attachments", "a list of objects", object, err);
    json_object_foreach((json_t *)(uintptr_t)object, name, value)
    {
        bool good = false;
        if (strcmp(name, "filename") == 0)
            good = member_name(name, value, FILE_NAME_MAX, &out->filename, err);
        else if (strcmp(name, "type") == 0)
            good = member_name(name, value, FILE_NAME_MAX, &out->type, err);
        else if (strcmp(name, "cid") == 0)
            good = member_name(name, value, FILE_NAME_MAX, &out->cid, err);
        else if (strcmp(name, "content_base64") == 0)
            good = read_base64(name, value, bytes, err);
        else
            err_set(err, 0, "unknown field \"%.100s\": there are filename, type, cid and content_base64",
                    name);
        if (!good)
            return false;
    }
    if (json_object_get(object, "content_base64") == NULL)
        return err_set(err, 0, "there is no \"content_base64\"");
    if (out->cid.n > 2 && out->cid.p[0] == '<' && out->cid.p[out->cid.n - 1] == '>')
        out->cid = str_make(out->cid.p + 1, out->cid.n - 2);
    out->content.n = bytes->len - before;
    return true;
}

static bool read_attachments(const json_t *value, struct message_spec *out, struct message_storage *storage,
                             struct err *err)
{
    size_t i;
    const json_t *item;
    if (!json_is_array(value))
        return member_wrong_type("attachments", "a list of objects", value, err);
    storage->attachments = calloc(json_array_size(value) + 1, sizeof *storage->attachments);
    if (storage->attachments == NULL)
        return err_set(err, ENOMEM, "no memory for the attachments");
    out->attachments = storage->attachments;
    out->attachment_count = json_array_size(value);
    json_array_foreach(value, i, item)
    {
        if (!read_attachment(item, &storage->attachments[i], &storage->bytes, err))
            return err_prefix(err, "\"attachments\", number %zu", i + 1);
    }
    /* Only now do the bytes stay where they are. */
    const char *at = storage->bytes.data ? storage->bytes.data : "";
    for (i = 0; i < out->attachment_count; i++) {
        storage->attachments[i].content.p = at;
        at += storage->attachments[i].content.n;
    }
    return true;
}

/* ---- list, unsubscribe, priority ---- */

static bool read_list_entry(const char *name, const json_t *value, struct message_list *out, struct err *err)
{
    const char *key;
    json_t *member;
    if (!json_is_object(value))
        return member_name(name, value, LIST_URL_MAX, &out->url, err);
    json_object_foreach((json_t *)(uintptr_t)value, key, member)
    {
        bool good = strcmp(key, "url") == 0       ? member_name(key, member, LIST_URL_MAX, &out->url, err)
                    : strcmp(key, "comment") == 0 ? member_name(key, member, LIST_URL_MAX, &out->comment, err)
                                                  : err_set(err, 0, "unknown field \"%.100s\"", key);
        if (!good)
            return err_prefix(err, "\"%s\"", name);
    }
    return out->url.p != NULL || err_set(err, 0, "\"%s\" has no \"url\"", name);
}

static const char *list_field(const char *name)
{
    static const char *const fields[][2] = {
        {"id", "List-Id"},
        {"help", "List-Help"},
        {"unsubscribe", "List-Unsubscribe"},
        {"subscribe", "List-Subscribe"},
        {"post", "List-Post"},
        {"owner", "List-Owner"},
        {"archive", "List-Archive"},
    };
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (strcmp(fields[i][0], name) == 0)
            return fields[i][1];
    return NULL;
}

static bool read_list(const json_t *value, struct message_spec *out, struct message_storage *storage,
                      struct err *err)
{
    const char *name;
    json_t *member;
    size_t n = 0;
    if (!json_is_object(value))
        return member_wrong_type("list", "an object", value, err);
    json_object_foreach((json_t *)(uintptr_t)value, name, member)
    {
        n += json_is_array(member) ? json_array_size(member) : 1;
    }
    storage->list = calloc(n + 1, sizeof *storage->list);
    if (storage->list == NULL)
        return err_set(err, ENOMEM, "no memory for the list");
    out->list = storage->list;
    json_object_foreach((json_t *)(uintptr_t)value, name, member)
    {
        const char *field = list_field(name);
        if (field == NULL)
            return err_set(err, 0,
                           "\"list\" has an unknown field \"%.100s\": it has id, help, unsubscribe, "
                           "subscribe, post, owner and archive",
                           name);
        size_t count = json_is_array(member) ? json_array_size(member) : 1;
        for (size_t i = 0; i < count; i++) {
            struct message_list *entry = &storage->list[out->list_count++];
            entry->name = field;
            if (!read_list_entry(name, json_is_array(member) ? json_array_get(member, i) : member, entry,
                                 err))
                return err_prefix(err, "\"list\"");
        }
        if (strcmp(name, "id") == 0 && count != 1)
            return err_set(err, 0, "\"list\": there is one \"id\"");
    }
    return true;
}

static bool read_unsubscribe(const json_t *value, struct message_spec *out, struct err *err)
{
    const char *name;
    json_t *member;
    if (!json_is_object(value))
        return member_wrong_type("unsubscribe", "an object", value, err);
    json_object_foreach((json_t *)(uintptr_t)value, name, member)
    {
        bool good, one_click;
        if (strcmp(name, "url") == 0)
            good = member_name(name, member, LIST_URL_MAX, &out->unsubscribe_url, err);
        else if (strcmp(name, "mailto") == 0)
            good = member_name(name, member, LIST_URL_MAX, &out->unsubscribe_mailto, err);
        else if (strcmp(name, "one_click") != 0)
            good = err_set(err, 0, "unknown field \"%.100s\": there are url, mailto and one_click", name);
        else if ((good = member_bool(name, member, &one_click, err)))
            out->one_click = one_click ? MESSAGE_ONE_CLICK_YES : MESSAGE_ONE_CLICK_NO;
        if (!good)
            return err_prefix(err, "\"unsubscribe\"");
    }
    return out->unsubscribe_url.p != NULL || out->unsubscribe_mailto.p != NULL ||
           err_set(err, 0, "\"unsubscribe\" has neither \"url\" nor \"mailto\"");
}

static bool read_priority(const json_t *value, struct message_spec *out, struct err *err)
{
    const char *text = json_is_string(value) ? json_string_value(value) : "";
    if (strcmp(text, "high") == 0)
        out->priority = MESSAGE_PRIORITY_HIGH;
    else if (strcmp(text, "low") == 0)
        out->priority = MESSAGE_PRIORITY_LOW;
    else if (strcmp(text, "normal") != 0)
        return err_set(err, 0, "\"priority\" must be \"high\", \"normal\" or \"low\"");
    return true;
}

/* ---- the whole ---- */

struct reading {
    struct message_spec *out;
    struct message_storage *storage;
    struct joined joined[8];
    size_t joined_count;
};

static bool read_member(struct reading *reading, const char *name, const json_t *value, struct err *err)
{
    struct message_spec *out = reading->out;
    if (strcmp(name, "headers") == 0)
        return read_headers(value, out, reading->storage, err);
    if (strcmp(name, "raw_base64") == 0)
        return read_base64(name, value, &reading->storage->bytes, err);
    if (strcmp(name, "attachments") == 0)
        return read_attachments(value, out, reading->storage, err);
    if (strcmp(name, "list") == 0)
        return read_list(value, out, reading->storage, err);
    if (strcmp(name, "unsubscribe") == 0)
        return read_unsubscribe(value, out, err);
    if (strcmp(name, "priority") == 0)
        return read_priority(value, out, err);
    struct str *field = member_of(out, name);
    if (field == NULL)
        return err_set(err, 0, "unknown field \"%.100s\"", name);
    if (!json_is_array(value) || !takes_list(name))
        return member_string(name, value, CONTENT_MAX, field, err);
    struct joined *joined = &reading->joined[reading->joined_count++];
    joined->field = field;
    return join_list(name, value, &reading->storage->texts, joined, err);
}

bool message_field_read(const json_t *object, struct message_spec *out, struct message_storage *storage,
                        struct err *err)
{
    struct reading reading = {.out = out, .storage = storage};
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, name, value)
    {
        if (!read_member(&reading, name, value, err))
            return err_prefix(err, "\"message\"");
    }
    for (size_t i = 0; i < reading.joined_count; i++)
        *reading.joined[i].field =
            str_make(storage->texts.data + reading.joined[i].start, reading.joined[i].n);
    bool decoded = json_object_get(object, "raw_base64") != NULL;
    if (decoded && out->raw.p != NULL)
        return err_set(err, 0, "\"message\": \"raw\" and \"raw_base64\" exclude each other");
    if ((decoded || out->raw.p != NULL) && json_object_size(object) > 1)
        return err_set(err, 0, "\"message\": \"%s\" is the whole message: no other fields beside it",
                       decoded ? "raw_base64" : "raw");
    if (decoded)
        out->raw = str_make(storage->bytes.data ? storage->bytes.data : "", storage->bytes.len);
    return true;
}

void message_storage_init(struct message_storage *storage)
{
    *storage = (struct message_storage){0};
    buf_init(&storage->bytes, CONTENT_MAX);
    buf_init(&storage->texts, CONTENT_MAX);
}

void message_storage_free(struct message_storage *storage)
{
    free(storage->headers);
    free(storage->attachments);
    free(storage->list);
    buf_free(&storage->bytes);
    buf_free(&storage->texts);
    *storage = (struct message_storage){0};
}
