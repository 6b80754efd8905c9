/* http.h - one call of the daemon's HTTP API over its Unix socket. http.c is the only file that includes
 * curl.h.
 *
 * The socket is -s, else $POSTRIDER_SOCKET, else /run/postrider/control.sock, else jobs.sock beside it. All
 * failures of transport are told by cli_fail from within, with what to do. */
#ifndef POSTRIDER_TOOLS_HTTP_H
#define POSTRIDER_TOOLS_HTTP_H

#include "engine/base/buf.h"
#include "tools/cli.h"

#define HTTP_TAKEN_MAX (256u * 1024 * 1024)
#define HTTP_LINE_MAX  (4u * 1024 * 1024)
#define HTTP_PATH_MAX  (16 * 1024)

struct http_call {
    const char *method; /* NULL: GET */
    const char *path;   /* with its query */
    /* What is sent, streamed; NULL: nothing. */
    FILE *upload;
    long long upload_size; /* -1: not known */
    const char *content_type, *idempotency_key;
    /* Called with how much has been sent, a few times a second. */
    void (*progress)(void *user, long long sent);
    /* Where a good answer goes as it comes, instead of `body`: raw, or a line at a time. False ends the call.
     */
    bool (*raw)(void *user, struct str data);
    bool (*line)(void *user, struct str line);
    void *user;
    bool endless; /* no limit of time: the answer is followed */
};

struct http_answer {
    long status;
    struct buf body; /* ends with a NUL that len does not count */
};

/* False: no answer (reported). Else the answer, good or not; the caller frees body. */
bool http_perform(const struct cli *cli, const struct http_call *call, struct http_answer *answer);
void http_answer_free(struct http_answer *answer);
/* Reports an answer of 400 and above as one line; returns 1. */
int http_refused(const struct http_answer *answer);

/* Whether a daemon takes connections at one of the usual sockets; true where one is named, so that a call
 * says what is wrong with that. */
bool http_is_there(const struct cli *cli);

/* Calls and prints: the API's JSON with --json, else what `print` makes of it. Returns the exit code. */
int http_show(struct cli *cli, const char *method, const char *path,
              void (*print)(struct cli *cli, json_t *answer));
/* The same without printing: the parsed answer, or NULL (reported). */
json_t *http_json(const struct cli *cli, const char *method, const char *path);
/* A good answer straight to stdout. */
int http_copy(const struct cli *cli, const char *path);
/* A good answer a line at a time; `line` returns false to stop. Returns the exit code. */
int http_lines(const struct cli *cli, const char *path, bool endless,
               bool (*line)(void *user, struct str line), void *user);

/* Paths: "/v1/jobs/" and a part, escaped; then parameters, each given only if value is not NULL. */
void path_start(struct buf *path, const char *start, const char *part, const char *end);
void path_add(struct buf *path, const char *name, const char *value);
const char *path_done(struct buf *path);

#endif
