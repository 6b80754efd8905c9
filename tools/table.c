/* table.c - see table.h. */
#include "tools/table.h"

#include "engine/base/clock.h"
#include "engine/base/units.h"

#include <stdlib.h>

#define TABLE_BYTES_MAX ((size_t)1024 * 1024 * 1024)

/* How many bytes at p stand for one character that may be shown; 0: a control character or no UTF-8. */
static size_t shown_length(const unsigned char *p)
{
    if (p[0] < 0x80)
        return p[0] >= 0x20 && p[0] != 0x7f;
    if (p[0] == 0xc2 && p[1] < 0xa0)
        return 0; /* C1 controls */
    size_t n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : p[0] >= 0xc2 ? 2 : 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return n;
}

/* Adds text made safe; returns its width in characters. */
static unsigned add_safe(struct buf *out, const char *text)
{
    unsigned width = 0;
    for (const unsigned char *p = (const unsigned char *)text; *p; width++) {
        size_t n = shown_length(p);
        if (n > 0)
            buf_add(out, p, n);
        else
            buf_add_char(out, *p == '\n' || *p == '\t' ? ' ' : '?');
        p += n ? n : p[0] == 0xc2 && p[1] >= 0x80 ? 2 : 1;
    }
    return width;
}

const char *or_dash(const char *text)
{
    return text[0] ? text : "-";
}

void print_safe(FILE *out, const char *text)
{
    struct buf safe;
    buf_init(&safe, TABLE_BYTES_MAX);
    add_safe(&safe, text);
    if (safe.len > 0)
        fwrite(safe.data, 1, safe.len, out);
    buf_free(&safe);
}

void table_init(struct table *table, unsigned columns, const char *const heads[])
{
    *table = (struct table){.heads = heads, .columns = columns};
    buf_init(&table->cells, TABLE_BYTES_MAX);
    for (unsigned i = 0; i < columns; i++)
        table->widths[i] = (unsigned)strlen(heads[i]) - (heads[i][0] == '-');
}

void table_text(struct table *table, const char *text)
{
    unsigned width = add_safe(&table->cells, text);
    buf_add_char(&table->cells, '\0');
    if (width > table->widths[table->column])
        table->widths[table->column] = width;
    if (++table->column == table->columns) {
        table->column = 0;
        table->rows++;
    }
}

void table_printf(struct table *table, const char *format, ...)
{
    struct buf text;
    va_list args;
    buf_init(&text, TABLE_BYTES_MAX);
    va_start(args, format);
    buf_vprintf(&text, format, args);
    va_end(args);
    buf_add_char(&text, '\0');
    table_text(table, text.failed ? "?" : text.data);
    buf_free(&text);
}

void table_number(struct table *table, long long number)
{
    table_printf(table, "%lld", number);
}

static unsigned width_of(const char *text)
{
    unsigned width = 0;
    for (; *text; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

static void add_spaces(struct buf *line, unsigned n)
{
    while (n-- > 0)
        buf_add_char(line, ' ');
}

static void add_cell(const struct table *table, struct buf *line, unsigned column, const char *text)
{
    bool left = table->heads[column][0] == '-';
    unsigned pad = table->widths[column] - width_of(text);
    add_spaces(line, (column ? 2 : 0) + (left ? 0 : pad));
    buf_add_z(line, text);
    add_spaces(line, left ? pad : 0);
}

/* Without spaces at its end. */
static void print_line(struct buf *line, FILE *out)
{
    while (line->len > 0 && line->data[line->len - 1] == ' ')
        line->len--;
    if (line->len > 0)
        fwrite(line->data, 1, line->len, out);
    fputc('\n', out);
    buf_clear(line);
}

void table_print(struct table *table, FILE *out, bool with_heads)
{
    const char *text = table->cells.data;
    struct buf line;
    buf_init(&line, TABLE_BYTES_MAX);
    if (table->cells.failed)
        fprintf(stderr, "postrider: the table does not fit into memory; use --json\n");
    else if (table->rows > 0) {
        for (unsigned i = 0; with_heads && i < table->columns; i++)
            add_cell(table, &line, i, table->heads[i] + (table->heads[i][0] == '-'));
        if (with_heads)
            print_line(&line, out);
        for (size_t row = 0; row < table->rows; row++) {
            for (unsigned i = 0; i < table->columns; i++, text += strlen(text) + 1)
                add_cell(table, &line, i, text);
            print_line(&line, out);
        }
    }
    buf_free(&line);
    buf_clear(&table->cells);
    table->rows = 0;
}

void table_free(struct table *table)
{
    buf_free(&table->cells);
}

/* ---- figures ---- */

const char *figure_bytes(char text[FIGURE_MAX], long long bytes)
{
    double value = (double)bytes;
    unsigned power = 0;
    for (; value >= 1024 && power < 5; power++)
        value /= 1024;
    if (power == 0)
        snprintf(text, FIGURE_MAX, "%lld", bytes);
    else
        snprintf(text, FIGURE_MAX, value < 10 ? "%.1f%c" : "%.0f%c", value, "kMGTP"[power - 1]);
    return text;
}

const char *figure_span(char text[FIGURE_MAX], long long seconds)
{
    if (seconds < 0)
        seconds = 0;
    /* Two units say enough. */
    if (seconds >= 86400)
        seconds -= seconds % 3600;
    else if (seconds >= 3600)
        seconds -= seconds % 60;
    if (seconds == 0)
        snprintf(text, FIGURE_MAX, "0s");
    else
        duration_format(seconds * 1000, text);
    return text;
}

const char *figure_time(char text[FIGURE_MAX], const char *rfc3339)
{
    int64_t wall_ms;
    if (!time_parse(str_of(rfc3339), &wall_ms)) {
        snprintf(text, FIGURE_MAX, "-");
        return text;
    }
    time_format(wall_ms, text);
    text[10] = ' ';
    memcpy(text + 19, "Z", 2);
    return text;
}

const char *figure_until(char text[FIGURE_MAX], const char *rfc3339)
{
    int64_t wall_ms;
    text[0] = '\0';
    if (!time_parse(str_of(rfc3339), &wall_ms))
        return text;
    int64_t left_ms = wall_ms - clock_now().wall_ms;
    if (left_ms < 1000)
        snprintf(text, FIGURE_MAX, "now");
    else
        figure_span(text, left_ms / 1000);
    return text;
}
