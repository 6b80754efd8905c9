/* upload.c - see upload.h.
 *
 * A body is a row of lines; each is a job, which ends the job before, or a recipient of the job before. A job
 * that is ended flies to the store (upload_flight.h) while the next ones are read. What has to wait (for a
 * place, for a window, for jobs to come back) sets `waiting` before the request is suspended, and `go_on`
 * takes it up when the request comes back. A failure is answered when all that flies is back: the jobs before
 * it are whole and stand. */
#include "engine/admin/upload.h"

#include "engine/admin/upload_parts.h"
#include "engine/base/js_scan.h"
#include "engine/setup.h"

#include <stdlib.h>
#include <unistd.h>

struct intake *intake_create(struct store *store, struct setups *setups)
{
    struct intake *intake = calloc(1, sizeof *intake);
    if (intake == NULL)
        return NULL;
    intake->store = store;
    intake->setups = setups;
    intake->keys = keys_create();
    if (intake->keys == NULL) {
        free(intake);
        return NULL;
    }
    gate_init(&intake->gate, INTAKE_LARGE_MAX);
    repeats_init(&intake->repeats);
    return intake;
}

void intake_stop(struct intake *intake)
{
    gate_open(&intake->gate);
}

/* Jobs whose clients have left may still be with the store. */
static bool wait_for_flights(struct intake *intake)
{
    for (unsigned waited_ms = 0; waited_ms < HTTP_STOP_MS; waited_ms += 5) {
        if (atomic_load_explicit(&intake->flying, memory_order_acquire) == 0)
            return true;
        usleep(5000);
    }
    return false;
}

void intake_destroy(struct intake *intake)
{
    if (!wait_for_flights(intake))
        return; /* the process ends anyway, and they may still come back */
    keys_destroy(intake->keys);
    gate_destroy(&intake->gate);
    free(intake);
}

void intake_figures(struct intake *intake, struct intake_figures *figures)
{
    figures->jobs = atomic_load(&intake->jobs);
    figures->recipients = atomic_load(&intake->recipients);
    figures->rejected = atomic_load(&intake->rejected);
    figures->failed = atomic_load(&intake->failed);
}

/* ---- waiting ---- */

static void on_window_done(struct admit *admit, enum admit_result result, void *user)
{
    struct upload *upload = user;
    (void)admit;
    upload->result = result;
    http_resume(upload->request);
}

static void on_place(struct gate_waiter *waiter)
{
    http_resume(((struct upload *)waiter)->request);
}

static void wait_for_place(struct upload *upload)
{
    if (upload->has_place)
        return;
    upload->waiting = WAIT_PLACE;
    http_suspend(upload->request);
    if (gate_enter(&upload->intake->gate, &upload->waiter))
        http_resume(upload->request);
}

static void post_window(struct upload *upload)
{
    upload->waiting = WAIT_WINDOW;
    http_suspend(upload->request);
    upload->job_bytes = 0;
    admit_post(upload->job.admit, on_window_done, upload);
}

/* ---- jobs ---- */

/* The job that was begun, with its key; the key may be that of a job that flies. */
static void open_job(struct upload *upload, struct now now)
{
    struct upload_failure failure;
    enum upload_job_opened result =
        upload_job_open(&upload->job, &upload->scope, upload->jobs, upload->next_digest, now, &failure);
    if (result == UPLOAD_JOB_BUSY)
        upload_wait_for_all(upload);
    if (result == UPLOAD_JOB_BUSY && !upload->waiting && upload->flights.head != NULL) {
        upload_land(upload); /* back just now */
        open_job(upload, now);
        return;
    }
    if (result == UPLOAD_JOB_OPEN || upload->waiting)
        return;
    upload->failure = failure;
    upload_give_up(upload);
}

/* The job line that is next. */
static void begin_job(struct upload *upload, struct now now)
{
    json_t *root = upload->next;
    upload->next = NULL;
    upload->job_bytes = 0;
    if (http_stopping(upload->request)) {
        json_decref(root);
        upload_fail(upload, 503, "stopping", upload->next_line,
                    "postriderd is shutting down: send this again later");
        return;
    }
    upload->jobs++;
    if (upload_job_begin(&upload->job, &upload->scope, root, upload->next_line, now, &upload->failure))
        open_job(upload, now);
    else
        upload_give_up(upload);
}

/* Ends the job that is open. False: failed. */
static bool finish_job(struct upload *upload)
{
    struct upload_failure failure = {0};
    if (!upload_job_finish(&upload->job, &upload->scope, &failure)) {
        upload->failure = failure;
        upload_give_up(upload);
        return false;
    }
    if (upload_launch(upload))
        return true;
    upload_fail(upload, 500, "failed", upload->job.line_number, "no memory for the job");
    return false;
}

/* The request is back, or more of its body is there. False: nothing more to do now. */
static bool go_on(struct upload *upload, struct now now)
{
    enum waiting was = upload->waiting;
    upload->waiting = WAIT_NOTHING;
    if (was == WAIT_PLACE)
        upload->has_place = true;
    if (was == WAIT_FLIGHTS)
        upload_waited(upload);
    if (was == WAIT_WINDOW && upload->result != ADMIT_OK) {
        upload_note_result(upload, upload->result, upload->job.line_number);
        upload->failing = true;
    }
    upload_land(upload);
    if (upload->failing || upload->lost)
        upload_give_up(upload);
    else if (upload->job.open && !upload->job.opened)
        open_job(upload, now);
    else if (upload->next != NULL)
        begin_job(upload, now);
    return !upload->answered && !upload->waiting;
}

/* ---- lines ---- */

static void take_job(struct upload *upload, json_t *root, struct str line, uint64_t number, struct now now)
{
    if (upload_job_keyed(&upload->scope, root))
        digest_of(line.p, line.n, upload->next_digest);
    upload->next = root;
    upload->next_line = number;
    if (upload->job.open && !finish_job(upload))
        return;
    upload_land(upload);
    if (upload->lost) {
        upload_give_up(upload);
        return;
    }
    upload_make_room(upload);
    if (!upload->waiting)
        begin_job(upload, now);
}

/* A line that was meant to be a job's: the job before is whole, this one can't be. */
static void take_bad_job(struct upload *upload, uint64_t number, const char *code, const struct err *err)
{
    if (upload->job.open && !finish_job(upload))
        return;
    upload->failure = (struct upload_failure){400, code, number, *err};
    upload_give_up(upload);
}

static void rcpt_is_taken(struct upload *upload, bool good)
{
    struct upload_job *job = &upload->job;
    if (!good)
        upload_give_up(upload);
    else if (job->admit != NULL && admit_window_full(job->admit))
        post_window(upload);
}

static void take_rcpt(struct upload *upload, const json_t *object, uint64_t number)
{
    rcpt_is_taken(upload, upload_job_rcpt(&upload->job, &upload->scope, &upload->reader, object, number,
                                          &upload->failure));
}

static void take_bad_line(struct upload *upload, struct str line, uint64_t number, const json_error_t *error)
{
    struct err err;
    err_set(&err, 0, "malformed JSON at column %d: %s", error->column, error->text);
    if (json_error_code(error) == json_error_out_of_memory)
        upload_fail(upload, 500, "failed", number, "no memory for the line");
    else if (!upload->job.open || job_line_resembles_text(line))
        take_bad_job(upload, number, "bad_json", &err);
    else
        upload_job_reject(&upload->job, &upload->scope, number, (struct str){NULL, 0}, &err);
}

/* Neither a job nor somebody to send to. */
static void take_strange(struct upload *upload, uint64_t number)
{
    struct err err;
    err_set(&err, 0, "%s",
            upload->job.open
                ? "the job has no \"message\""
                : "the first line must be a job, an object with \"message\"; recipients follow it");
    take_bad_job(upload, number, "bad_job", &err);
}

static void take_line(struct upload *upload, struct str line, struct now now)
{
    uint64_t number = upload->lines.number;
    json_error_t error;
    struct err err;
    struct rcpt_spec rcpt;
    upload->job_bytes += line.n;
    if (upload->job.open && rcpt_scan(&upload->reader, line, &rcpt)) {
        upload_job_line(&upload->job, line);
        rcpt_is_taken(upload, upload_job_add(&upload->job, &upload->scope, &rcpt, number, &upload->failure));
        return;
    }
    json_t *root = js_load(line, &error);
    if (root != NULL && json_object_get(root, "message") != NULL) {
        take_job(upload, root, line, number, now);
        return;
    }
    if (upload->job.open)
        upload_job_line(&upload->job, line);
    if (root == NULL) {
        take_bad_line(upload, line, number, &error);
    } else if (!upload->job.open || (json_object_get(root, "to") == NULL && job_line_resembles(root))) {
        take_strange(upload, number);
    } else if (line.n > RCPT_LINE_MAX) {
        err_set(&err, 0, "the line is %zu bytes long: at most %d for a recipient", line.n, RCPT_LINE_MAX);
        upload_job_reject(&upload->job, &upload->scope, number, (struct str){NULL, 0}, &err);
    } else {
        take_rcpt(upload, root, number);
    }
    json_decref(root);
}

static void data_lines(struct upload *upload, struct str *data, struct now now)
{
    while (!upload->waiting && !upload->answered) {
        struct str line;
        enum ndjson_result result = ndjson_next(&upload->lines, data, &line);
        if (result == NDJSON_LINE) {
            take_line(upload, line, now);
        } else if (result == NDJSON_MORE) {
            if (ndjson_held(&upload->lines) > INTAKE_LARGE_BYTES)
                wait_for_place(upload);
            else
                upload_leave_place(upload);
            return;
        } else if (result == NDJSON_TOO_LONG) {
            upload_fail(upload, 413, "too_large", upload->lines.number, "the line is longer than %d bytes",
                        JOB_LINE_MAX);
        } else {
            upload_fail(upload, 500, "failed", upload->lines.number + 1, "no memory for the line");
        }
    }
}

/* ---- application/json ---- */

static void data_json(struct upload *upload, struct str *data)
{
    if (data->n > upload->whole.max - upload->whole.len) {
        upload_fail(upload, 413, "too_large", 0,
                    "the body is longer than %d bytes: send it as application/x-ndjson, which has no limit",
                    JOB_LINE_MAX);
    } else if (!buf_add_str(&upload->whole, *data)) {
        upload_fail(upload, 500, "failed", 0, "no memory for the body");
    } else {
        *data = str_make(data->p + data->n, 0);
        if (upload->whole.len > INTAKE_LARGE_BYTES)
            wait_for_place(upload);
    }
}

static void parse_json(struct upload *upload, struct now now)
{
    json_error_t error;
    struct str text = buf_str(&upload->whole);
    if (str_starts(text, STR("\xef\xbb\xbf")))
        text = str_make(text.p + 3, text.n - 3);
    json_t *root = js_load(text, &error);
    if (root == NULL && json_error_code(&error) == json_error_out_of_memory) {
        upload_fail(upload, 500, "failed", 0, "no memory for the body");
        return;
    }
    if (root == NULL) {
        upload_fail(upload, 400, "bad_json", (uint64_t)(error.line > 0 ? error.line : 1),
                    "malformed JSON at column %d: %s%s", error.column, error.text,
                    strstr(error.text, "end of file expected") ? "; several lines are application/x-ndjson"
                                                               : "");
        return;
    }
    json_t *recipients = json_incref(json_object_get(root, "recipients"));
    if (!json_is_object(root) || !json_is_array(recipients)) {
        upload_fail(upload, 400, "bad_job", 1,
                    "the body must be an object with \"message\" and a list \"recipients\"");
        json_decref(recipients);
        json_decref(root);
        return;
    }
    if (upload_job_keyed(&upload->scope, root))
        digest_of(text.p, text.n, upload->next_digest);
    buf_free(&upload->whole);
    json_object_del(root, "recipients");
    upload->recipients = recipients;
    upload->next = root;
    upload->next_line = 1;
    begin_job(upload, now);
}

static void walk_recipients(struct upload *upload)
{
    while (upload->at < json_array_size(upload->recipients) && !upload->waiting && !upload->answered) {
        const json_t *object = json_array_get(upload->recipients, upload->at++);
        take_rcpt(upload, object, upload->at);
    }
}

/* ---- what http.c calls ---- */

static bool take_header_key(struct upload *upload)
{
    const char *key = http_header(upload->request, "Idempotency-Key");
    if (key == NULL || upload->scope.dry_run)
        return true;
    size_t n = strlen(key);
    if (n == 0 || n > IDEMPOTENCY_KEY_MAX) {
        http_fail(upload->request, 400, "bad_request", "Idempotency-Key must have 1 to %d characters",
                  IDEMPOTENCY_KEY_MAX);
        return false;
    }
    memcpy(upload->key, key, n + 1);
    upload->scope.key = str_make(upload->key, n);
    struct buf name; /* not the same as any job's own key, which may be under way in this very body */
    buf_init(&name, NAME_MAX_BYTES + IDEMPOTENCY_KEY_MAX + 16);
    buf_printf(&name, "%.*s\n\n%s", STR_ARG(upload->scope.rules.tenant), key);
    digest_of(name.data, name.len, upload->key_hash);
    buf_free(&name);
    enum keys_result result = keys_enter(upload->intake->keys, upload->key_hash);
    upload->entered = result == KEYS_ENTERED;
    if (result == KEYS_UNDER_WAY)
        http_fail(upload->request, 409, "in_progress", "a request with this Idempotency-Key is under way");
    else if (result == KEYS_NO_MEMORY)
        http_fail(upload->request, 500, "failed", "no memory for the request");
    return upload->entered;
}

/* What curl and others say when nobody told them is taken for lines. */
static bool take_content_type(struct upload *upload)
{
    const char *type = http_header(upload->request, "Content-Type");
    struct str text = str_of(type ? type : "");
    size_t end = str_find(text, ';', 0);
    text = str_trim(str_make(text.p, end == SIZE_MAX ? text.n : end));
    upload->json = str_eq_nocase(text, STR("application/json"));
    if (!str_starts_nocase(text, STR("multipart/")))
        return true;
    http_fail(upload->request, 415, "bad_type", "send application/x-ndjson or application/json, not %.*s",
              STR_ARG(text));
    return false;
}

static bool take_dry_run(struct upload *upload)
{
    struct str value = http_parameter(upload->request, "dry_run");
    upload->scope.dry_run = value.p != NULL && !str_eq(value, STR("0"));
    if (value.p == NULL || value.n == 0 || str_eq(value, STR("0")) || str_eq(value, STR("1")))
        return true;
    http_fail(upload->request, 400, "bad_parameter", "dry_run must be 1 or 0");
    return false;
}

void *upload_begin(struct intake *intake, struct http_request *request, struct str tenant, struct now now)
{
    (void)now;
    if (http_stopping(request)) {
        http_fail(request, 503, "stopping", "postriderd is shutting down: send this again later");
        return NULL;
    }
    struct upload *upload = malloc(sizeof *upload);
    if (upload == NULL) {
        http_fail(request, 500, "failed", "no memory for the request");
        return NULL;
    }
    memset(upload, 0, offsetof(struct upload, reader));
    upload->waiter.go = on_place;
    upload->intake = intake;
    upload->request = request;
    ndjson_init(&upload->lines, JOB_LINE_MAX);
    buf_init(&upload->whole, JOB_LINE_MAX);
    buf_init(&upload->done, HTTP_ANSWER_MAX - 4096);
    buf_init(&upload->later, HTTP_ANSWER_MAX);
    flights_init(&upload->flights);
    rcpt_reader_init(&upload->reader);
    upload->scope.store = intake->store;
    upload->scope.keys = intake->keys;
    upload->setup = setups_get(intake->setups);
    upload->scope.rules =
        (struct job_rules){upload->setup->config, upload->setup->dkim, tenant, &intake->repeats};
    if (!take_dry_run(upload) || !take_content_type(upload) || !take_header_key(upload)) {
        upload_release(upload);
        return NULL;
    }
    upload->scope.place = upload->json ? "index" : "line";
    return upload;
}

void upload_data(void *user, struct str *data, struct now now)
{
    struct upload *upload = user;
    if (!go_on(upload, now))
        return;
    if (upload->json)
        data_json(upload, data);
    else
        data_lines(upload, data, now);
}

void upload_end(void *user, struct now now)
{
    struct upload *upload = user;
    struct str line;
    if (!go_on(upload, now))
        return;
    if (upload->json) {
        if (upload->recipients == NULL)
            parse_json(upload, now);
        walk_recipients(upload);
    } else if (ndjson_last(&upload->lines, &line) == NDJSON_LINE) {
        take_line(upload, line, now);
    }
    if (!upload->waiting && !upload->answered && upload->job.open && finish_job(upload))
        upload_wait_for_all(upload);
    if (upload->waiting || upload->answered)
        return;
    upload_land(upload);
    if (upload->lost)
        upload_give_up(upload);
    else if (upload->jobs == 0)
        upload_fail(upload, 400, "bad_job", 1, "the body is empty: it must begin with a job");
    else
        upload_answer_done(upload);
}

void upload_release(void *user)
{
    struct upload *upload = user;
    upload_job_close(&upload->job, &upload->scope);
    upload_leave_all(upload);
    json_decref(upload->next);
    json_decref(upload->recipients);
    ndjson_free(&upload->lines);
    rcpt_reader_free(&upload->reader);
    buf_free(&upload->whole);
    if (upload_leave_behind(upload))
        upload_free(upload);
}

void upload_free(struct upload *upload)
{
    upload_land(upload);
    buf_free(&upload->done);
    buf_free(&upload->later);
    setup_unref(upload->setup);
    free(upload);
}
