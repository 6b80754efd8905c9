/* wrap.h - prose in lines of at most WRAP_COLUMNS, for the --help of programs. Pure. */
#ifndef POSTRIDER_BASE_WRAP_H
#define POSTRIDER_BASE_WRAP_H

#include <stddef.h>
#include <stdio.h>

#define WRAP_COLUMNS 80

/* Prints text, which begins at column `at` of a line under way, and a newline; broken at spaces, further
 * lines begin at column `indent`. A word that does not fit a line of its own stays whole. */
void wrap_print(FILE *out, size_t at, size_t indent, const char *text);

#endif
