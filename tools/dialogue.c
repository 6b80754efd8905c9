/* dialogue.c - see dialogue.h. */
#include "tools/dialogue.h"

#include "engine/base/clock.h"
#include "engine/base/secret.h"
#include "engine/smtp/command.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#define ANSWER_BYTES_MAX (REPLY_LINES_MAX * (REPLY_LINE_MAX + 1)) /* of one answer */

bool dialogue_init(struct dialogue *dialogue, int64_t timeout_ms, struct err *err)
{
    *dialogue = (struct dialogue){.fd = -1, .timeout_ms = timeout_ms};
    buf_init(&dialogue->cipher, TLS_OUT_MAX);
    buf_init(&dialogue->kept, TLS_PLAIN_MAX);
    buf_init(&dialogue->text, REPLY_TEXT_MAX);
    buf_init(&dialogue->lines, ANSWER_BYTES_MAX);
    reply_init(&dialogue->reply);
    dialogue->tls = tls_create(err);
    return dialogue->tls != NULL;
}

void dialogue_close(struct dialogue *dialogue)
{
    tls_free(dialogue->conn);
    dialogue->conn = NULL;
    if (dialogue->fd >= 0)
        close(dialogue->fd);
    dialogue->fd = -1;
    buf_clear(&dialogue->cipher);
    buf_clear(&dialogue->kept);
    reply_free(&dialogue->reply);
    reply_init(&dialogue->reply);
}

void dialogue_free(struct dialogue *dialogue)
{
    dialogue_close(dialogue);
    buf_free(&dialogue->cipher);
    buf_free(&dialogue->kept);
    buf_free(&dialogue->text);
    buf_free(&dialogue->lines);
    reply_free(&dialogue->reply);
    tls_destroy(dialogue->tls);
}

/* ---- waiting ---- */

struct step {
    int64_t began_ns, end_ns;
};

static struct step step_begin(const struct dialogue *dialogue)
{
    int64_t now_ns = clock_now().mono_ns;
    return (struct step){now_ns, now_ns + dialogue->timeout_ms * NS_PER_MS};
}

static bool step_done(struct dialogue *dialogue, const struct step *step)
{
    dialogue->took_ns = clock_now().mono_ns - step->began_ns;
    return true;
}

static bool wait_for(const struct dialogue *dialogue, const struct step *step, short events, struct err *err)
{
    struct pollfd poll_fd = {.fd = dialogue->fd, .events = events};
    int64_t left_ms = (step->end_ns - clock_now().mono_ns) / NS_PER_MS;
    int n = left_ms > 0 ? poll(&poll_fd, 1, (int)left_ms) : 0;
    if (n == 0)
        return err_set(err, ETIMEDOUT, "no answer within %g s", (double)dialogue->timeout_ms / MS_PER_S);
    return n > 0 || errno == EINTR || err_set(err, errno, "%s", strerror(errno));
}

static bool send_all(const struct dialogue *dialogue, const struct step *step, struct str data,
                     struct err *err)
{
    while (data.n > 0) {
        ssize_t n = send(dialogue->fd, data.p, data.n, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return err_set(err, errno, "connection lost: %s", strerror(errno));
        if (n > 0)
            data = str_make(data.p + n, data.n - (size_t)n);
        if (data.n > 0 && !wait_for(dialogue, step, POLLOUT, err))
            return false;
    }
    return true;
}

/* What TLS has to say. */
static bool send_cipher(struct dialogue *dialogue, const struct step *step, struct err *err)
{
    bool sent = send_all(dialogue, step, buf_str(&dialogue->cipher), err);
    buf_clear(&dialogue->cipher);
    return sent;
}

/* Some of what the host says, through TLS where it is on: onto `kept`. */
static bool receive(struct dialogue *dialogue, const struct step *step, struct err *err)
{
    char data[TLS_FEED_MAX];
    struct str plain;
    ssize_t n;
    do {
        if (!wait_for(dialogue, step, POLLIN, err))
            return false;
        n = recv(dialogue->fd, data, sizeof data, 0);
    } while (n < 0 && (errno == EAGAIN || errno == EINTR));
    if (n < 0)
        return err_set(err, errno, "connection lost: %s", strerror(errno));
    if (n == 0)
        return err_set(err, 0, "connection closed by the host");
    if (dialogue->conn == NULL) {
        plain = str_make(data, (size_t)n);
    } else {
        enum tls_state state = tls_feed(dialogue->conn, data, (size_t)n, &plain, err);
        if (!send_cipher(dialogue, step, err) || state == TLS_FAILED)
            return false;
        if (state == TLS_CLOSED && plain.n == 0)
            return err_set(err, 0, "connection closed by the host");
    }
    return buf_add_str(&dialogue->kept, plain) || err_set(err, 0, "the host says too much");
}

/* ---- lines ---- */

static void tell(const struct dialogue *dialogue, bool sent, struct str line)
{
    if (dialogue->line != NULL)
        dialogue->line(dialogue->user, sent, line);
}

static void keep_line(struct dialogue *dialogue, bool last)
{
    const struct reply *reply = &dialogue->reply;
    struct buf line;
    buf_init(&line, REPLY_LINE_MAX + 8);
    reply_show(reply, last, &line);
    tell(dialogue, false, buf_str(&line));
    buf_free(&line);
    buf_add_str(&dialogue->lines, reply->line);
    buf_add_char(&dialogue->lines, '\n');
}

/* Takes what is kept. REPLY_MORE: it was not enough. */
static enum reply_result read_kept(struct dialogue *dialogue, struct err *err)
{
    struct str data = buf_str(&dialogue->kept);
    enum reply_result result = REPLY_MORE;
    while (data.n > 0 && (result == REPLY_MORE || result == REPLY_LINE)) {
        result = reply_feed(&dialogue->reply, &data);
        if (result == REPLY_LINE || result == REPLY_DONE)
            keep_line(dialogue, result == REPLY_DONE);
    }
    if (result == REPLY_DONE) {
        dialogue->code = dialogue->reply.code;
        buf_clear(&dialogue->text);
        buf_add_str(&dialogue->text, dialogue->reply.text);
    }
    if (result == REPLY_BAD)
        err_set(err, 0, "the host says what is no SMTP: %s", dialogue->reply.why);
    buf_shift(&dialogue->kept, dialogue->kept.len - data.n);
    return result;
}

static bool hear(struct dialogue *dialogue, const struct step *step, struct err *err)
{
    buf_clear(&dialogue->lines);
    for (;;) {
        enum reply_result result = read_kept(dialogue, err);
        if (result == REPLY_DONE)
            return step_done(dialogue, step);
        if (result == REPLY_BAD || !receive(dialogue, step, err))
            return false;
    }
}

bool dialogue_hear(struct dialogue *dialogue, struct err *err)
{
    struct step step = step_begin(dialogue);
    return hear(dialogue, &step, err);
}

bool dialogue_say(struct dialogue *dialogue, struct str command, struct err *err)
{
    struct step step = step_begin(dialogue);
    char room[COMMAND_SHOWN_MAX];
    tell(dialogue, true, command_shown(str_make(command.p, command.n - 2), room));
    if (dialogue->conn == NULL) {
        if (!send_all(dialogue, &step, command, err))
            return false;
    } else {
        struct iovec iov = {(void *)(uintptr_t)command.p, command.n};
        if (!tls_write(dialogue->conn, &iov, 1, err) || !send_cipher(dialogue, &step, err))
            return false;
    }
    return hear(dialogue, &step, err);
}

/* ---- connecting ---- */

static bool connected(struct dialogue *dialogue, const struct step *step, struct err *err)
{
    int error = 0;
    socklen_t size = sizeof error;
    if (!wait_for(dialogue, step, POLLOUT, err))
        return false;
    getsockopt(dialogue->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    return error == 0 ? step_done(dialogue, step) : err_set(err, error, "%s", strerror(error));
}

bool dialogue_connect(struct dialogue *dialogue, const struct sockaddr *source, socklen_t source_len,
                      const struct sockaddr *peer, socklen_t peer_len, struct err *err)
{
    struct step step = step_begin(dialogue);
    dialogue->fd = socket(peer->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (dialogue->fd < 0)
        return err_set(err, errno, "%s", strerror(errno));
    if (source != NULL && bind(dialogue->fd, source, source_len) != 0)
        return err_set(err, errno, "the source address can't be used: %s", strerror(errno));
    if (connect(dialogue->fd, peer, peer_len) != 0 && errno != EINPROGRESS)
        return err_set(err, errno, "%s", strerror(errno));
    return connected(dialogue, &step, err);
}

/* ---- by way of a proxy ---- */

/* Says this to a SOCKS5 server, and takes its answer. */
static bool ask_socks(struct dialogue *dialogue, const struct step *step, enum socks_step what,
                      const struct buf *question, enum socks_reply *reply, struct err *err)
{
    size_t used;
    const char *why = "";
    if (!send_all(dialogue, step, buf_str(question), err))
        return false;
    while ((*reply = socks_read(what, buf_str(&dialogue->kept), &used, &why)) == SOCKS_MORE)
        if (!receive(dialogue, step, err))
            return false;
    if (*reply == SOCKS_FAILED || *reply == SOCKS_NO_HOST)
        return err_set(err, 0, "%s", why);
    buf_shift(&dialogue->kept, used);
    return true;
}

static bool log_in_to_socks(struct dialogue *dialogue, const struct step *step, const struct proxy *proxy,
                            struct err *err)
{
    enum socks_reply reply;
    struct buf password, line;
    buf_init(&password, LOGIN_SECRET_MAX);
    buf_init(&line, 2 * LOGIN_SECRET_MAX);
    bool good = proxy->user[0] != '\0' || err_set(err, 0, "it wants a user and a password");
    good = good && secret_read(proxy->password_file, &password, err) &&
           (socks_add_login(&line, str_of(proxy->user), buf_str(&password)) ||
            err_set(err, 0, "user and password have at most 255 bytes each")) &&
           ask_socks(dialogue, step, SOCKS_LOGIN, &line, &reply, err);
    secret_free(&password);
    secret_free(&line);
    return good;
}

static bool go_by_socks(struct dialogue *dialogue, const struct step *step, const struct proxy *proxy,
                        const struct sockaddr *peer, struct err *err)
{
    enum socks_reply reply;
    struct buf line;
    buf_init(&line, 1024);
    bool good = socks_add_hello(&line, proxy->user[0] != '\0') &&
                ask_socks(dialogue, step, SOCKS_HELLO, &line, &reply, err) &&
                (reply != SOCKS_ASKS || log_in_to_socks(dialogue, step, proxy, err));
    buf_clear(&line);
    good = good && socks_add_connect(&line, peer) &&
           ask_socks(dialogue, step, SOCKS_CONNECT, &line, &reply, err);
    buf_free(&line);
    return good;
}

static bool go_by_haproxy(struct dialogue *dialogue, const struct step *step, const struct sockaddr *source,
                          const struct sockaddr *peer, struct err *err)
{
    struct buf header;
    buf_init(&header, 1024);
    bool good = proxy_add_header(&header, source, peer)
                    ? send_all(dialogue, step, buf_str(&header), err)
                    : err_set(err, 0, "the source's address is of another family than the host's");
    buf_free(&header);
    return good;
}

bool dialogue_connect_by(struct dialogue *dialogue, const struct proxy *proxy, const struct sockaddr *source,
                         const struct sockaddr *peer, struct err *err)
{
    struct step step = step_begin(dialogue);
    bool good =
        dialogue_connect(dialogue, NULL, 0, (const struct sockaddr *)&proxy->address, proxy->len, err) &&
        (proxy->kind == PROXY_SOCKS5 ? go_by_socks(dialogue, &step, proxy, peer, err)
                                     : go_by_haproxy(dialogue, &step, source, peer, err));
    return good ? step_done(dialogue, &step) : err_prefix(err, "by way of %s", proxy->text);
}

bool dialogue_secure(struct dialogue *dialogue, const char *host, const struct tls_demand *demand,
                     struct err *err)
{
    struct step step = step_begin(dialogue);
    if (dialogue->kept.len > 0)
        return err_set(err, 0, "the host sent plaintext behind its reply to STARTTLS");
    dialogue->conn = tls_start(dialogue->tls, demand, host, "", &dialogue->cipher, err);
    if (dialogue->conn == NULL)
        return false;
    while (tls_text(dialogue->conn)[0] == '\0')
        if (!send_cipher(dialogue, &step, err) || !receive(dialogue, &step, err))
            return false;
    return send_cipher(dialogue, &step, err) && step_done(dialogue, &step);
}
