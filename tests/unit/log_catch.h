/* log_catch.h - what is written to the log between two calls, for tests that look at it. */
#ifndef POSTRIDER_TESTS_LOG_CATCH_H
#define POSTRIDER_TESTS_LOG_CATCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka asks for the four above */
#include <cmocka.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct log_catch {
    FILE *file;
    int before; /* standard error */
    char text[8192];
};

static inline void log_catch_begin(struct log_catch *log)
{
    log->file = tmpfile();
    log->before = dup(STDERR_FILENO);
    assert_true(log->file != NULL && log->before >= 0);
    dup2(fileno(log->file), STDERR_FILENO);
}

static inline const char *log_catch_end(struct log_catch *log)
{
    dup2(log->before, STDERR_FILENO);
    close(log->before);
    rewind(log->file);
    log->text[fread(log->text, 1, sizeof log->text - 1, log->file)] = '\0';
    fclose(log->file);
    return log->text;
}

/* How often it holds these words. */
static inline unsigned log_catch_count(const char *text, const char *words)
{
    unsigned n = 0;
    for (const char *at = text; (at = strstr(at, words)) != NULL; at += strlen(words))
        n++;
    return n;
}

#endif
