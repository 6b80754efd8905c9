/* calls_backup.c - a copy of the queue in a new directory: asked for, and looked at. */
#include "engine/admin/calls.h"
#include "queue/backup.h"

#include <errno.h>
#include <time.h>

#define LOOK_EVERY_NS (10 * NS_PER_MS)
#define LOOKS         100 /* a second: what takes longer is answered before it is done */

static const char *state_name(enum backup_state state)
{
    static const char *const names[] = {"none", "running", "done", "failed"};
    return names[state];
}

static void answer_backup(struct http_request *request, unsigned status, const struct backup_info *info)
{
    json_t *root = json_object();
    js_set(root, "state", json_string(state_name(info->state)));
    js_set(root, "directory", js_text(str_of(info->directory)));
    js_set_int(root, "bytes", info->bytes);
    js_set_int(root, "total", info->bytes > info->total ? info->bytes : info->total);
    js_set(root, "begun", js_time(info->begun_ms));
    js_set(root, "ended", js_time(info->ended_ms));
    js_set(root, "error", info->state == BACKUP_FAILED ? js_text(str_of(info->err.text)) : json_null());
    answer_json(request, status, root);
}

void call_backup(struct http_request *request, struct now now, void *user)
{
    struct api *api = user;
    struct backup_info info;
    (void)now;
    if (!for_operators(api, request))
        return;
    backup_look(api->backup, &info);
    answer_backup(request, 200, &info);
}

void call_backup_make(struct http_request *request, struct now now, void *user)
{
    struct api *api = user;
    struct backup_info info;
    struct err err;
    char directory[BACKUP_PATH_MAX + 1];
    struct str text = http_parameter(request, "directory");
    if (!for_operators(api, request))
        return;
    if (text.n == 0 || text.n > BACKUP_PATH_MAX || memchr(text.p, 0, text.n) != NULL) {
        http_fail(request, 400, "bad_parameter",
                  "directory must be the path of a new directory, of at most %d bytes", BACKUP_PATH_MAX);
        return;
    }
    memcpy(directory, text.p, text.n);
    directory[text.n] = '\0';
    if (!backup_start(api->backup, directory, now, &err)) {
        http_fail(request, err.code == EBUSY ? 409 : 500, err.code == EBUSY ? "busy" : "failed", "%s",
                  err.text);
        return;
    }
    backup_look(api->backup, &info);
    for (unsigned n = 0; n < LOOKS && info.state == BACKUP_RUNNING && !http_stopping(request); n++) {
        nanosleep(&(struct timespec){.tv_nsec = LOOK_EVERY_NS}, NULL);
        backup_look(api->backup, &info);
    }
    if (info.state == BACKUP_FAILED)
        http_fail(request, 409, "failed", "%s", info.err.text);
    else
        answer_backup(request, info.state == BACKUP_DONE ? 200 : 202, &info);
}
