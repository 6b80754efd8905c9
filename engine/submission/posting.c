/* posting.c - see posting.h. */
#include "engine/submission/posting.h"

#include "engine/base/js_scan.h"
#include "engine/base/units.h"
#include "engine/intake/members.h"
#include "engine/message/decode.h"
#include "engine/message/envelope.h"
#include "engine/message/mime.h"
#include "queue/rid.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define TRACE_MAX  1024
#define HEADER_MAX (16 * 1024) /* of one of these fields */

/* Fields of the header that are for us, in the order of `ours`. */
enum our_field {
    OUR_TENANT,
    OUR_CAMPAIGN,
    OUR_CLASS,
    OUR_POOL,
    OUR_METADATA,
    OUR_ID,
    OUR_RETURN_PATH,
    OUR_FIELDS
};

static const struct {
    struct str name;
    size_t max;
} ours[] = {
    [OUR_TENANT] = {{"X-Postrider-Tenant", 18}, NAME_MAX_BYTES},
    [OUR_CAMPAIGN] = {{"X-Postrider-Campaign", 20}, NAME_MAX_BYTES},
    [OUR_CLASS] = {{"X-Postrider-Class", 17}, NAME_MAX_BYTES},
    [OUR_POOL] = {{"X-Postrider-Pool", 16}, NAME_MAX_BYTES},
    [OUR_METADATA] = {{"X-Postrider-Metadata", 20}, HEADER_MAX},
    [OUR_ID] = {{"X-Postrider-Id", 14}, RCPT_ID_MAX},
    [OUR_RETURN_PATH] = {{"Return-Path", 11}, ADDRESS_MAX + 2},
};

struct header {
    bool has[OUR_FIELDS];
    struct buf values[OUR_FIELDS]; /* decoded, without folds */
    unsigned received;
    struct buf metadata; /* JSON, compact */
};

static bool refuse(char reply[ANSWER_MAX], const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool refuse(char reply[ANSWER_MAX], const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(reply, ANSWER_MAX, format, args);
    va_end(args);
    return false;
}

static bool no_memory(char reply[ANSWER_MAX])
{
    return refuse(reply, "451 4.3.0 no memory: try again later");
}

/* ---- the header ---- */

static bool take_field(struct header *header, enum our_field which, struct str value, char reply[ANSWER_MAX])
{
    struct buf plain, *out = &header->values[which];
    bool foreign = false;
    buf_init(&plain, HEADER_MAX);
    bool fits = !header->has[which] && mime_unfold(value, &plain) &&
                words_decode(str_trim(buf_str(&plain)), false, out, &foreign) && out->len <= ours[which].max;
    buf_free(&plain);
    if (header->has[which])
        return refuse(reply, "554 5.6.0 %s is given twice", ours[which].name.p);
    header->has[which] = true;
    return fits ||
           refuse(reply, "554 5.6.0 %s is longer than %zu octets", ours[which].name.p, ours[which].max);
}

static bool note_field(struct header *header, const struct mime_field *field, char reply[ANSWER_MAX])
{
    for (size_t i = 0; i < OUR_FIELDS; i++)
        if (str_eq_nocase(field->name, ours[i].name))
            return take_field(header, (enum our_field)i, field->value, reply);
    if (str_starts_nocase(field->name, STR("X-Postrider-")))
        return refuse(reply, "554 5.6.0 the field %.*s is not known: see postriderd(8)",
                      STR_ARG(field->name));
    header->received += str_eq_nocase(field->name, STR("Received"));
    return true;
}

static bool header_read(struct header *header, struct str message, char reply[ANSWER_MAX])
{
    struct mime_fields fields = {0};
    struct str body;
    struct err err;
    *header = (struct header){0};
    for (size_t i = 0; i < OUR_FIELDS; i++)
        buf_init(&header->values[i], HEADER_MAX);
    buf_init(&header->metadata, METADATA_MAX);
    bool good = mime_read_header(message, &fields, &body, &err) ||
                (err.code == ENOMEM ? no_memory(reply) : refuse(reply, "554 5.6.0 %s", err.text));
    for (size_t i = 0; good && i < fields.count; i++)
        good = note_field(header, &fields.at[i], reply);
    free(fields.at);
    if (good && header->received > SUBMISSION_RECEIVED_MAX)
        return refuse(reply, "554 5.4.6 the message goes in circles: it has %u Received fields",
                      header->received);
    return good;
}

static void header_free(struct header *header)
{
    for (size_t i = 0; i < OUR_FIELDS; i++)
        buf_free(&header->values[i]);
    buf_free(&header->metadata);
}

/* ---- the job ---- */

static bool take_class(struct job_line *job, const struct parcel *parcel, const struct header *header,
                       char reply[ANSWER_MAX])
{
    struct str class = buf_str(&header->values[OUR_CLASS]);
    job->spec.class_ = parcel->priority > 0 ? CLASS_TRANSACTIONAL : CLASS_BULK;
    if (!header->has[OUR_CLASS])
        return true;
    bool transactional = str_eq_nocase(class, STR("transactional"));
    job->spec.class_ = transactional ? CLASS_TRANSACTIONAL : CLASS_BULK;
    return transactional || str_eq_nocase(class, STR("bulk")) ||
           refuse(reply, "554 5.6.0 X-Postrider-Class must be bulk or transactional");
}

static bool take_metadata(struct job_line *job, struct header *header, char reply[ANSWER_MAX])
{
    json_error_t where;
    struct err err;
    if (!header->has[OUR_METADATA])
        return true;
    json_t *object = js_load(buf_str(&header->values[OUR_METADATA]), &where);
    bool good = object != NULL ? member_metadata(object, &header->metadata, &err)
                               : err_set(&err, 0, "malformed JSON: %s", where.text);
    json_decref(object);
    job->spec.metadata = buf_str(&header->metadata);
    return good || refuse(reply, "554 5.6.0 X-Postrider-Metadata: %s", err.text);
}

/* Without its angle brackets. The null sender stays what it is: nobody answers a report. */
static bool take_from(struct job_line *job, const struct parcel *parcel, const struct header *header,
                      char reply[ANSWER_MAX])
{
    struct str path = buf_str(&header->values[OUR_RETURN_PATH]);
    bool per_recipient, utf8;
    struct err err;
    job->spec.from = str_of(parcel->from);
    if (!header->has[OUR_RETURN_PATH] || parcel->from[0] == '\0')
        return true;
    if (path.n >= 2 && path.p[0] == '<' && path.p[path.n - 1] == '>')
        path = str_make(path.p + 1, path.n - 2);
    job->spec.from = path;
    return envelope_check(path, RID_TEXT_MAX - 1, &per_recipient, &utf8, &err) ||
           refuse(reply, "554 5.6.0 Return-Path: %s", err.text);
}

/* What a control character may not be in. */
static bool is_clean(const struct header *header, char reply[ANSWER_MAX])
{
    for (size_t i = 0; i < OUR_FIELDS; i++)
        for (size_t k = 0; i != OUR_METADATA && k < header->values[i].len; k++)
            if ((unsigned char)header->values[i].data[k] < ' ' || header->values[i].data[k] == 0x7f)
                return refuse(reply, "554 5.6.0 %s holds a control character", ours[i].name.p);
    return true;
}

static bool fill(struct job_line *job, const struct parcel *parcel, struct header *header,
                 char reply[ANSWER_MAX])
{
    struct job_spec *spec = &job->spec;
    spec->tenant = buf_str(&header->values[OUR_TENANT]);
    spec->campaign = buf_str(&header->values[OUR_CAMPAIGN]);
    spec->pool = buf_str(&header->values[OUR_POOL]);
    spec->envid = str_of(parcel->envid);
    spec->ret = parcel->ret;
    spec->notify = parcel->delay_warning_ms > 0 ? NOTIFY_FAILURE | NOTIFY_DELAY : 0;
    spec->delay_warning_ms = parcel->delay_warning_ms;
    spec->bounces = BOUNCES_DSN;
    job->has_bounces = true;
    spec->not_before_ms = parcel->not_before_ms;
    spec->lifetime_ms = parcel->lifetime_ms;
    job->message.raw = buf_str(&parcel->message);
    job->message.merge = MESSAGE_MERGE_NO;
    return is_clean(header, reply) && take_class(job, parcel, header, reply) &&
           take_metadata(job, header, reply) && take_from(job, parcel, header, reply);
}

/* The protocol as RFC 3848 and 6531 name it: [UTF8]SMTP or ESMTP, S for TLS, A for a login. */
static bool write_trace(struct buf *out, const struct parcel *parcel, const struct posting_origin *origin,
                        struct now now)
{
    char date[UNITS_TEXT_MAX];
    mail_date_format(now.wall_ms, date);
    buf_add_z(out, "Received: from ");
    for (const char *p = origin->helo; *p != '\0'; p++) /* what it says is not to be believed */
        buf_add_char(out, *p > ' ' && *p < 0x7f && strchr("()<>\\\",;", *p) == NULL ? *p : '?');
    buf_printf(out, " (%s)\r\n\tby %s (Postrider) with %s%s%s", origin->peer, origin->hostname,
               parcel->utf8       ? "UTF8SMTP"
               : origin->extended ? "ESMTP"
                                  : "SMTP",
               origin->tls[0] != '\0' ? "S" : "", origin->logged_in ? "A" : "");
    if (origin->tls[0] != '\0')
        buf_printf(out, "\r\n\t(%s)", origin->tls);
    buf_printf(out, ";\r\n\t%s\r\n", date);
    return !out->failed;
}

/* What is wrong with a job by what it says is 554, what its tenant may not do 550. */
static bool refuse_job(const struct err *err, char reply[ANSWER_MAX])
{
    if (err->code == ENOMEM)
        return no_memory(reply);
    return refuse(reply, err->code == EACCES ? "550 5.7.1 %s" : "554 5.6.0 %s", err->text);
}

bool posting_begin(struct posting *posting, struct store *store, const struct job_rules *rules,
                   const struct parcel *parcel, const struct posting_origin *origin, struct now now,
                   char reply[ANSWER_MAX])
{
    struct job_line job;
    struct header header;
    struct buf trace;
    struct err err = {0};
    job_line_begin(&job);
    (void)buf_lacked();
    buf_init(&trace, TRACE_MAX);
    buf_init(&posting->id, RCPT_ID_MAX);
    bool good = header_read(&header, buf_str(&parcel->message), reply) &&
                fill(&job, parcel, &header, reply) &&
                (write_trace(&trace, parcel, origin, now) || no_memory(reply));
    if (good) {
        job.message.trace = buf_str(&trace);
        good = job_line_complete(&job, rules, now, &err) || refuse_job(&err, reply);
    }
    if (good) {
        posting->admit = admit_begin(store, &job.spec, now, &err);
        good = posting->admit != NULL && buf_add_str(&posting->id, buf_str(&header.values[OUR_ID]));
        good = good || no_memory(reply);
    }
    if (buf_lacked()) /* it may also look good, and want a piece */
        good = no_memory(reply);
    buf_free(&trace);
    header_free(&header);
    job_line_free(&job);
    return good;
}

bool posting_fill(struct posting *posting, const struct parcel *parcel, bool *more, char reply[ANSWER_MAX])
{
    struct rcpt_spec rcpt;
    struct err err;
    *more = false;
    while (!*more && parcel_next_rcpt(parcel, &posting->at, &rcpt)) {
        rcpt.id = buf_str(&posting->id);
        if (!admit_add(posting->admit, &rcpt, &err))
            return refuse_job(&err, reply);
        *more = admit_window_full(posting->admit) && posting->at < parcel->rcpts.len;
    }
    return true;
}

void posting_free(struct posting *posting)
{
    if (posting->admit != NULL)
        admit_free(posting->admit);
    buf_free(&posting->id);
    *posting = (struct posting){0};
}
