/* exchange.c - see exchange.h. */
#include "tools/sendmail/exchange.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sysexits.h>
#include <unistd.h>

#define REPLY_MAX      65536
#define LINE_MAX_SHOWN 1024

int complain(int code, const char *format, ...)
{
    char text[LINE_MAX_SHOWN];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (char *p = text; *p != '\0'; p++)
        if ((*p > 0 && *p < ' ') || *p == 0x7f)
            *p = '?';
    fprintf(stderr, "sendmail: %s\n", text);
    return code;
}

static int lost(const char *what)
{
    return complain(EX_TEMPFAIL, "the connection to postriderd was lost (%s): send the message again", what);
}

static bool send_all(const struct exchange *exchange, struct str text)
{
    while (text.n > 0) {
        ssize_t n = send(exchange->fd, text.p, text.n, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        text = str_make(text.p + n, text.n - (size_t)n);
    }
    return true;
}

/* A line, without its end, is taken off `in`; -1: none is whole. */
static ssize_t line_size(const struct exchange *exchange)
{
    size_t lf = str_find(buf_str(&exchange->in), '\n', 0);
    return lf == SIZE_MAX ? -1 : (ssize_t)lf + 1;
}

static bool read_more(struct exchange *exchange)
{
    char *room = buf_room(&exchange->in, 4096);
    ssize_t n = room != NULL ? recv(exchange->fd, room, 4096, 0) : -1;
    exchange->in.len += n > 0 ? (size_t)n : 0;
    return n > 0;
}

/* Reads one reply. 0, or EX_TEMPFAIL. */
static int read_reply(struct exchange *exchange)
{
    bool last = false;
    buf_clear(&exchange->reply);
    while (!last) {
        ssize_t n = line_size(exchange);
        if (n < 0) {
            if (!read_more(exchange))
                return lost(errno == EAGAIN ? "no answer" : "closed");
            continue;
        }
        struct str line = str_trim(str_make(exchange->in.data, (size_t)n));
        last = line.n < 4 || line.p[3] != '-';
        uint64_t code = 0;
        if (line.n < 3 || !str_u64(str_make(line.p, 3), 599, &code))
            return lost("what it says is no SMTP");
        exchange->code = (unsigned)code;
        if (exchange->reply.len > 0)
            buf_add_char(&exchange->reply, ' ');
        buf_add_str(&exchange->reply,
                    exchange->reply.len == 0 || line.n < 4 ? line : str_make(line.p + 4, line.n - 4));
        buf_shift(&exchange->in, (size_t)n);
    }
    return 0;
}

static int refused(const struct exchange *exchange)
{
    int code = exchange->code < 500    ? EX_TEMPFAIL
               : exchange->code == 501 ? EX_DATAERR
               : exchange->code == 554 ? EX_DATAERR
               : exchange->code == 552 ? EX_DATAERR
               : exchange->code == 550 ? EX_NOPERM
               : exchange->code == 530 ? EX_NOPERM
                                       : EX_UNAVAILABLE;
    return complain(code, "postriderd says: %.*s", STR_ARG(buf_str(&exchange->reply)));
}

int exchange_say(struct exchange *exchange, struct str text, const char *good)
{
    if (!send_all(exchange, text))
        return lost(strerror(errno));
    int code = read_reply(exchange);
    if (code != 0)
        return code;
    return strchr(good, (char)('0' + exchange->code / 100)) != NULL ? 0 : refused(exchange);
}

int exchange_open(struct exchange *exchange, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct timeval patience = {.tv_sec = EXCHANGE_TIMEOUT_S};
    *exchange = (struct exchange){.fd = -1};
    buf_init(&exchange->in, REPLY_MAX);
    buf_init(&exchange->reply, REPLY_MAX);
    if (strlen(path) >= sizeof address.sun_path)
        return complain(EX_CONFIG, "the path of the socket is too long: %s", path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    exchange->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (exchange->fd < 0)
        return complain(EX_OSERR, "cannot make a socket: %s", strerror(errno));
    setsockopt(exchange->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(exchange->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(exchange->fd, (const struct sockaddr *)&address, sizeof address) != 0) {
        if (errno == EACCES)
            return complain(
                EX_NOPERM, "you may not open %s: its mode and group are in postriderd's configuration", path);
        return complain(EX_TEMPFAIL,
                        "postriderd does not answer at %s (%s): is it running? The message was not taken",
                        path, strerror(errno));
    }
    int code = read_reply(exchange);
    if (code == 0 && exchange->code != 220)
        return refused(exchange);
    if (code == 0 && sscanf(exchange->reply.data, "220 %255s", exchange->host) != 1)
        return lost("its greeting names no host");
    return code;
}

void exchange_close(struct exchange *exchange)
{
    if (exchange->fd >= 0)
        close(exchange->fd);
    exchange->fd = -1;
    buf_free(&exchange->in);
    buf_free(&exchange->reply);
}

/* From one descriptor to another. 1: some; 0: the end; -1: failed. */
static int copy_some(int from, int to)
{
    char bytes[65536];
    ssize_t n = read(from, bytes, sizeof bytes);
    for (ssize_t at = 0; at < n;) {
        ssize_t wrote = write(to, bytes + at, (size_t)(n - at));
        if (wrote < 0)
            return -1;
        at += wrote;
    }
    return n > 0 ? 1 : (int)n;
}

int exchange_relay(struct exchange *exchange)
{
    struct pollfd fds[2] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = exchange->fd, .events = POLLIN}};
    printf("%.*s\r\n", STR_ARG(buf_str(&exchange->reply)));
    fflush(stdout);
    for (;;) {
        if (poll(fds, 2, EXCHANGE_TIMEOUT_S * 1000) <= 0 && errno != EINTR)
            return lost("nothing came for too long");
        if (fds[1].revents != 0 && copy_some(exchange->fd, STDOUT_FILENO) <= 0)
            return 0; /* it has said what there was to say */
        if (fds[0].revents != 0 && copy_some(STDIN_FILENO, exchange->fd) <= 0) {
            shutdown(exchange->fd, SHUT_WR);
            fds[0].fd = -1;
        }
    }
}
