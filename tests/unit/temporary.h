/* temporary.h - where what a test writes lies: below $POSTRIDER_TEST_TMP, else /var/tmp, for /tmp may be
 * memory. Names are short, for a Unix socket's path has 107 bytes. */
#ifndef POSTRIDER_TESTS_TEMPORARY_H
#define POSTRIDER_TESTS_TEMPORARY_H

#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define TEMPORARY_PATH 80 /* with its NUL */

/* What mkdtemp and mkstemp complete. */
static inline bool temporary_name(char path[TEMPORARY_PATH])
{
    const char *base = getenv("POSTRIDER_TEST_TMP");
    int n = snprintf(path, TEMPORARY_PATH, "%s/postrider-unit-XXXXXX", base != NULL ? base : "/var/tmp");
    return n > 0 && n < TEMPORARY_PATH;
}

static inline bool temporary_directory(char path[TEMPORARY_PATH])
{
    return temporary_name(path) && mkdtemp(path) != NULL;
}

/* An empty file, open; -1: there is none. */
static inline int temporary_file(char path[TEMPORARY_PATH])
{
    return temporary_name(path) ? mkstemp(path) : -1;
}

static inline int temporary_remove_one(const char *path, const struct stat *st, int kind, struct FTW *place)
{
    (void)st;
    (void)kind;
    (void)place;
    return remove(path);
}

/* With all that is in it. */
static inline void temporary_remove(const char *directory)
{
    (void)nftw(directory, temporary_remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

#endif
