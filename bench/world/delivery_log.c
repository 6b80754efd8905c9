/* delivery_log.c - see delivery_log.h. */
#include "bench/world/delivery_log.h"

#include "engine/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define BUFFERED  (64 * 1024)
#define LINE_ROOM (8 * 1024) /* more than the longest line: two addresses, two names and numbers */

bool delivery_log_open(struct delivery_log *log, const char *path, struct err *err)
{
    log->fd = -1;
    log->failed = false;
    buf_init(&log->lines, BUFFERED + LINE_ROOM);
    if (path == NULL)
        return true;
    log->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644);
    return log->fd >= 0 || err_set(err, errno, "cannot write the log %s: %s", path, strerror(errno));
}

void delivery_log_flush(struct delivery_log *log)
{
    for (size_t at = 0; at < log->lines.len && !log->failed;) {
        ssize_t n = write(log->fd, log->lines.data + at, log->lines.len - at);
        if (n > 0) {
            at += (size_t)n;
        } else if (errno != EINTR) {
            log->failed = true;
            log_error("the delivery log cannot be written: %s; it ends here", strerror(errno));
        }
    }
    buf_clear(&log->lines);
}

void delivery_log_close(struct delivery_log *log)
{
    if (log->fd >= 0) {
        delivery_log_flush(log);
        close(log->fd);
    }
    log->fd = -1;
    buf_free(&log->lines);
}

static void add_number(struct buf *lines, uint64_t value)
{
    char digits[24];
    size_t at = sizeof digits;
    digits[--at] = '\t';
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    buf_add(lines, digits + at, sizeof digits - at);
}

static void add_text(struct buf *lines, struct str text)
{
    buf_add_str(lines, text);
    buf_add_char(lines, '\t');
}

void delivery_log_add(struct delivery_log *log, const struct delivery *delivery, struct str recipient)
{
    if (log->fd < 0 || log->failed)
        return;
    if (log->lines.len >= BUFFERED)
        delivery_log_flush(log);
    add_number(&log->lines, (uint64_t)delivery->time_ms);
    add_text(&log->lines, str_of(delivery->host));
    add_number(&log->lines, delivery->connection);
    add_text(&log->lines, delivery->helo);
    add_text(&log->lines, delivery->from);
    add_text(&log->lines, recipient);
    add_number(&log->lines, delivery->size);
    add_text(&log->lines, str_of(delivery->digest));
    buf_add_z(&log->lines, delivery->tls ? "yes\n" : "no\n");
}
