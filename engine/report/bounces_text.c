/* bounces_text.c - see bounces_text.h. */
#include "engine/report/bounces_text.h"

#include "engine/base/utf8.h"

#define PLACES_SHOWN 50

/* Controls, also those beyond ASCII (U+0080 to U+009F), become question marks. */
static void add_safe(struct buf *out, const char *text)
{
    for (size_t n; *text; text += n) {
        n = utf8_length(text, strlen(text));
        bool control = (unsigned char)text[0] < ' ' || text[0] == 0x7f || n == 0 ||
                       (n == 2 && (unsigned char)text[0] == 0xc2 && (unsigned char)text[1] < 0xa0);
        n += n == 0;
        if (control)
            buf_add_char(out, text[0] == '\n' || text[0] == '\t' ? ' ' : '?');
        else
            buf_add(out, text, n);
    }
}

/* A cell, to the left or the right of a column; what is behind the last one is not padded. */
static void add_left(struct buf *out, const char *text, size_t width)
{
    size_t before = out->len;
    add_safe(out, text);
    for (size_t n = out->len - before; n < width; n++)
        buf_add_char(out, ' ');
}

struct column {
    const char *head, *key;
};

/* Rows of a name, a count and, where `third` is given, a text. */
static void add_rows(struct buf *out, const json_t *rows, size_t max, struct column name, const char *count,
                     struct column third)
{
    const json_t *row;
    size_t i, width = strlen(name.head);
    int number_width = 5; /* COUNT */
    if (json_array_size(rows) == 0)
        return;
    json_array_foreach(rows, i, row)
    {
        size_t n = strlen(js_get_text(row, name.key));
        char number[24];
        int digits = snprintf(number, sizeof number, "%lld", js_get_int(row, count));
        width = i < max && n > width ? n : width;
        number_width = digits > number_width ? digits : number_width;
    }
    buf_add_char(out, '\n');
    add_left(out, name.head, width);
    buf_printf(out, "  %*s%s%s\n", number_width, "COUNT", third.head ? "  " : "",
               third.head ? third.head : "");
    json_array_foreach(rows, i, row)
    {
        const char *text = js_get_text(row, name.key);
        if (i == max)
            break;
        add_left(out, text[0] ? text : "-", width);
        buf_printf(out, "  %*lld", number_width, js_get_int(row, count));
        if (third.key != NULL && js_get_text(row, third.key)[0]) {
            buf_add_z(out, "  ");
            add_safe(out, js_get_text(row, third.key));
        }
        buf_add_char(out, '\n');
    }
}

static void add_places(struct buf *out, const json_t *report, const char *list, struct column name,
                       const char *others)
{
    const json_t *rows = json_object_get(report, list), *row;
    long long rest = js_get_int(report, others);
    size_t i;
    add_rows(out, rows, PLACES_SHOWN, name, "failed", (struct column){0});
    json_array_foreach(rows, i, row) rest += i >= PLACES_SHOWN ? js_get_int(row, "failed") : 0;
    if (rest > 0)
        buf_printf(out, "and %lld at other %s\n", rest, list);
}

static void add_examples(struct buf *out, const json_t *statuses)
{
    const json_t *status, *example;
    size_t i, j;
    if (json_array_size(statuses) > 0)
        buf_add_z(out, "\nWhat receivers said:\n");
    json_array_foreach(statuses, i, status)
    {
        json_array_foreach(json_object_get(status, "examples"), j, example)
        {
            const char *number = js_get_text(status, "status");
            buf_printf(out, "  %s ", number[0] ? number : "-");
            add_safe(out, js_get_text(example, "to"));
            buf_add_z(out, ": ");
            if (js_get_int(example, "code") > 0)
                buf_printf(out, "%lld ", js_get_int(example, "code"));
            add_safe(out, js_get_text(example, "reply"));
            buf_add_char(out, '\n');
        }
    }
}

static void add_summary(struct buf *out, const json_t *report)
{
    if (json_object_get(report, "job") != NULL) {
        buf_printf(out, "job %s: ", js_get_text(report, "job"));
    } else {
        buf_add_z(out, "tenant ");
        add_safe(out, js_get_text(report, "tenant"));
        if (js_get_text(report, "since")[0])
            buf_printf(out, " since %s", js_get_text(report, "since"));
        buf_printf(out, ", %lld jobs: ", js_get_int(report, "jobs"));
    }
    buf_printf(out, "%lld of %lld failed (%lld bounced, %lld expired), %lld delivered, %lld queued\n",
               js_get_int(report, "failed"), js_get_int(report, "total"), js_get_int(report, "bounced"),
               js_get_int(report, "expired"), js_get_int(report, "delivered"), js_get_int(report, "queued"));
}

void bounces_text(const json_t *report, struct buf *out)
{
    const json_t *statuses = json_object_get(report, "statuses");
    struct column none = {0};
    add_summary(out, report);
    add_rows(out, json_object_get(report, "categories"), SIZE_MAX, (struct column){"CATEGORY", "category"},
             "count", none);
    add_rows(out, json_object_get(report, "classes"), SIZE_MAX, (struct column){"CLASS", "class"}, "count",
             (struct column){"SUBJECT", "subject"});
    add_rows(out, statuses, SIZE_MAX, (struct column){"STATUS", "status"}, "count",
             (struct column){"MEANING", "phrase"});
    add_places(out, report, "sites", (struct column){"SITE", "site"}, "other_sites");
    add_places(out, report, "domains", (struct column){"DOMAIN", "domain"}, "other_domains");
    add_examples(out, statuses);
}
