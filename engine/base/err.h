/* err.h - an error as one sentence for the operator: what happened, where, and what to do.
 *
 * The caller owns a `struct err` (usually on its stack) and passes its address; functions that can fail
 * return false or NULL and fill it. Never NULL, never longer than ERR_TEXT_MAX. Any thread. */
#ifndef POSTRIDER_BASE_ERR_H
#define POSTRIDER_BASE_ERR_H

#include <stdbool.h>

#define ERR_TEXT_MAX 512

struct err {
    int code; /* an errno value, or 0 where none fits */
    char text[ERR_TEXT_MAX];
};

/* Fills err and returns false, so that `return err_set(err, EIO, "…")` reads as one step. Control characters,
 * which may come from input, become `?`. */
bool err_set(struct err *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Puts "context: " before the text that is there. */
bool err_prefix(struct err *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
