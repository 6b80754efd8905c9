/* job_line.c - see job_line.h. A table of fields; each has a function that checks its value. What depends on
 * several fields comes after, then the message is compiled. */
#include "engine/intake/job_line.h"

#include "engine/base/prng.h"
#include "engine/base/units.h"
#include "engine/intake/feedback.h"
#include "engine/intake/members.h"
#include "engine/intake/message_field.h"
#include "engine/message/envelope.h"
#include "engine/tls/digest.h"
#include "engine/tls/wish.h"
#include "queue/rid.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

typedef bool read_field_fn(struct job_line *job, const json_t *value, struct err *err);

static bool read_from(struct job_line *job, const json_t *value, struct err *err)
{
    job->has_from = true;
    return member_name("from", value, ADDRESS_MAX, &job->spec.from, err);
}

static bool read_message(struct job_line *job, const json_t *value, struct err *err)
{
    job->message_value = value;
    return json_is_object(value) || member_wrong_type("message", "an object", value, err);
}

static bool read_merge(struct job_line *job, const json_t *value, struct err *err)
{
    bool merge;
    if (!member_bool("merge", value, &merge, err))
        return false;
    job->message.merge = merge ? MESSAGE_MERGE_YES : MESSAGE_MERGE_NO;
    return true;
}

static bool read_tenant(struct job_line *job, const json_t *value, struct err *err)
{
    return member_name("tenant", value, NAME_MAX_BYTES, &job->spec.tenant, err) &&
           (job->spec.tenant.n > 0 || err_set(err, 0, "\"tenant\" is empty: leave it out for \"default\""));
}

static bool read_campaign(struct job_line *job, const json_t *value, struct err *err)
{
    return member_name("campaign", value, NAME_MAX_BYTES, &job->spec.campaign, err);
}

static bool read_class(struct job_line *job, const json_t *value, struct err *err)
{
    struct str text = {0};
    if (json_is_string(value) && !member_string("class", value, 64, &text, err))
        return false;
    if (str_eq(text, STR("transactional")))
        job->spec.class_ = CLASS_TRANSACTIONAL;
    else if (str_eq(text, STR("bulk")))
        job->spec.class_ = CLASS_BULK;
    else
        return err_set(err, 0, "\"class\" must be \"bulk\" or \"transactional\"");
    return true;
}

static bool read_pool(struct job_line *job, const json_t *value, struct err *err)
{
    return member_name("pool", value, NAME_MAX_BYTES, &job->spec.pool, err);
}

static bool read_ret(struct job_line *job, const json_t *value, struct err *err)
{
    const char *text = json_is_string(value) ? json_string_value(value) : "";
    if (strcasecmp(text, "hdrs") == 0)
        job->spec.ret = RET_HDRS;
    else if (strcasecmp(text, "full") == 0)
        job->spec.ret = RET_FULL;
    else
        return err_set(err, 0, "\"dsn\": \"ret\" must be \"hdrs\" or \"full\"");
    return true;
}

static bool read_envid(struct job_line *job, const json_t *value, struct err *err)
{
    if (!member_name("envid", value, ENVID_MAX, &job->spec.envid, err))
        return false;
    for (size_t i = 0; i < job->spec.envid.n; i++) {
        if (job->spec.envid.p[i] & '\x80')
            return err_set(err, 0, "\"dsn\": \"envid\" must be ASCII (RFC 3461 4.4)");
    }
    return true;
}

static bool read_dsn(struct job_line *job, const json_t *value, struct err *err)
{
    const char *name;
    const json_t *member;
    if (!json_is_object(value))
        return member_wrong_type("dsn", "an object", value, err);
    job->has_dsn = true;
    json_object_foreach((json_t *)(uintptr_t)value, name, member)
    {
        bool good;
        if (strcmp(name, "notify") == 0)
            good = member_notify("notify", member, &job->spec.notify, err);
        else if (strcmp(name, "ret") == 0)
            good = read_ret(job, member, err);
        else if (strcmp(name, "envid") == 0)
            good = read_envid(job, member, err);
        else
            good = err_set(err, 0, "\"dsn\" has an unknown field \"%.100s\": it has notify, ret and envid",
                           name);
        if (!good)
            return false;
    }
    return true;
}

static bool read_bounces(struct job_line *job, const json_t *value, struct err *err)
{
    const char *text = json_is_string(value) ? json_string_value(value) : "";
    job->has_bounces = true;
    if (strcmp(text, "dsn") == 0)
        job->spec.bounces = BOUNCES_DSN;
    else if (strcmp(text, "report") == 0)
        job->spec.bounces = BOUNCES_REPORT;
    else if (strcmp(text, "none") == 0)
        job->spec.bounces = BOUNCES_NONE;
    else
        return err_set(err, 0, "\"bounces\" must be \"dsn\", \"report\" or \"none\"");
    return true;
}

static bool read_not_before(struct job_line *job, const json_t *value, struct err *err)
{
    char number[MEMBER_NUMBER_MAX];
    struct str text = {number, 0};
    if (json_is_string(value) && !member_string("not_before", value, 64, &text, err))
        return false;
    if (json_is_number(value))
        member_scalar(value, number, &text.n);
    return time_parse(text, &job->spec.not_before_ms) ||
           err_set(err, 0,
                   "\"not_before\" must be a time such as \"2030-01-31T08:00:00Z\", or seconds since 1970");
}

static bool read_lifetime(struct job_line *job, const json_t *value, struct err *err)
{
    struct str text = {"", 0};
    if (json_is_string(value) && !member_string("lifetime", value, 64, &text, err))
        return false;
    return (duration_parse(text, &job->spec.lifetime_ms) && job->spec.lifetime_ms > 0 &&
            job->spec.lifetime_ms <= JOB_LIFETIME_MAX_MS) ||
           err_set(err, 0,
                   "\"lifetime\" must be a duration such as \"4h\" or \"4d12h\", of at most 366 days");
}

static bool read_require_tls(struct job_line *job, const json_t *value, struct err *err)
{
    return member_bool("require_tls", value, &job->wants_tls, err);
}

static bool read_require_dkim(struct job_line *job, const json_t *value, struct err *err)
{
    return member_bool("require_dkim", value, &job->wants_dkim, err);
}

static bool read_key(struct job_line *job, const json_t *value, struct err *err)
{
    return member_name("idempotency_key", value, IDEMPOTENCY_KEY_MAX, &job->idempotency_key, err) &&
           (job->idempotency_key.n > 0 || err_set(err, 0, "\"idempotency_key\" is empty"));
}

static bool read_job_metadata(struct job_line *job, const json_t *value, struct err *err)
{
    buf_init(&job->metadata, METADATA_MAX);
    if (!member_metadata(value, &job->metadata, err))
        return false;
    job->spec.metadata = buf_str(&job->metadata);
    return true;
}

static const struct {
    const char *name;
    read_field_fn *read;
} fields[] = {
    {"from", read_from},
    {"message", read_message},
    {"merge", read_merge},
    {"tenant", read_tenant},
    {"campaign", read_campaign},
    {"class", read_class},
    {"pool", read_pool},
    {"dsn", read_dsn},
    {"bounces", read_bounces},
    {"not_before", read_not_before},
    {"lifetime", read_lifetime},
    {"require_tls", read_require_tls},
    {"require_dkim", read_require_dkim},
    {"idempotency_key", read_key},
    {"metadata", read_job_metadata},
};
#define FIELD_COUNT (sizeof fields / sizeof *fields)

static read_field_fn *find_field(const char *name)
{
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        if (strcmp(fields[i].name, name) == 0)
            return fields[i].read;
    }
    return NULL;
}

static bool read_fields(struct job_line *job, struct err *err)
{
    const char *name;
    json_t *value;
    json_object_foreach(job->root, name, value)
    {
        read_field_fn *read = find_field(name);
        if (read == NULL)
            return err_set(err, 0, "unknown field \"%.100s\" in the job: see postrider-api(7)", name);
        if (!read(job, value, err))
            return false;
    }
    if (job->message_value == NULL)
        return err_set(err, 0, "the job has no \"message\"");
    if (!job->has_from)
        return err_set(err, 0, "the job has no \"from\": give the envelope sender, or \"\" for none");
    return true;
}

/* Right of the sender's @; empty where there is none, or it is not the same for all. */
static struct str sender_domain(struct str from)
{
    size_t at = from.n;
    while (at > 0 && from.p[at - 1] != '@')
        at--;
    if (at == 0)
        return STR("");
    struct str domain = str_make(from.p + at, from.n - at);
    return str_find(domain, '{', 0) == SIZE_MAX ? domain : STR("");
}

/* For a Message-ID. */
static struct str id_domain(struct str from, const struct config *config)
{
    struct str domain = sender_domain(from);
    return domain.n > 0 ? domain : str_of(config->hostname);
}

/* Mail whose route depends on its sender has lanes of its own: config_pool_text. */
static bool settle_pool(struct job_line *job, const struct config *config, struct err *err)
{
    struct job_spec *spec = &job->spec;
    struct str domain = sender_domain(spec->from);
    if (!config_routes_by_sender(config, domain, spec->tenant))
        return true;
    if (spec->pool.n + 1 + domain.n > NAME_MAX_BYTES)
        return err_set(err, 0, "the sender's domain is too long to be routed by: %zu bytes, at most %zu",
                       domain.n, NAME_MAX_BYTES - 1 - spec->pool.n);
    memcpy(job->way, spec->pool.p, spec->pool.n);
    job->way[spec->pool.n] = '@';
    str_lower(domain, job->way + spec->pool.n + 1);
    spec->pool = str_make(job->way, spec->pool.n + 1 + domain.n);
    return true;
}

/* What one field says of another, and the defaults. */
static bool settle_fields(struct job_line *job, const struct job_rules *rules, struct err *err)
{
    struct job_spec *spec = &job->spec;
    spec->require_tls = job->wants_tls;
    if (job->wants_tls)
        spec->ret = RET_HDRS; /* a report holds no more of it, RFC 8689 4.2 */
    if (rules->tenant.n > 0 && spec->tenant.n > 0 && !str_eq(rules->tenant, spec->tenant))
        return err_set(err, EACCES, "the tenant \"%.*s\" is not yours: this user is bound to \"%.*s\"",
                       STR_ARG(spec->tenant), STR_ARG(rules->tenant));
    if (spec->tenant.n == 0)
        spec->tenant = rules->tenant.n > 0 ? rules->tenant : STR("default");
    if (spec->pool.n == 0)
        spec->pool = str_of(config_tenant_of(rules->config, spec->tenant)->pool);
    if (config_pool_text(spec->pool).n != spec->pool.n || config_pool_of(rules->config, spec->pool) == NULL)
        return err_set(err, 0, "there is no pool \"%.*s\" in the configuration", STR_ARG(spec->pool));
    if (!settle_pool(job, rules->config, err))
        return false;
    if (!job->has_bounces)
        spec->bounces = spec->class_ == CLASS_TRANSACTIONAL || job->has_dsn ? BOUNCES_DSN : BOUNCES_REPORT;
    return true;
}

/* For Message-IDs; the kernel is asked once a thread. */
static uint64_t unique_number(void)
{
    static _Thread_local struct prng prng;
    if (prng.state == 0)
        prng.state = prng_seed();
    return prng_next(&prng);
}

static void warn(struct job_line *job, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void warn(struct job_line *job, const char *format, ...)
{
    char text[ERR_TEXT_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (job->warnings.len > 0)
        buf_add_char(&job->warnings, ',');
    js_write(&job->warnings, js_text(str_of(text)));
}

/* What the platform may not expect. */
static void warn_of_message(struct job_line *job)
{
    const struct template_info *info = &job->template.info;
    if (info->removed_bcc)
        warn(job, "Bcc was taken out: it is never sent");
    if (info->removed_return_path)
        warn(job, "Return-Path was taken out: the receiver writes it, after the job's \"from\"");
    if (info->removed_received)
        warn(job, "Received was taken out: only servers that a message passes write it");
    if (info->lacks_from)
        warn(job, "the message has no From field: many receivers refuse it (RFC 5322 3.6)");
}

static bool compile_once(struct job_line *job, struct err *err)
{
    job->message.keep_binary = true;
    buf_clear(&job->content);
    return (template_compile(&job->message, &job->content, err) &&
            template_open(job->content.data, job->content.len, &job->template, err)) ||
           err_prefix(err, "\"message\"");
}

/* Whether there is a key that will sign it. What is signed must not be changed on its way, so that nothing
 * 8-bit is left for a host without 8BITMIME (RFC 6376 5.3); but a signature it came with must not break. */
static bool prepare_signature(struct job_line *job, const struct job_rules *rules, struct err *err)
{
    const struct template_info *info = &job->template.info;
    if (!job->wants_dkim && rules->dkim != NULL && dkim_identity(rules->dkim, 0) == NULL)
        return true; /* nothing is signed here, which needs no word with every job */
    char domain[DOMAIN_MAX + 1] = "";
    enum template_from from = template_from_domain(&job->template, domain);
    bool has_key = from == TEMPLATE_FROM_FIXED && dkim_find(rules->dkim, str_of(domain)) != NULL;
    if (job->wants_dkim && from == TEMPLATE_FROM_VARIES)
        return err_set(err, 0,
                       "\"require_dkim\": From holds a variable, so that its domain is not known yet");
    if (job->wants_dkim && !has_key)
        return err_set(err, 0,
                       "\"require_dkim\": there is no key for \"%s\", the domain in From (see dkim "
                       "in postrider.yaml(5))",
                       domain);
    if (has_key && info->has_8bit && !info->has_signature) {
        job->message.seven_bit = true;
        return compile_once(job, err);
    }
    if (!has_key && from == TEMPLATE_FROM_FIXED && rules->dkim != NULL && !info->has_signature)
        warn(job, "it goes out unsigned: there is no DKIM key for %s", domain);
    return true;
}

static bool compile(struct job_line *job, const struct job_rules *rules, struct now now, struct err *err)
{
    struct job_spec *spec = &job->spec;
    bool per_recipient, utf8;
    char unique[48];
    if (!envelope_check(spec->from, RID_TEXT_MAX - 1, &per_recipient, &utf8, err)) {
        err_prefix(err, "\"from\"");
        return false;
    }
    int n = snprintf(unique, sizeof unique, "%" PRIx64 ".%" PRIx64, (uint64_t)now.wall_ms, unique_number());
    job->message.job = str_make(unique, (size_t)n);
    job->message.date_ms = now.wall_ms;
    job->message.id_domain = id_domain(spec->from, rules->config);
    buf_init(&job->content, CONTENT_MAX);
    job->message.require_dkim = job->wants_dkim;
    struct buf feedback;
    buf_init(&feedback, 4096);
    if (!feedback_expand(str_of(rules->config->feedback_id), spec, &feedback))
        buf_clear(&feedback); /* no memory: what follows will say so */
    job->message.feedback_id = buf_str(&feedback);
    bool good = compile_once(job, err) && prepare_signature(job, rules, err);
    job->message.feedback_id.n = 0;
    buf_free(&feedback);
    if (!good)
        return false;
    warn_of_message(job);
    /* The record holds all of the message: its source may be large and is not needed any more. */
    json_object_del(job->root, "message");
    job->message_value = NULL;
    message_storage_free(&job->storage);
    spec->content = job->content.data;
    spec->content_size = job->content.len;
    if (spec->content_size > FRESH_CONTENT_MAX || repeats_note(rules->repeats, buf_str(&job->content)))
        digest_of(spec->content, spec->content_size, spec->content_hash);
    enum tls_wish wish = job->wants_tls                    ? TLS_WISH_REQUIRED
                         : job->template.info.tls_optional ? TLS_WISH_OPTIONAL
                                                           : TLS_WISH_NONE;
    spec->pool = wish_add(spec->pool, wish, job->pool);
    if (spec->pool.n == 0)
        return err_set(err, 0, "\"pool\": a name that long leaves no room for what is asked of TLS");
    spec->message_size = job->template.info.size;
    spec->same_for_all = job->template.info.same_for_all && !per_recipient;
    return true;
}

void job_line_begin(struct job_line *job)
{
    *job = (struct job_line){.spec.campaign = STR("")};
    message_storage_init(&job->storage);
    buf_init(&job->warnings, JOB_WARNINGS_MAX);
}

bool job_line_complete(struct job_line *job, const struct job_rules *rules, struct now now, struct err *err)
{
    return settle_fields(job, rules, err) && compile(job, rules, now, err);
}

bool job_line_read(struct job_line *job, json_t *root, const struct job_rules *rules, struct now now,
                   struct err *err)
{
    job_line_begin(job);
    job->root = root;
    return read_fields(job, err) && settle_fields(job, rules, err) &&
           message_field_read(job->message_value, &job->message, &job->storage, err) &&
           compile(job, rules, now, err);
}

void job_line_free(struct job_line *job)
{
    json_decref(job->root);
    message_storage_free(&job->storage);
    buf_free(&job->content);
    buf_free(&job->warnings);
    buf_free(&job->metadata);
    *job = (struct job_line){0};
}

bool job_line_resembles(const json_t *object)
{
    size_t hits = 0;
    for (size_t i = 0; i < FIELD_COUNT; i++)
        hits += strcmp(fields[i].name, "metadata") != 0 && json_object_get(object, fields[i].name) != NULL;
    return hits > 0;
}

bool job_line_resembles_text(struct str line)
{
    return memmem(line.p, line.n, STR("\"message\"").p, STR("\"message\"").n) != NULL;
}
