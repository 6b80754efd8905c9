/* log.c - see log.h. One write(2) a line, so that lines of several threads do not mix. */
#include "engine/base/log.h"

#include "engine/base/clock.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static void log_line(const char *level, const char *format, va_list args)
{
    char line[2048];
    int64_t wall_ms = clock_now().wall_ms;
    time_t seconds = (time_t)(wall_ms / MS_PER_S);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    size_t at = strftime(line, sizeof line, "%Y-%m-%dT%H:%M:%S", &tm);
    at += (size_t)snprintf(line + at, sizeof line - at, ".%03dZ %s ", (int)(wall_ms % MS_PER_S), level);
    int n = vsnprintf(line + at, sizeof line - at - 1, format, args);
    if (n > 0)
        at += (size_t)n < sizeof line - at - 1 ? (size_t)n : sizeof line - at - 2;
    line[at++] = '\n';
    ssize_t written = write(STDERR_FILENO, line, at);
    (void)written; /* nowhere left to report it */
}

#define LOG_FUNCTION(function, level)                                                                        \
    void function(const char *format, ...)                                                                   \
    {                                                                                                        \
        va_list args;                                                                                        \
        va_start(args, format);                                                                              \
        log_line(level, format, args);                                                                       \
        va_end(args);                                                                                        \
    }

LOG_FUNCTION(log_error, "error")
LOG_FUNCTION(log_warn, "warn")
LOG_FUNCTION(log_info, "info")

bool log_gate_pass(struct log_gate *gate, int64_t now_ns, int64_t every_ms, unsigned *left_out)
{
    if (now_ns < gate->next_ns) {
        gate->left_out++;
        return false;
    }
    if (left_out != NULL)
        *left_out = gate->left_out;
    *gate = (struct log_gate){.next_ns = now_ns + every_ms * NS_PER_MS};
    return true;
}
