/* table.h - rows of text in aligned columns, and the figures in them. Every cell is made safe for a terminal:
 * what a receiver wrote into its reply cannot move the cursor. One thread. */
#ifndef POSTRIDER_TOOLS_TABLE_H
#define POSTRIDER_TOOLS_TABLE_H

#include "engine/base/buf.h"

#include <stdio.h>

#define TABLE_COLUMNS_MAX 16

/* A table in the making; its rows are held until table_print. */
struct table {
    const char *const
        *heads; /* "-TEXT" is aligned left, "TEXT" right; the last column left is never padded */
    unsigned columns, widths[TABLE_COLUMNS_MAX], column;
    size_t rows;
    struct buf cells; /* each with a final NUL */
};

void table_init(struct table *table, unsigned columns, const char *const heads[]);
/* Adds the next cell of the row under way. */
void table_text(struct table *table, const char *text);
void table_number(struct table *table, long long number);
void table_printf(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Prints the heads and the rows, then empties it; widths are kept, so that a next page lines up. With no
 * rows, nothing. */
void table_print(struct table *table, FILE *out, bool with_heads);
void table_free(struct table *table);

/* "-" for an empty text. */
const char *or_dash(const char *text);
/* Safe for a terminal, onto out. */
void print_safe(FILE *out, const char *text);
/* "12.3M", "3d4h", "2024-05-06 07:08:09Z", "in 5m"; text is at least FIGURE_MAX. Return text. */
#define FIGURE_MAX 48
const char *figure_bytes(char text[FIGURE_MAX], long long bytes);
const char *figure_span(char text[FIGURE_MAX], long long seconds);
const char *figure_time(char text[FIGURE_MAX], const char *rfc3339);
/* How long until then, "now" where it is past, "" where there is no time. */
const char *figure_until(char text[FIGURE_MAX], const char *rfc3339);

#endif
