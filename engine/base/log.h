/* log.h - lines on stderr: time, level, message. For the start, the end, and what an operator must act on;
 * never one a message. Any thread; a line is written whole. */
#ifndef POSTRIDER_BASE_LOG_H
#define POSTRIDER_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Of a line that there may be too many of; one thread's, zero to begin. */
struct log_gate {
    int64_t next_ns;
    unsigned left_out;
};
/* Whether it may be written now: the first at once, then one in every_ms. Then *left_out is how many were
 * not, since the last that was; it may be NULL. */
bool log_gate_pass(struct log_gate *gate, int64_t now_ns, int64_t every_ms, unsigned *left_out);

#endif
