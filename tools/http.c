/* http.c - see http.h. */
#include "tools/http.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CONTROL_SOCKET "/run/postrider/control.sock"
#define JOBS_SOCKET    "/run/postrider/jobs.sock"
#define SOCKET_MAX     107
#define ANSWER_S       120 /* a call that is not followed answers within this */
#define STALL_S        300 /* an upload that does not move for this long is given up */

/* One call under way. */
struct transfer {
    const struct http_call *call;
    struct http_answer *answer;
    CURL *curl;
    struct buf partial; /* a line that has not ended */
    struct buf unread;  /* what had arrived when curl gave the connection up */
    bool stopped;       /* by `line` or `raw` */
    bool upload_failed;
};

static bool is_good(struct transfer *transfer)
{
    curl_easy_getinfo(transfer->curl, CURLINFO_RESPONSE_CODE, &transfer->answer->status);
    return transfer->answer->status < 300;
}

/* Hands each whole line in data to `line`; keeps the rest. False: stop, or a line is too long. */
static bool pass_lines(struct transfer *transfer, struct str data)
{
    for (size_t end; (end = str_find(data, '\n', 0)) != SIZE_MAX;) {
        struct str line = str_make(data.p, end);
        if (transfer->partial.len > 0) {
            if (!buf_add_str(&transfer->partial, line))
                return false;
            line = buf_str(&transfer->partial);
        }
        bool go_on = line.n == 0 || transfer->call->line(transfer->call->user, line);
        buf_clear(&transfer->partial);
        if (!go_on) {
            transfer->stopped = true;
            return false;
        }
        data = str_make(data.p + end + 1, data.n - end - 1);
    }
    return buf_add_str(&transfer->partial, data);
}

static size_t on_data(char *data, size_t size, size_t count, void *user)
{
    struct transfer *transfer = user;
    struct str got = str_make(data, size * count);
    bool good = is_good(transfer);
    if (good && transfer->call->raw != NULL) {
        transfer->stopped = !transfer->call->raw(transfer->call->user, got);
        return transfer->stopped ? 0 : got.n;
    }
    if (good && transfer->call->line != NULL)
        return pass_lines(transfer, got) ? got.n : 0;
    return buf_add_str(&transfer->answer->body, got) ? got.n : 0;
}

static size_t on_upload(char *room, size_t size, size_t count, void *user)
{
    struct transfer *transfer = user;
    size_t n = fread(room, 1, size * count, transfer->call->upload);
    if (n == 0 && ferror(transfer->call->upload)) {
        transfer->upload_failed = true;
        return CURL_READFUNC_ABORT;
    }
    return n;
}

static int on_progress(void *user, curl_off_t to_get, curl_off_t got, curl_off_t to_send, curl_off_t sent)
{
    struct transfer *transfer = user;
    (void)to_get, (void)got, (void)to_send;
    if (transfer->call->progress != NULL)
        transfer->call->progress(transfer->call->user, sent);
    return 0;
}

/* A daemon that refuses an upload (full, stopping, too large) may answer and close before it has read all of
 * it. Curl then fails to send and drops the answer unread: it is taken from the socket here, just before that
 * is closed. */
static int on_close(void *user, curl_socket_t fd)
{
    struct transfer *transfer = user;
    for (ssize_t n = 1; n > 0 && transfer->call->upload != NULL;) {
        char *room = buf_room(&transfer->unread, 16384);
        n = room ? recv(fd, room, 16384, MSG_DONTWAIT) : 0;
        if (n > 0)
            transfer->unread.len += (size_t)n;
    }
    return close(fd);
}

/* The status and body of an unread answer. */
static bool use_unread(struct transfer *transfer)
{
    struct str text = buf_str(&transfer->unread), version = STR("HTTP/1.1 "), gap = STR("\r\n\r\n");
    uint64_t status;
    if (!str_starts(text, version) || text.n < version.n + 3 ||
        !str_u64(str_make(text.p + version.n, 3), 999, &status) || status < 400)
        return false;
    const char *end = memmem(text.p, text.n, gap.p, gap.n);
    if (end == NULL)
        return false;
    transfer->answer->status = (long)status;
    buf_clear(&transfer->answer->body);
    return buf_add(&transfer->answer->body, end + gap.n, (size_t)(text.p + text.n - end) - gap.n);
}

static struct curl_slist *add_header(struct curl_slist *list, const char *name, const char *value)
{
    struct buf line;
    buf_init(&line, 4096);
    buf_printf(&line, "%s: %s", name, value);
    buf_add_char(&line, '\0');
    struct curl_slist *longer = line.failed ? NULL : curl_slist_append(list, line.data);
    buf_free(&line);
    return longer ? longer : list;
}

static struct curl_slist *set_upload(struct transfer *transfer)
{
    const struct http_call *call = transfer->call;
    CURL *curl = transfer->curl;
    struct curl_slist *headers = add_header(NULL, "Content-Type", call->content_type);
    if (call->idempotency_key != NULL)
        headers = add_header(headers, "Idempotency-Key", call->idempotency_key);
    headers = curl_slist_append(headers, "Expect:");
    if (call->upload_size < 0)
        headers = curl_slist_append(headers, "Transfer-Encoding: chunked");
    else
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->upload_size);
    curl_easy_setopt(curl, CURLOPT_POST, 1L);
    curl_easy_setopt(curl, CURLOPT_READFUNCTION, on_upload);
    curl_easy_setopt(curl, CURLOPT_READDATA, transfer);
    curl_easy_setopt(curl, CURLOPT_UPLOAD_BUFFERSIZE, 1024L * 1024);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(curl, CURLOPT_LOW_SPEED_TIME, (long)STALL_S);
    return headers;
}

static CURLcode perform(struct transfer *transfer, const char *socket, long *system_error)
{
    const struct http_call *call = transfer->call;
    CURL *curl = transfer->curl;
    struct curl_slist *headers = NULL;
    struct buf url;
    buf_init(&url, HTTP_PATH_MAX + 64);
    buf_printf(&url, "http://postrider%s", call->path);
    buf_add_char(&url, '\0');
    curl_easy_setopt(curl, CURLOPT_URL, url.failed ? "" : url.data);
    curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, socket);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, transfer);
    curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(curl, CURLOPT_XFERINFODATA, transfer);
    curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(curl, CURLOPT_CLOSESOCKETFUNCTION, on_close);
    curl_easy_setopt(curl, CURLOPT_CLOSESOCKETDATA, transfer);
    curl_easy_setopt(curl, CURLOPT_FORBID_REUSE, 1L);
    if (call->upload != NULL)
        headers = set_upload(transfer);
    else if (!call->endless)
        curl_easy_setopt(curl, CURLOPT_TIMEOUT, (long)ANSWER_S);
    if (call->method != NULL && call->upload == NULL) {
        curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, call->method);
        if (strcmp(call->method, "GET") != 0)
            curl_easy_setopt(curl, CURLOPT_POSTFIELDS, "");
    }
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    CURLcode result = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_OS_ERRNO, system_error);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &transfer->answer->status);
    curl_slist_free_all(headers);
    buf_free(&url);
    return result;
}

static void report_no_daemon(const char *socket, bool usual, long system_error)
{
    if (system_error == EACCES)
        cli_fail("cannot connect to %s: permission denied; be its owner or in its group (options mode and "
                 "group of the "
                 "configuration)",
                 socket);
    else if (usual)
        cli_fail("no daemon answers at %s or %s; is postriderd running? start it with 'postriderd -c "
                 "/etc/postrider/postrider.yaml', or name its socket with -s",
                 CONTROL_SOCKET, JOBS_SOCKET);
    else
        cli_fail("cannot connect to %s: %s; is postriderd running, and is this its socket?", socket,
                 system_error ? strerror((int)system_error) : "no answer");
}

static bool report_broken(struct transfer *transfer, CURLcode result)
{
    if (transfer->upload_failed)
        cli_fail("cannot read what is to be sent: %s", strerror(EIO));
    else if (transfer->answer->body.failed || transfer->partial.failed)
        cli_fail("the daemon's answer is too long");
    else if (result == CURLE_OPERATION_TIMEDOUT)
        cli_fail("the daemon does not answer in time");
    else
        cli_fail("the connection to the daemon broke: %s", curl_easy_strerror(result));
    return false;
}

bool http_perform(const struct cli *cli, const struct http_call *call, struct http_answer *answer)
{
    const char *usual[] = {CONTROL_SOCKET, JOBS_SOCKET};
    const char *const *sockets = cli->socket ? &cli->socket : usual;
    size_t count = cli->socket ? 1 : 2;
    struct transfer transfer = {.call = call, .answer = answer, .curl = curl_easy_init()};
    CURLcode result = CURLE_COULDNT_CONNECT;
    long system_error = 0;
    answer->status = 0;
    buf_init(&answer->body, HTTP_TAKEN_MAX);
    buf_init(&transfer.partial, HTTP_LINE_MAX);
    buf_init(&transfer.unread, HTTP_LINE_MAX);
    if (transfer.curl == NULL) {
        cli_fail("memory is out");
        return false;
    }
    if (cli->socket && strlen(cli->socket) > SOCKET_MAX) {
        curl_easy_cleanup(transfer.curl);
        cli_fail("the path of the socket is longer than %d characters", SOCKET_MAX);
        return false;
    }
    size_t tried = 0;
    for (long error; tried < count && result == CURLE_COULDNT_CONNECT; tried++) {
        result = perform(&transfer, sockets[tried], &error);
        /* Of two places the one that is there says more. */
        if (tried == 0 || error != ENOENT)
            system_error = error;
    }
    bool answered = result == CURLE_OK || transfer.stopped;
    if (!answered && call->upload != NULL && !transfer.upload_failed)
        answered = answer->status >= 400 || use_unread(&transfer);
    if (!answered && result == CURLE_COULDNT_CONNECT)
        report_no_daemon(sockets[tried - 1], cli->socket == NULL, system_error);
    else if (!answered)
        report_broken(&transfer, result);
    if (answered && transfer.partial.len > 0 && !transfer.stopped)
        call->line(call->user, buf_str(&transfer.partial));
    if (answered && buf_add_char(&answer->body, '\0'))
        answer->body.len--;
    buf_free(&transfer.partial);
    curl_easy_cleanup(transfer.curl);
    buf_free(&transfer.unread);
    if (!answered)
        buf_free(&answer->body);
    return answered;
}

bool http_is_there(const struct cli *cli)
{
    static const char *const usual[] = {CONTROL_SOCKET, JOBS_SOCKET};
    bool there = cli->socket != NULL;
    for (size_t i = 0; !there && i < 2; i++) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        memcpy(address.sun_path, usual[i], strlen(usual[i]) + 1);
        there = fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0;
        if (fd >= 0)
            close(fd);
    }
    return there;
}

void http_answer_free(struct http_answer *answer)
{
    buf_free(&answer->body);
}

int http_refused(const struct http_answer *answer)
{
    json_t *json = json_loadb(answer->body.data, answer->body.len, 0, NULL);
    json_t *error = json_object_get(json, "error");
    int code;
    if (error == NULL)
        code = cli_fail("the daemon answered with status %ld and no reason", answer->status);
    else if (member_number(error, "line") > 0)
        code = cli_fail("line %lld: %s", member_number(error, "line"), member_text(error, "reason"));
    else
        code = cli_fail("%s", member_text(error, "reason"));
    json_decref(json);
    return code;
}

json_t *http_json(const struct cli *cli, const char *method, const char *path)
{
    struct http_call call = {.method = method, .path = path};
    struct http_answer answer;
    json_t *json = NULL;
    json_error_t error;
    if (!http_perform(cli, &call, &answer))
        return NULL;
    if (answer.status >= 300)
        http_refused(&answer);
    else if ((json = json_loadb(answer.body.data, answer.body.len, 0, &error)) == NULL)
        cli_fail("the daemon's answer is not JSON: %s; are daemon and command of the same version?",
                 error.text);
    http_answer_free(&answer);
    return json;
}

static bool copy_out(void *user, struct str data)
{
    bool *ended_line = user;
    *ended_line = data.p[data.n - 1] == '\n';
    return fwrite(data.p, 1, data.n, stdout) == data.n;
}

static int copy_answer(const struct cli *cli, const char *method, const char *path)
{
    bool ended_line = true;
    struct http_call call = {.method = method, .path = path, .raw = copy_out, .user = &ended_line};
    struct http_answer answer;
    if (!http_perform(cli, &call, &answer))
        return 1;
    int code = answer.status >= 300 ? http_refused(&answer) : 0;
    if (!ended_line)
        fputc('\n', stdout);
    http_answer_free(&answer);
    return code;
}

int http_copy(const struct cli *cli, const char *path)
{
    return copy_answer(cli, NULL, path);
}

int http_show(struct cli *cli, const char *method, const char *path,
              void (*print)(struct cli *cli, json_t *answer))
{
    if (cli->json)
        return copy_answer(cli, method, path);
    json_t *json = http_json(cli, method, path);
    if (json == NULL)
        return 1;
    print(cli, json);
    json_decref(json);
    return 0;
}

int http_lines(const struct cli *cli, const char *path, bool endless,
               bool (*line)(void *user, struct str line), void *user)
{
    struct http_call call = {.path = path, .line = line, .user = user, .endless = endless};
    struct http_answer answer;
    if (!http_perform(cli, &call, &answer))
        return 1;
    int code = answer.status >= 300 ? http_refused(&answer) : 0;
    http_answer_free(&answer);
    return code;
}

/* ---- paths ---- */

static void add_escaped(struct buf *path, const char *text)
{
    char *escaped = curl_easy_escape(NULL, text, 0);
    if (escaped != NULL)
        buf_add_z(path, escaped);
    else
        path->failed = true;
    curl_free(escaped);
}

void path_start(struct buf *path, const char *start, const char *part, const char *end)
{
    buf_init(path, HTTP_PATH_MAX);
    buf_add_z(path, start);
    if (part != NULL)
        add_escaped(path, part);
    buf_add_z(path, end);
}

void path_add(struct buf *path, const char *name, const char *value)
{
    if (value == NULL)
        return;
    bool first = path->len == 0 || memchr(path->data, '?', path->len) == NULL;
    buf_printf(path, "%c%s=", first ? '?' : '&', name);
    add_escaped(path, value);
}

const char *path_done(struct buf *path)
{
    buf_add_char(path, '\0');
    return path->failed ? "/too-long" : path->data;
}
