/* calls_reload.c - the configuration read again, by an operator. */
#include "engine/admin/calls.h"
#include "engine/reload.h"

#include <stdlib.h>

/* Each stands with its place before the words "error:", above the line and a mark. */
static bool find_error(struct str line)
{
    for (size_t at = 0; at + 7 <= line.n; at++)
        if (memcmp(line.p + at, " error:", 7) == 0)
            return true;
    return false;
}

/* The first thing wrong, in one line, and how many more there are. */
static void refuse(struct http_request *request, struct str errors)
{
    unsigned more = 0;
    size_t first = str_find(errors, '\n', 0), end = first == SIZE_MAX ? errors.n : first;
    for (size_t at = end + 1; at < errors.n;) {
        size_t newline = str_find(errors, '\n', at), line = newline == SIZE_MAX ? errors.n : newline;
        more += find_error(str_make(errors.p + at, line - at));
        at = line + 1;
    }
    if (more > 0)
        http_fail(request, 422, "bad_configuration", "%.*s (and %u more; nothing is changed)", (int)end,
                  errors.p, more);
    else
        http_fail(request, 422, "bad_configuration", "%.*s (nothing is changed)", (int)end, errors.p);
}

static json_t *options_json(const struct reload_answer *answer, bool live)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < answer->count; i++)
        if (answer->changes[i].live == live)
            json_array_append_new(list, js_text(str_of(answer->changes[i].option)));
    return list;
}

void call_reload(struct http_request *request, struct now now, void *user)
{
    struct api *api = user;
    (void)now;
    if (!for_operators(api, request))
        return;
    struct reload_answer *answer = malloc(sizeof *answer);
    if (answer == NULL || api->context.reload == NULL) {
        free(answer);
        http_fail(request, 500, "failed", "no memory for the request");
        return;
    }
    reload(api->context.reload, answer);
    if (answer->done) {
        json_t *root = json_object();
        js_set(root, "changed", options_json(answer, true));
        js_set(root, "restart", options_json(answer, false));
        js_set(root, "complete", json_boolean(answer->errors.len == 0));
        answer_json(request, 200, root);
    } else if (http_stopping(request)) {
        http_fail(request, 503, "stopping",
                  "postriderd is shutting down: the configuration is read at its next start");
    } else {
        refuse(request, buf_str(&answer->errors));
    }
    buf_free(&answer->errors);
    free(answer);
}
