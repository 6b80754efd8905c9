/* calls_suppress.c - the list of addresses that get no mail: reading it, adding to it, taking out of it.
 *
 * A body of any length is read a line at a time; what it names is posted to the store EDITS_MAX at once, and
 * no more is read until that is durable. A user bound to a tenant sees and changes that tenant's list. */
#include "engine/admin/await.h"
#include "engine/admin/calls.h"
#include "engine/base/csv.h"
#include "engine/base/units.h"
#include "engine/intake/ndjson.h"
#include "engine/intake/suppress_line.h"
#include "queue/edit.h"

#include <inttypes.h>
#include <stdlib.h>

#define LIST_MAX     1000000000 /* in one answer: it is never in memory */
#define REJECTED_MAX (REJECTED_LISTED_MAX * 2048)
#define CSV_HEADER   "address,scope,reason,source,time\r\n"

/* ---- one, and the answer to a few ---- */

/* The parameter `scope`, or the bound tenant; *given: it names one. False: answered. */
static bool take_scope(const struct api *api, struct http_request *request, struct str *scope, bool *given,
                       bool *bound)
{
    struct str tenant;
    *scope = http_parameter(request, "scope");
    *given = scope->p != NULL;
    *bound = bound_tenant(api, request, &tenant);
    if (*bound && *given && !str_eq(*scope, tenant)) {
        http_fail(request, 403, "forbidden", "this user is bound to the tenant %.*s", STR_ARG(tenant));
        return false;
    }
    if (*bound) {
        *scope = tenant;
        *given = true;
    }
    if (!*given)
        *scope = str_make("", 0);
    if (scope->n <= NAME_MAX_BYTES)
        return true;
    http_fail(request, 400, "bad_parameter", "scope is longer than %d bytes", NAME_MAX_BYTES);
    return false;
}

/* The parameter `address`; p NULL where it is absent. False: answered. */
static bool take_address(struct http_request *request, char room[ADDRESS_MAX + 1], struct str *address)
{
    struct err err;
    *address = http_parameter(request, "address");
    if (address->p == NULL || suppress_address(*address, room, address, &err))
        return true;
    http_fail(request, 400, "bad_parameter", "address is none: %s", err.text);
    return false;
}

static void write_one(struct buf *out, const struct suppression *one, bool csv)
{
    if (csv) {
        char time[UNITS_TEXT_MAX];
        csv_add(out, one->address, ',');
        csv_add(out, one->scope, ',');
        csv_add(out, one->reason, ',');
        csv_add(out, one->source, ',');
        csv_add(out, str_make(time, time_format(one->added_ms, time)), '\r');
    } else {
        json_t *root = json_object();
        js_set(root, "address", js_text(one->address));
        js_set(root, "scope", js_text(one->scope));
        js_set(root, "reason", js_text(one->reason));
        js_set(root, "source", js_text(one->source));
        js_set(root, "time", js_time(one->added_ms));
        js_write(out, root);
    }
    buf_add_char(out, '\n');
}

/* ---- the list ---- */

struct list_stream {
    struct http_stream stream; /* first */
    struct store *store;
    bool csv, one_scope, begun;
    size_t left;
    char scope[NAME_MAX_BYTES + 1]; /* the last one's, or where to begin */
    char address[ADDRESS_MAX];
    size_t scope_n, address_n;
    struct buf *out;
};

static void set_position(struct list_stream *list, struct str scope, struct str address)
{
    memcpy(list->scope, scope.n > 0 ? scope.p : "", scope.n);
    memcpy(list->address, address.n > 0 ? address.p : "", address.n);
    list->scope_n = scope.n;
    list->address_n = address.n;
}

static bool list_one(const struct suppression *one, void *user)
{
    struct list_stream *list = user;
    if (list->one_scope && !str_eq(one->scope, str_make(list->scope, list->scope_n))) {
        list->left = 0;
        return false;
    }
    write_one(list->out, one, list->csv);
    set_position(list, one->scope, one->address);
    return --list->left > 0 && list->out->len < HTTP_STREAM_MAX / 2;
}

static enum http_fill fill_list(struct http_stream *base, struct buf *out, struct now now)
{
    struct list_stream *list = (struct list_stream *)base;
    (void)now;
    list->out = out;
    if (list->csv && !list->begun)
        buf_add_z(out, CSV_HEADER);
    list->begun = true;
    bool more = query_suppressions(list->store, str_make(list->scope, list->scope_n),
                                   str_make(list->address, list->address_n), list_one, list) &&
                list->left > 0;
    if (more && http_stopping(base->request))
        return HTTP_FILL_BROKEN;
    return more ? HTTP_FILL_MORE : HTTP_FILL_END;
}

static void release_list(struct http_stream *base)
{
    free(base);
}

/* Of one address: a look-up a scope, and short. */
static bool list_asked(const struct suppression *one, void *user)
{
    struct list_stream *list = user;
    if (!list->one_scope || str_eq(one->scope, str_make(list->scope, list->scope_n)))
        write_one(list->out, one, list->csv);
    return true;
}

static void answer_of_address(struct http_request *request, struct list_stream *list, struct str address)
{
    struct buf body;
    buf_init(&body, HTTP_ANSWER_MAX);
    list->out = &body;
    if (list->csv)
        buf_add_z(&body, CSV_HEADER);
    query_suppressions_of(list->store, address, list_asked, list);
    list->out = NULL;
    http_answer(request, 200, list->csv ? "text/csv; charset=utf-8; header=present" : "application/x-ndjson",
                &body);
    buf_free(&body);
}

/* Where to go on. False: answered. */
static bool take_after(struct http_request *request, struct list_stream *list)
{
    struct str scope = http_parameter(request, "after_scope"), address = http_parameter(request, "after");
    if (scope.n > NAME_MAX_BYTES || address.n > ADDRESS_MAX) {
        http_fail(request, 400, "bad_parameter", "after_scope and after are the last line's, or too long");
        return false;
    }
    if (list->one_scope)
        scope = str_make(list->scope, list->scope_n);
    if (address.n > 0)
        set_position(list, scope, address);
    return true;
}

void call_suppressions(struct http_request *request, struct now now, void *user)
{
    struct api *api = user;
    struct str scope, address, format = http_parameter(request, "format");
    char room[ADDRESS_MAX + 1];
    bool given, bound;
    size_t limit;
    (void)now;
    if (!take_scope(api, request, &scope, &given, &bound) || !take_address(request, room, &address) ||
        !take_limit(request, 1000, LIST_MAX, &limit))
        return;
    if (format.p != NULL && !str_eq(format, STR("ndjson")) && !str_eq(format, STR("csv"))) {
        http_fail(request, 400, "bad_parameter", "format must be ndjson or csv");
        return;
    }
    struct list_stream *list = calloc(1, sizeof *list);
    if (list == NULL) {
        http_fail(request, 500, "failed", "no memory for the list");
        return;
    }
    list->stream.fill = fill_list;
    list->stream.release = release_list;
    list->store = api->context.store;
    list->csv = format.p != NULL && str_eq(format, STR("csv"));
    list->one_scope = given;
    list->left = limit;
    set_position(list, scope, STR(""));
    if (address.p != NULL) {
        answer_of_address(request, list, address);
    } else if (take_after(request, list)) {
        http_answer_stream(request, 200,
                           list->csv ? "text/csv; charset=utf-8; header=present" : "application/x-ndjson",
                           &list->stream);
        return;
    }
    free(list);
}

/* ---- taking out ---- */

struct removed {
    enum edit_result result;
    unsigned count;
};

static void on_removed(enum edit_result result, unsigned changed, void *user)
{
    const struct removed removed = {result, changed};
    await_tell(user, &removed, sizeof removed);
}

static void fail_edit(struct http_request *request, enum edit_result result)
{
    if (result == EDIT_STOPPING)
        http_fail(request, 503, "stopping", "postriderd is shutting down: send this again later");
    else
        http_fail(request, 507, "full", "the queue's disk is full: free space");
}

/* Takes the edits over. False: answered. */
static bool remove_durably(struct api *api, struct http_request *request, struct edits *edits,
                           struct removed *removed)
{
    struct await *await = await_create();
    if (await == NULL) {
        edits_free(edits);
        http_fail(request, 500, "failed", "no memory for the request");
        return false;
    }
    store_edit(api->context.store, edits, on_removed, await);
    if (!await_take(await, removed, sizeof *removed)) {
        http_fail(request, 503, "busy", "the store did not answer within %d s; ask again", AWAIT_LAST_S);
        return false;
    }
    if (removed->result != EDIT_OK)
        fail_edit(request, removed->result);
    return removed->result == EDIT_OK;
}

void call_suppression_remove(struct http_request *request, struct now now, void *user)
{
    struct api *api = user;
    struct str scope, address;
    struct removed removed;
    char room[ADDRESS_MAX + 1];
    bool given, bound;
    (void)now;
    if (!take_scope(api, request, &scope, &given, &bound) || !take_address(request, room, &address))
        return;
    if (address.p == NULL) {
        http_fail(request, 400, "bad_parameter", "which address? it is missing");
        return;
    }
    struct edits *edits = edits_create();
    if (edits == NULL || !edits_unsuppress(edits, scope, address)) {
        edits_free(edits);
        http_fail(request, 500, "failed", "no memory for the request");
        return;
    }
    if (!remove_durably(api, request, edits, &removed))
        return;
    if (removed.count == 0) {
        http_fail(request, 404, "not_found", "%.*s is not on %s list", STR_ARG(address),
                  scope.n > 0 ? "that tenant's" : "everybody's");
        return;
    }
    json_t *root = json_object();
    js_set_int(root, "removed", removed.count);
    answer_json(request, 200, root);
}

/* ---- adding ---- */

struct addition {
    struct http_request *request;
    struct store *store;
    bool json; /* application/json: one object, on however many lines */
    struct buf whole;
    struct ndjson lines;
    struct suppress_reader reader;
    struct edits *edits; /* gathered, not posted yet; NULL: none */
    bool waiting;
    enum edit_result result; /* of the post that was waited for */
    unsigned changed_now;
    uint64_t accepted, changed, rejected;
    struct buf rejected_list; /* JSON objects with commas between */
    struct err first_rejected;
    uint64_t first_rejected_line;
    char scope[NAME_MAX_BYTES + 1], reason[SUPPRESSION_REASON_MAX + 1], source[NAME_MAX_BYTES + 1];
};

static struct str keep(char *room, struct str s)
{
    memcpy(room, s.n > 0 ? s.p : "", s.n);
    return str_make(room, s.n);
}

static void *begin_addition(struct http_request *request, struct now now, void *user)
{
    struct api *api = user;
    struct str scope, reason = http_parameter(request, "reason"), source = http_parameter(request, "source");
    bool given, bound;
    if (!take_scope(api, request, &scope, &given, &bound))
        return NULL;
    if (reason.n > SUPPRESSION_REASON_MAX || source.n > NAME_MAX_BYTES) {
        http_fail(request, 400, "bad_parameter", "reason and source have at most %d and %d bytes",
                  SUPPRESSION_REASON_MAX, NAME_MAX_BYTES);
        return NULL;
    }
    struct addition *addition = calloc(1, sizeof *addition);
    if (addition == NULL) {
        http_fail(request, 500, "failed", "no memory for the request");
        return NULL;
    }
    addition->request = request;
    addition->store = api->context.store;
    const char *type = http_header(request, "Content-Type");
    addition->json = type != NULL && str_starts_nocase(str_of(type), STR("application/json"));
    buf_init(&addition->whole, SUPPRESS_LINE_MAX);
    ndjson_init(&addition->lines, SUPPRESS_LINE_MAX);
    buf_init(&addition->rejected_list, REJECTED_MAX);
    const struct suppression standard = {.scope = keep(addition->scope, scope),
                                         .reason = keep(addition->reason, reason),
                                         .source = keep(addition->source, source.n > 0 ? source : STR("api")),
                                         .added_ms = now.wall_ms};
    suppress_reader_init(&addition->reader, &standard, bound);
    return addition;
}

static void release_addition(void *user)
{
    struct addition *addition = user;
    buf_free(&addition->whole);
    ndjson_free(&addition->lines);
    suppress_reader_free(&addition->reader);
    buf_free(&addition->rejected_list);
    edits_free(addition->edits);
    free(addition);
}

static void on_added(enum edit_result result, unsigned changed, void *user)
{
    struct addition *addition = user;
    addition->result = result;
    addition->changed_now = changed;
    http_resume(addition->request);
}

static void post(struct addition *addition)
{
    struct edits *edits = addition->edits;
    addition->edits = NULL;
    addition->waiting = true;
    http_suspend(addition->request);
    store_edit(addition->store, edits, on_added, addition);
}

/* The post that was waited for. False: answered. */
static bool posted(struct addition *addition)
{
    if (!addition->waiting)
        return true;
    addition->waiting = false;
    addition->changed += addition->changed_now;
    if (addition->result == EDIT_OK)
        return true;
    fail_edit(addition->request, addition->result);
    return false;
}

static void reject(struct addition *addition, uint64_t number, struct str line, const struct err *err)
{
    if (addition->rejected == 0) {
        addition->first_rejected = *err;
        addition->first_rejected_line = number;
    }
    if (addition->rejected++ >= REJECTED_LISTED_MAX)
        return;
    json_t *entry = json_object();
    js_set_int(entry, "line", number);
    js_set(entry, "text", js_text(str_make(line.p, line.n < 200 ? line.n : 200)));
    js_set(entry, "error", js_text(str_of(err->text)));
    size_t before = addition->rejected_list.len;
    if (before > 0)
        buf_add_char(&addition->rejected_list, ',');
    if (!js_write(&addition->rejected_list, entry))
        addition->rejected_list.len = before;
}

/* False: no memory, answered. */
static bool take_line(struct addition *addition, struct str line)
{
    struct suppression one;
    struct err err;
    enum suppress_line result = suppress_line_read(&addition->reader, line, &one, &err);
    if (result == SUPPRESS_BAD)
        reject(addition, addition->json ? 1 : addition->lines.number, line, &err);
    if (result != SUPPRESS_GIVEN)
        return true;
    if (addition->edits == NULL)
        addition->edits = edits_create();
    if (addition->edits == NULL || !edits_suppress(addition->edits, &one)) {
        http_fail(addition->request, 500, "failed", "no memory for the list");
        return false;
    }
    addition->accepted++;
    return true;
}

static void data_of_addition(void *user, struct str *data, struct now now)
{
    struct addition *addition = user;
    struct str line;
    (void)now;
    if (!posted(addition))
        return;
    if (addition->json) {
        if (!buf_add_str(&addition->whole, *data))
            http_fail(addition->request, 413, "too_large", "the object is longer than %d bytes",
                      SUPPRESS_LINE_MAX);
        *data = str_make(data->p + data->n, 0);
        return;
    }
    for (;;) {
        switch (ndjson_next(&addition->lines, data, &line)) {
        case NDJSON_MORE:
            return;
        case NDJSON_TOO_LONG:
            http_fail(addition->request, 413, "too_large",
                      "line %" PRIu64 " is longer than %d bytes; the lines before it are taken",
                      addition->lines.number, SUPPRESS_LINE_MAX);
            return;
        case NDJSON_NO_MEMORY:
            http_fail(addition->request, 500, "failed", "no memory for a line");
            return;
        case NDJSON_LINE:
            if (!take_line(addition, line))
                return;
            if (addition->edits != NULL && edits_count(addition->edits) == EDITS_MAX) {
                post(addition);
                return;
            }
        }
    }
}

static void answer_addition(struct addition *addition)
{
    struct buf body;
    if (addition->accepted == 0 && addition->rejected > 0) {
        http_fail(addition->request, 400, "bad_list", "nothing of it can be taken; line %" PRIu64 ": %s",
                  addition->first_rejected_line, addition->first_rejected.text);
        return;
    }
    buf_init(&body, HTTP_ANSWER_MAX);
    buf_printf(&body, "{\"accepted\":%" PRIu64 ",\"changed\":%" PRIu64 ",\"rejected\":[", addition->accepted,
               addition->changed);
    buf_add_str(&body, buf_str(&addition->rejected_list));
    buf_printf(&body, "],\"rejected_count\":%" PRIu64 "}\n", addition->rejected);
    if (body.failed)
        http_fail(addition->request, 500, "failed", "no memory for the answer; what was sent is taken");
    else
        http_answer(addition->request, 200, "application/json", &body);
    buf_free(&body);
}

static void end_addition(void *user, struct now now)
{
    struct addition *addition = user;
    struct str line;
    (void)now;
    if (!posted(addition))
        return;
    bool left =
        addition->json ? addition->whole.len > 0 : ndjson_last(&addition->lines, &line) == NDJSON_LINE;
    if (left && !take_line(addition, addition->json ? buf_str(&addition->whole) : line))
        return;
    buf_clear(&addition->whole);
    if (addition->edits != NULL) {
        post(addition);
        return;
    }
    answer_addition(addition);
}

const struct http_upload_ops suppressions_upload = {begin_addition, data_of_addition, end_addition,
                                                    release_addition};
