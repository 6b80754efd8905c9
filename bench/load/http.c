/* http.c - see http.h. */
#include "bench/load/http.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define READ_SIZE    4096
#define EXCERPT_SIZE 300
#define SEND_SIZE    (4 * 1024 * 1024) /* asked for; the kernel gives at most net.core.wmem_max */

int http_connect(const char *path, struct err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path) {
        err_set(err, ENAMETOOLONG, "the socket's path %s is too long", path);
        return -1;
    }
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int size = SEND_SIZE;
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    struct timeval patience = {.tv_sec = 10}; /* where the server's backlog is full */
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    err_set(err, errno, "cannot connect to %s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return -1;
}

void answer_init(struct answer *answer)
{
    *answer = (struct answer){0};
    buf_init(&answer->in, HTTP_ANSWER_SIZE);
}

void answer_free(struct answer *answer)
{
    buf_free(&answer->in);
}

void answer_clear(struct answer *answer)
{
    buf_clear(&answer->in);
    answer->status = 0;
    answer->close = false;
    answer->body = (struct str){0};
}

/* The value of a header field, or n 0. `head` has all lines, each with its CRLF. */
static struct str field(struct str head, struct str name)
{
    size_t at = 0, end;
    while ((end = str_find(head, '\n', at)) != SIZE_MAX) {
        struct str line = str_make(head.p + at, end - at);
        if (str_starts_nocase(line, name) && line.n > name.n && line.p[name.n] == ':')
            return str_trim(str_make(line.p + name.n + 1, line.n - name.n - 1));
        at = end + 1;
    }
    return (struct str){0};
}

static enum answer_state broken(struct answer *answer)
{
    answer->status = 0;
    return ANSWER_BROKEN;
}

/* Moves the chunks together, once the last one is there. */
static enum answer_state chunks_join(struct answer *answer, size_t start)
{
    char *data = answer->in.data;
    for (int pass = 0; pass < 2; pass++) {
        size_t from = start, to = start;
        for (;;) {
            size_t end = str_find(buf_str(&answer->in), '\n', from);
            if (end == SIZE_MAX)
                return ANSWER_MORE;
            char *stop;
            unsigned long n = strtoul(data + from, &stop, 16);
            if (stop == data + from || n > HTTP_ANSWER_SIZE)
                return broken(answer);
            if (end + 1 + n + 2 > answer->in.len)
                return ANSWER_MORE;
            if (n == 0)
                break;
            if (pass == 1)
                memmove(data + to, data + end + 1, n);
            to += n;
            from = end + 1 + n + 2;
        }
        answer->body = str_make(data + start, to - start);
    }
    return ANSWER_WHOLE;
}

enum answer_state answer_parse(struct answer *answer)
{
    const char *end = answer->in.len ? memmem(answer->in.data, answer->in.len, "\r\n\r\n", 4) : NULL;
    if (end == NULL)
        return ANSWER_MORE;
    struct str head = str_make(answer->in.data, (size_t)(end - answer->in.data) + 2);
    uint64_t status, length;
    if (!str_starts(head, STR("HTTP/1.1 ")) || head.n < 12 || !str_u64(str_make(head.p + 9, 3), 599, &status))
        return broken(answer);
    if (status < 200) { /* 100 Continue */
        buf_shift(&answer->in, head.n + 2);
        return answer_parse(answer);
    }
    answer->status = (int)status;
    answer->close = str_eq_nocase(field(head, STR("Connection")), STR("close"));
    if (str_eq_nocase(field(head, STR("Transfer-Encoding")), STR("chunked")))
        return chunks_join(answer, head.n + 2);
    if (!str_u64(field(head, STR("Content-Length")), HTTP_ANSWER_SIZE, &length))
        return broken(answer);
    answer->body = str_make(answer->in.data + head.n + 2, length);
    return answer->in.len >= head.n + 2 + length ? ANSWER_WHOLE : ANSWER_MORE;
}

enum answer_state answer_read(struct answer *answer, int fd, struct err *err)
{
    enum answer_state state = ANSWER_MORE;
    while (state == ANSWER_MORE) {
        char *room = buf_room(&answer->in, READ_SIZE);
        ssize_t n = room ? recv(fd, room, READ_SIZE, MSG_DONTWAIT) : -1;
        if (room == NULL) {
            err_set(err, ENOMEM, "the answer is too long");
            return ANSWER_BROKEN;
        }
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return ANSWER_MORE;
        if (n <= 0) {
            err_set(err, n ? errno : 0, "the server closed the connection before its answer%s%s",
                    n ? ": " : "", n ? strerror(errno) : "");
            return ANSWER_BROKEN;
        }
        answer->in.len += (size_t)n;
        state = answer_parse(answer);
    }
    if (state == ANSWER_BROKEN)
        err_set(err, EPROTO, "the server's answer is not HTTP: %.*s",
                (int)(answer->in.len < 200 ? answer->in.len : 200), answer->in.data);
    return state;
}

struct str answer_excerpt(const struct answer *answer)
{
    struct str text = str_trim(answer->body);
    text.n = text.n < EXCERPT_SIZE ? text.n : EXCERPT_SIZE;
    return text;
}

uint64_t answer_accepted(const struct answer *answer)
{
    static const char key[] = "\"accepted\":";
    uint64_t sum = 0;
    const char *p = answer->body.p, *end = answer->body.p + answer->body.n;
    while (p && (p = memmem(p, (size_t)(end - p), key, sizeof key - 1)) != NULL) {
        uint64_t n = 0;
        for (p += sizeof key - 1; p < end && *p == ' '; p++)
            ;
        for (; p < end && *p >= '0' && *p <= '9'; p++)
            n = n * 10 + (uint64_t)(*p - '0');
        sum += n;
    }
    return sum;
}
