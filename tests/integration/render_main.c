/* render_main.c - compiles and renders messages for test_message.py and test_compose.py.
 *
 * Reads one JSON object a line: "message" as in a job, or its fields (raw_base64, or from, to, subject …,
 * "headers" as pairs), "merge", "seven_bit", "dkim" (domain, selector, key: as in the configuration) and
 * "recipients", each with to, rid, id, job, vars and unstuffed. Answers one line: an error, or for each
 * recipient the message (base64), signed if there are keys, and what is known about it. */
#include "engine/dkim/dkim.h"
#include "engine/intake/message_field.h"
#include "engine/message/decode.h"
#include "engine/message/encode.h"
#include "engine/message/template.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#define HEADERS_MAX 64

static struct str text_of(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return str_make(json_string_value(value), json_string_length(value));
}

static json_t *base64_of(const struct rendition *r)
{
    struct buf bytes;
    buf_init(&bytes, 2 * CONTENT_MAX);
    for (size_t i = 0; i < r->count; i++)
        buf_add(&bytes, r->parts[i].iov_base, r->parts[i].iov_len);
    char *out = malloc(r->size / 3 * 4 + 8);
    json_t *text = json_stringn(out, (size_t)(base64_encode(out, buf_str(&bytes)) - out));
    buf_free(&bytes);
    free(out);
    return text;
}

/* What signs, or nothing. */
struct pen {
    struct dkim *dkim;
    struct dkim_signer *signer;
    struct buf fields;
};

static bool pen_open(struct pen *pen, const json_t *list, struct err *err)
{
    struct config_dkim keys[8] = {0};
    struct config config = {.dkim = keys};
    json_t *one;
    size_t i;
    json_array_foreach(list, i, one) keys[config.dkim_count++] = (struct config_dkim){
        json_string_value(json_object_get(one, "domain")),
        json_string_value(json_object_get(one, "selector")), json_string_value(json_object_get(one, "key"))};
    pen->dkim = dkim_create(&config, err);
    pen->signer = pen->dkim ? dkim_signer_create(pen->dkim) : NULL;
    buf_init(&pen->fields, CONTENT_MAX);
    return pen->signer != NULL;
}

static void pen_close(struct pen *pen)
{
    dkim_signer_destroy(pen->signer);
    dkim_destroy(pen->dkim);
    buf_free(&pen->fields);
}

static bool sign(struct pen *pen, const struct template *t, struct render_args *args, struct rendition *r,
                 struct err *err)
{
    struct render_args plain = *args;
    char domain[DOMAIN_MAX + 1];
    uint8_t hash[DIGEST_SIZE];
    plain.unstuffed = true;
    buf_clear(&pen->fields);
    if (!template_render(t, &plain, r, err))
        return false;
    const struct dkim_domain *keys =
        rendition_from_domain(r, domain) == TEMPLATE_FROM_FIXED ? dkim_find(pen->dkim, str_of(domain)) : NULL;
    if (keys != NULL && !(dkim_body_hash(r, NULL, hash, err) &&
                          dkim_sign(pen->signer, keys, r, hash, INT64_C(1700000000000), &pen->fields, err)))
        return false;
    args->first = buf_str(&pen->fields);
    return true;
}

static json_t *render(const struct template *t, const json_t *recipient, struct vars_builder *vars,
                      struct pen *pen, struct rendition *r)
{
    struct err err;
    struct str missing;
    const char *name;
    json_t *value;
    vars_builder_clear(vars);
    json_object_foreach(json_object_get(recipient, "vars"), name,
                        value) if (!vars_add(vars, str_of(name),
                                             str_make(json_string_value(value), json_string_length(value)),
                                             &err)) return json_pack("{ss}", "error", err.text);
    struct render_args args = {.vars = vars_blob(vars),
                               .to = text_of(recipient, "to"),
                               .rid = text_of(recipient, "rid"),
                               .id = text_of(recipient, "id"),
                               .job = text_of(recipient, "job"),
                               .unstuffed = json_is_true(json_object_get(recipient, "unstuffed"))};
    if (template_missing(t, args.vars, &missing))
        return json_pack("{ss%}", "missing", missing.p, missing.n);
    if (!sign(pen, t, &args, r, &err) || !template_render(t, &args, r, &err))
        return json_pack("{ss}", "error", err.text);
    return json_pack("{so,sI,sI,sb,sb}", "message", base64_of(r), "size", (json_int_t)r->size, "message_size",
                     (json_int_t)r->message_size, "has_8bit", r->has_8bit, "needs_smtputf8",
                     r->needs_smtputf8);
}

static json_t *render_all(const struct template *t, const json_t *recipients, struct pen *pen)
{
    static struct vars_builder vars;
    struct rendition r = {0};
    json_t *list = json_array(), *recipient;
    size_t i;
    vars_builder_init(&vars);
    json_array_foreach(recipients, i, recipient)
        json_array_append_new(list, render(t, recipient, &vars, pen, &r));
    vars_builder_free(&vars);
    rendition_free(&r);
    return json_pack("{so,sb,sb,sb,sI}", "renditions", list, "same_for_all", t->info.same_for_all, "has_8bit",
                     t->info.has_8bit, "recoded", t->info.recoded, "size", (json_int_t)t->info.size);
}

static void read_fields(const json_t *job, struct message_spec *spec, struct message_header *headers)
{
    const struct {
        const char *key;
        struct str *at;
    } fields[] = {{"from", &spec->from},
                  {"sender", &spec->sender},
                  {"to", &spec->to},
                  {"cc", &spec->cc},
                  {"reply_to", &spec->reply_to},
                  {"in_reply_to", &spec->in_reply_to},
                  {"references", &spec->references},
                  {"subject", &spec->subject},
                  {"text", &spec->text},
                  {"html", &spec->html}};
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        *fields[i].at = text_of(job, fields[i].key);
    size_t i;
    json_t *pair;
    json_array_foreach(json_object_get(job, "headers"), i, pair) if (i < HEADERS_MAX)
        headers[spec->header_count++] =
            (struct message_header){str_of(json_string_value(json_array_get(pair, 0))),
                                    str_of(json_string_value(json_array_get(pair, 1)))};
    const json_t *merge = json_object_get(job, "merge");
    if (merge != NULL)
        spec->merge = json_is_true(merge) ? MESSAGE_MERGE_YES : MESSAGE_MERGE_NO;
    spec->seven_bit = json_is_true(json_object_get(job, "seven_bit"));
}

static json_t *run(const json_t *job)
{
    struct message_header headers[HEADERS_MAX];
    struct message_spec spec = {.date_ms = INT64_C(1700000000000),
                                .job = STR("J1"),
                                .id_domain = STR("mta.example"),
                                .headers = headers};
    struct message_storage storage;
    struct pen pen;
    struct buf record, raw;
    struct err err;
    struct template t;
    json_t *answer;
    buf_init(&record, CONTENT_MAX);
    buf_init(&raw, CONTENT_MAX);
    message_storage_init(&storage);
    read_fields(job, &spec, headers);
    if (json_object_get(job, "raw_base64") != NULL) {
        base64_decode(text_of(job, "raw_base64"), &raw);
        spec.raw = str_make(raw.data, raw.len);
    }
    const json_t *message = json_object_get(job, "message");
    if (pen_open(&pen, json_object_get(job, "dkim"), &err) &&
        (message == NULL || message_field_read(message, &spec, &storage, &err)) &&
        template_compile(&spec, &record, &err) && template_open(record.data, record.len, &t, &err))
        answer = render_all(&t, json_object_get(job, "recipients"), &pen);
    else
        answer = json_pack("{ss}", "error", err.text);
    pen_close(&pen);
    message_storage_free(&storage);
    buf_free(&record);
    buf_free(&raw);
    return answer;
}

int main(void)
{
    char *line = NULL;
    size_t capacity = 0;
    ssize_t n;
    while ((n = getline(&line, &capacity, stdin)) > 0) {
        json_t *job = json_loadb(line, (size_t)n, JSON_ALLOW_NUL, NULL);
        json_t *answer = job ? run(job) : json_pack("{ss}", "error", "this is not JSON");
        json_dumpf(answer, stdout, JSON_COMPACT);
        putchar('\n');
        fflush(stdout);
        json_decref(answer);
        json_decref(job);
    }
    free(line);
    return 0;
}
