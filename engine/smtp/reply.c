/* reply.c - see reply.h. */
#include "engine/smtp/reply.h"

#include "queue/status.h"

void reply_init(struct reply *reply)
{
    *reply = (struct reply){.done = true, .why = ""};
    buf_init(&reply->partial, REPLY_LINE_MAX);
    buf_init(&reply->joined, REPLY_TEXT_MAX);
}

void reply_release(struct reply *reply)
{
    if (reply_begun(reply))
        return;
    reply_free(reply);
    reply->partial_used = false;
    reply->line = reply->text = str_make("", 0);
}

void reply_free(struct reply *reply)
{
    buf_free(&reply->partial);
    buf_free(&reply->joined);
}

static enum reply_result reply_bad(struct reply *reply, const char *why)
{
    reply->why = why;
    return REPLY_BAD;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* 0: no reply code stands at the start of the line. */
static unsigned line_code(struct str line)
{
    if (line.n < 3 || line.p[0] < '2' || line.p[0] > '5' || !is_digit(line.p[1]) || !is_digit(line.p[2]))
        return 0;
    return (unsigned)((line.p[0] - '0') * 100 + (line.p[1] - '0') * 10 + (line.p[2] - '0'));
}

/* Adds as much as fits; the rest is not kept. */
static bool join_add(struct buf *joined, struct str s)
{
    size_t room = REPLY_TEXT_MAX - joined->len;
    return buf_add(joined, s.p, s.n < room ? s.n : room);
}

/* Without the enhanced status with which the reply's first line began, where it is repeated (RFC 2034). */
static struct str without_repeated_status(const struct reply *reply, struct str line)
{
    struct status status;
    size_t used;
    if (!status_parse(buf_str(&reply->joined), &status, &used) ||
        !str_starts(line, str_make(reply->joined.data, used)))
        return line;
    if (line.n > used && line.p[used] != ' ')
        return line;
    return str_trim(str_make(line.p + used, line.n - used));
}

static bool reply_join(struct reply *reply)
{
    if (reply->lines == 1)
        return join_add(&reply->joined, reply->line);
    struct str more = without_repeated_status(reply, reply->line);
    return more.n == 0 || (join_add(&reply->joined, STR(" ")) && join_add(&reply->joined, more));
}

static enum reply_result reply_line(struct reply *reply, struct str line)
{
    while (line.n > 0 && line.p[line.n - 1] == '\r')
        line.n--;
    unsigned code = line_code(line);
    bool last = line.n == 3 || (line.n > 3 && line.p[3] == ' ');
    if (code == 0 || (!last && line.p[3] != '-'))
        return reply_bad(reply, "a line that is no SMTP reply");
    if (reply->lines > 0 && code != reply->code)
        return reply_bad(reply, "a reply whose lines have different codes");
    if (++reply->lines > REPLY_LINES_MAX)
        return reply_bad(reply, "a reply of too many lines");
    reply->code = code;
    reply->line = line.n > 4 ? str_make(line.p + 4, line.n - 4) : str_make("", 0);
    reply->done = last;
    if (last && reply->lines == 1) {
        reply->text =
            str_make(reply->line.p, reply->line.n < REPLY_TEXT_MAX ? reply->line.n : REPLY_TEXT_MAX);
        return REPLY_DONE;
    }
    if (!reply_join(reply))
        return reply_bad(reply, "a reply for which memory is out");
    reply->text = buf_str(&reply->joined);
    return last ? REPLY_DONE : REPLY_LINE;
}

enum reply_result reply_feed(struct reply *reply, struct str *data)
{
    if (reply->partial_used)
        buf_clear(&reply->partial);
    reply->partial_used = false;
    if (reply->done && data->n > 0) {
        buf_clear(&reply->joined);
        reply->lines = 0;
        reply->code = 0;
        reply->done = false;
    }
    size_t end = str_find(*data, '\n', 0);
    struct str piece = str_make(data->p, end == SIZE_MAX ? data->n : end);
    if (reply->partial.len + piece.n > REPLY_LINE_MAX)
        return reply_bad(reply, "a line that does not end");
    bool whole = end != SIZE_MAX && reply->partial.len == 0;
    if (!whole && !buf_add(&reply->partial, piece.p, piece.n))
        return reply_bad(reply, "a reply for which memory is out");
    size_t taken = end == SIZE_MAX ? data->n : end + 1;
    *data = str_make(data->p + taken, data->n - taken);
    if (end == SIZE_MAX)
        return REPLY_MORE;
    if (whole)
        return reply_line(reply, piece);
    reply->partial_used = true;
    return reply_line(reply, buf_str(&reply->partial));
}

void reply_show(const struct reply *reply, bool last, struct buf *out)
{
    buf_printf(out, "%u%c", reply->code, last ? ' ' : '-');
    if (reply->code == 334)
        buf_printf(out, "(%zu bytes hidden)", reply->line.n);
    else
        buf_add_str(out, reply->line);
}
