/* upload_job.c - see upload_job.h.
 *
 * The digest of a job, by which a repeated key is compared, is that of its job line's digest and then each
 * further line with a line feed; line ends and blank lines do not count. */
#include "engine/intake/upload_job.h"

#include "engine/base/js.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define KEY_TTL_MS   (INT64_C(7) * 24 * 3600 * 1000)
#define REJECTED_MAX (REJECTED_LISTED_MAX * 2048)
#define TO_SHOWN_MAX 400
#define ANSWER_MAX   (REJECTED_MAX + JOB_WARNINGS_MAX + 1024)

static bool fail(struct upload_failure *failure, unsigned status, const char *code, uint64_t line)
{
    failure->status = status;
    failure->code = code;
    failure->line = line;
    return false;
}

/* ---- idempotency ---- */

static void hash_key(struct str tenant, struct str key, unsigned number, uint8_t hash[DIGEST_SIZE])
{
    char text[NAME_MAX_BYTES + IDEMPOTENCY_KEY_MAX + 32];
    int n = snprintf(text, sizeof text, "%.*s%c%.*s", STR_ARG(tenant), '\n', STR_ARG(key));
    if (number > 0)
        n += snprintf(text + n, sizeof text - (size_t)n, "/%u", number);
    digest_of(text, (size_t)n, hash);
}

bool upload_job_keyed(const struct upload_scope *scope, const json_t *root)
{
    return !scope->dry_run && (scope->key.n > 0 || json_object_get(root, "idempotency_key") != NULL);
}

static enum upload_job_opened no_memory(const struct upload_job *job, struct upload_failure *failure)
{
    err_set(&failure->err, ENOMEM, "no memory for the job");
    fail(failure, 500, "failed", job->line_number);
    return UPLOAD_JOB_FAILED;
}

/* Looks whether this key was used before; only one job at a time may be under way with it. */
static enum upload_job_opened take_key(struct upload_job *job, const struct upload_scope *scope,
                                       unsigned number, const uint8_t line_digest[DIGEST_SIZE],
                                       struct now now, struct upload_failure *failure)
{
    struct str own = job->line.idempotency_key;
    hash_key(job->line.spec.tenant, own.n ? own : scope->key, own.n ? 0 : number, job->key_hash);
    enum keys_result result = keys_enter(scope->keys, job->key_hash);
    if (result == KEYS_UNDER_WAY) {
        err_set(&failure->err, EBUSY, "a request with this idempotency key is under way");
        fail(failure, 409, "in_progress", job->line_number);
        return UPLOAD_JOB_BUSY;
    }
    job->has_key = true;
    job->entered = result == KEYS_ENTERED;
    job->digest = digest_begin();
    if (!job->entered || job->digest == NULL)
        return no_memory(job, failure);
    digest_add(job->digest, line_digest, DIGEST_SIZE);
    job->replay = store_key_find(scope->store, job->key_hash, now, job->kept_digest, &job->answer);
    return UPLOAD_JOB_OPEN;
}

static bool finish_replay(struct upload_job *job, struct upload_failure *failure)
{
    uint8_t digest[DIGEST_SIZE];
    digest_end(job->digest, digest);
    job->digest = NULL;
    if (memcmp(digest, job->kept_digest, DIGEST_SIZE) == 0)
        return true;
    err_set(&failure->err, 0, "this idempotency key was used before, with another job: take a new key");
    return fail(failure, 422, "key_reused", job->line_number);
}

/* ---- a job's life ---- */

bool upload_job_begin(struct upload_job *job, const struct upload_scope *scope, json_t *root,
                      uint64_t line_number, struct now now, struct upload_failure *failure)
{
    *job = (struct upload_job){.open = true, .line_number = line_number};
    buf_init(&job->rejected_list, REJECTED_MAX);
    buf_init(&job->answer, ANSWER_MAX);
    (void)buf_lacked();
    bool good = job_line_read(&job->line, root, &scope->rules, now, &failure->err);
    int code = good ? 0 : failure->err.code;
    if (code == ENOMEM || buf_lacked()) { /* it may also look good, and want a piece */
        no_memory(job, failure);
        return false;
    }
    if (good)
        return true;
    return fail(failure, code == EACCES ? 403 : 400, code == EACCES ? "forbidden" : "bad_job", line_number);
}

enum upload_job_opened upload_job_open(struct upload_job *job, const struct upload_scope *scope,
                                       unsigned number, const uint8_t line_digest[DIGEST_SIZE],
                                       struct now now, struct upload_failure *failure)
{
    if (!scope->dry_run && (job->line.idempotency_key.n > 0 || scope->key.n > 0)) {
        enum upload_job_opened result = take_key(job, scope, number, line_digest, now, failure);
        if (result != UPLOAD_JOB_OPEN)
            return result;
    }
    job->opened = true;
    if (scope->dry_run || job->replay)
        return UPLOAD_JOB_OPEN;
    job->admit = admit_begin(scope->store, &job->line.spec, now, &failure->err);
    if (job->admit != NULL)
        return UPLOAD_JOB_OPEN;
    fail(failure, 500, "failed", job->line_number);
    return UPLOAD_JOB_FAILED;
}

void upload_job_line(struct upload_job *job, struct str line)
{
    if (job->digest == NULL)
        return;
    digest_add(job->digest, line.p, line.n);
    digest_add(job->digest, "\n", 1);
}

void upload_job_reject(struct upload_job *job, const struct upload_scope *scope, uint64_t line_number,
                       struct str to, const struct err *err)
{
    if (job->rejected++ == 0) {
        job->first_rejected = *err;
        job->first_rejected_line = line_number;
    }
    if (job->rejected > REJECTED_LISTED_MAX)
        return;
    json_t *entry = json_object();
    js_set_int(entry, scope->place, line_number);
    if (to.n > TO_SHOWN_MAX)
        to.n = TO_SHOWN_MAX;
    js_set(entry, "to", to.p ? js_text(to) : json_null());
    js_set(entry, "error", js_text(str_of(err->text)));
    size_t before = job->rejected_list.len;
    if (before > 0)
        buf_add_char(&job->rejected_list, ',');
    if (!js_write(&job->rejected_list, entry))
        job->rejected_list.len = before;
}

/* A failure, or an entry on the list of the rejected; to as it was given. */
static bool refuse(struct upload_job *job, const struct upload_scope *scope, uint64_t line_number,
                   struct str to, const struct err *err, struct upload_failure *failure)
{
    if (err->code == ENOMEM || buf_lacked()) {
        err_set(&failure->err, ENOMEM, "no memory for the recipient");
        return fail(failure, 500, "failed", line_number);
    }
    upload_job_reject(job, scope, line_number, to, err);
    return true;
}

static bool add(struct upload_job *job, const struct rcpt_spec *rcpt, struct err *err)
{
    struct str missing;
    if (template_missing(&job->line.template, rcpt->vars, &missing))
        return err_set(err, 0, "the message needs the variable \"%.*s\"", STR_ARG(missing));
    if (job->admit != NULL && !admit_add(job->admit, rcpt, err))
        return false;
    job->accepted++;
    return true;
}

bool upload_job_add(struct upload_job *job, const struct upload_scope *scope, const struct rcpt_spec *rcpt,
                    uint64_t line_number, struct upload_failure *failure)
{
    struct err err;
    (void)buf_lacked(); /* for another's buf */
    return job->replay || add(job, rcpt, &err) || refuse(job, scope, line_number, rcpt->to, &err, failure);
}

static struct str text_member(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);
    return json_is_string(value) ? str_make(json_string_value(value), json_string_length(value))
                                 : (struct str){NULL, 0};
}

bool upload_job_rcpt(struct upload_job *job, const struct upload_scope *scope, struct rcpt_reader *reader,
                     const json_t *object, uint64_t line_number, struct upload_failure *failure)
{
    struct rcpt_spec rcpt;
    struct err err;
    err.code = 0;
    (void)buf_lacked();
    return job->replay || (rcpt_read(reader, object, &rcpt, &err) && add(job, &rcpt, &err)) ||
           refuse(job, scope, line_number, text_member(object, "to"), &err, failure);
}

/* {"job":"17","accepted":9998,"suppressed":0,"rejected":[…],"rejected_count":1,"warnings":["…"]} */
static bool make_answer(struct upload_job *job)
{
    struct buf *out = &job->answer;
    buf_clear(out);
    buf_add_char(out, '{');
    if (job->admit != NULL) {
        buf_add_z(out, "\"job\":\"");
        buf_add_u64(out, admit_job(job->admit));
        buf_add_z(out, "\",");
    }
    uint64_t suppressed = job->admit != NULL ? admit_suppressed(job->admit) : 0;
    buf_add_z(out, "\"accepted\":");
    buf_add_u64(out, job->accepted - suppressed);
    buf_add_z(out, ",\"suppressed\":");
    buf_add_u64(out, suppressed);
    buf_add_z(out, ",\"rejected\":[");
    buf_add_str(out, buf_str(&job->rejected_list));
    buf_add_char(out, ']');
    if (job->rejected > 0)
        buf_printf(out, ",\"rejected_count\":%" PRIu64, job->rejected);
    if (job->line.warnings.len > 0) {
        buf_add_z(out, ",\"warnings\":[");
        buf_add_str(out, buf_str(&job->line.warnings));
        buf_add_char(out, ']');
    }
    return buf_add_char(out, '}');
}

/* Nobody to send to. */
static bool fail_empty(struct upload_job *job, const struct upload_scope *scope,
                       struct upload_failure *failure)
{
    if (job->rejected == 0)
        err_set(&failure->err, 0, "the job has no recipients");
    else
        err_set(&failure->err, 0,
                "none of the job's %" PRIu64 " recipients can be accepted; the first, %s %" PRIu64 ": %.300s",
                job->rejected, scope->place, job->first_rejected_line, job->first_rejected.text);
    return fail(failure, 400, "bad_job", job->line_number);
}

bool upload_job_finish(struct upload_job *job, const struct upload_scope *scope,
                       struct upload_failure *failure)
{
    if (job->replay)
        return finish_replay(job, failure);
    if (job->accepted == 0)
        return fail_empty(job, scope, failure);
    if (!make_answer(job)) {
        err_set(&failure->err, ENOMEM, "no memory for the answer");
        return fail(failure, 500, "failed", job->line_number);
    }
    if (job->has_key) {
        job->admit_key =
            (struct admit_key){.set = true, .ttl_ms = KEY_TTL_MS, .answer = buf_str(&job->answer)};
        memcpy(job->admit_key.key_hash, job->key_hash, DIGEST_SIZE);
        digest_end(job->digest, job->admit_key.digest);
        job->digest = NULL;
    }
    return true;
}

void upload_job_close(struct upload_job *job, const struct upload_scope *scope)
{
    if (!job->open)
        return;
    if (job->admit != NULL)
        admit_free(job->admit);
    if (job->digest != NULL)
        digest_end(job->digest, NULL);
    if (job->entered)
        keys_leave(scope->keys, job->key_hash);
    job_line_free(&job->line);
    buf_free(&job->rejected_list);
    buf_free(&job->answer);
    *job = (struct upload_job){0};
}

void upload_job_hand_over(struct upload_job *job, struct upload_done *done)
{
    *done = (struct upload_done){.admit = job->admit,
                                 .answer = job->answer,
                                 .line_number = job->line_number,
                                 .accepted = job->accepted,
                                 .rejected = job->rejected,
                                 .entered = job->entered};
    memcpy(done->key_hash, job->key_hash, DIGEST_SIZE);
    job_line_free(&job->line);
    buf_free(&job->rejected_list);
    *job = (struct upload_job){0};
}

void upload_done_free(struct upload_done *done, struct keys *keys)
{
    if (done->admit != NULL)
        admit_free(done->admit);
    if (done->entered)
        keys_leave(keys, done->key_hash);
    buf_free(&done->answer);
}
