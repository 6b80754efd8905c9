/* log.h - lines on stderr: time, level, message. For the start, the end, and what an operator must act on;
 * never one a message. Any thread; a line is written whole. */
#ifndef POSTRIDER_BASE_LOG_H
#define POSTRIDER_BASE_LOG_H

void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
