/* upload_answer.c - how an upload ends, for the client: what was accepted, or what failed and what stands. */
#include "engine/admin/upload_parts.h"

#include <stdio.h>

void upload_leave_place(struct upload *upload)
{
    if (upload->has_place)
        gate_leave(&upload->intake->gate);
    upload->has_place = false;
}

void upload_leave_all(struct upload *upload)
{
    if (upload->entered)
        keys_leave(upload->intake->keys, upload->key_hash);
    upload->entered = false;
    upload_leave_place(upload);
}

/* {"error":{"line","code","reason"},"jobs":[…]}, and what was rejected if that is why. Jobs that were
 * accepted though the store did not take one before them follow in "later", each with its line. */
static void answer_failure(struct upload *upload)
{
    struct upload_failure *failure = &upload->failure;
    struct buf body;
    buf_init(&body, HTTP_ANSWER_MAX);
    json_t *error = json_object();
    if (failure->line > 0)
        js_set_int(error, "line", failure->line);
    js_set(error, "code", json_string(failure->code));
    js_set(error, "reason", js_text(str_of(failure->err.text)));
    buf_add_z(&body, "{\"error\":");
    js_write(&body, error);
    buf_add_z(&body, ",\"jobs\":[");
    buf_add_str(&body, buf_str(&upload->done));
    buf_add_char(&body, ']');
    if (upload->later.len > 0) {
        buf_add_z(&body, ",\"later\":[");
        buf_add_str(&body, buf_str(&upload->later));
        buf_add_char(&body, ']');
    }
    if (!upload->lost && upload->job.open && upload->job.rejected > 0) {
        buf_add_z(&body, ",\"rejected\":[");
        buf_add_str(&body, buf_str(&upload->job.rejected_list));
        buf_printf(&body, "],\"rejected_count\":%llu", (unsigned long long)upload->job.rejected);
    }
    buf_add_z(&body, "}\n");
    atomic_fetch_add_explicit(&upload->intake->failed, 1, memory_order_relaxed);
    upload->answered = true;
    http_answer(upload->request, failure->status, "application/json", &body);
    buf_free(&body);
    /* Nothing of the job is to stay, nor memory for it while the rest of the body is dropped. */
    upload_job_close(&upload->job, &upload->scope);
    ndjson_free(&upload->lines);
    buf_free(&upload->whole);
    upload_leave_all(upload);
}

void upload_give_up(struct upload *upload)
{
    upload->failing = true;
    upload_wait_for_all(upload);
    if (upload->waiting)
        return;
    upload_land(upload);
    answer_failure(upload);
}

void upload_fail(struct upload *upload, unsigned status, const char *code, uint64_t line, const char *format,
                 ...)
{
    va_list args;
    va_start(args, format);
    upload->failure = (struct upload_failure){.status = status, .code = code, .line = line};
    vsnprintf(upload->failure.err.text, sizeof upload->failure.err.text, format, args);
    va_end(args);
    upload_give_up(upload);
}

void upload_answer_done(struct upload *upload)
{
    struct buf body;
    buf_init(&body, HTTP_ANSWER_MAX);
    buf_add_z(&body, "{\"jobs\":[");
    buf_add_str(&body, buf_str(&upload->done));
    buf_add_z(&body, upload->scope.dry_run ? "],\"dry_run\":true}\n" : "]}\n");
    upload->answered = true;
    upload_leave_all(upload);
    if (body.failed || upload->done.failed)
        http_fail(upload->request, 500, "failed", "no memory for the answer; the jobs are accepted");
    else
        http_answer(upload->request, upload->scope.dry_run ? 200 : 202, "application/json", &body);
    buf_free(&body);
}

void upload_note_result(struct upload *upload, enum admit_result result, uint64_t line)
{
    static const struct upload_failure failures[] = {
        [ADMIT_FULL] = {507, "full", 0, {0, ""}},
        [ADMIT_NO_MEMORY] = {507, "full", 0, {0, ADMIT_NO_MEMORY_WORDS}},
        [ADMIT_STOPPING] = {503, "stopping", 0, {0, "postriderd is shutting down: send this again later"}},
        [ADMIT_KEY_TAKEN] = {409,
                             "in_progress",
                             0,
                             {0, "another request with this idempotency key was faster: ask again"}},
    };
    upload->failure = failures[result];
    upload->failure.line = line;
    if (result == ADMIT_FULL)
        store_full_words(upload->intake->store, &upload->failure.err);
}
