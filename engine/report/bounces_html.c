/* bounces_html.c - see bounces_html.h. Colours are told apart by lightness too, and each bar has its number
 * beside it. */
#include "engine/report/bounces_html.h"

#include "engine/report/category.h"

#include <stdio.h>

#define BARS_MAX    15  /* in a chart; the table has the rest */
#define PLACES_MAX  100 /* in a table */
#define LABEL_MAX   28  /* characters of a label in a chart */
#define CHART_WIDTH 720
#define BAR_HEIGHT  22
#define BAR_LEFT    230
#define BAR_SPAN    (CHART_WIDTH - BAR_LEFT - 150) /* the number and share stand behind it */

static const char style[] =
    "body{font:15px/1.45 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#1b1f24;"
    "background:#fff}h1{font-size:1.5em;margin:0}h2{font-size:1.1em;margin:2em 0 .5em}p.of{color:#57606a;"
    "margin:.2em 0 1.5em}table{border-collapse:collapse;width:100%}th,td{text-align:left;padding:.25em .6em "
    ".25em 0;border-bottom:1px solid "
    "#d8dee4;vertical-align:top}th{font-weight:600}td.n,th.n{text-align:right;"
    "font-variant-numeric:tabular-nums}td.said{font-family:ui-monospace,monospace;font-size:.85em;"
    "overflow-wrap:anywhere}svg{max-width:100%;height:auto}svg text{font:13px system-ui,sans-serif;"
    "fill:#1b1f24}.good{fill:#2da44e}.bad{fill:#cf222e}.late{fill:#9a6700}.wait{fill:#8c959f}.bar{fill:#"
    "0969da}"
    "@media(prefers-color-scheme:dark){body{color:#e6edf3;background:#0d1117}svg text{fill:#e6edf3}"
    "th,td{border-color:#30363d}p.of{color:#8d96a0}}";

/* ---- text ---- */

/* Up to `max` characters; what is cut off shows as an ellipsis. jansson's strings are valid UTF-8. */
static void add_cut(struct buf *out, const char *text, size_t max)
{
    for (size_t n = 0; *text; text++) {
        if (((unsigned char)*text & 0xc0) != 0x80 && n++ == max) {
            buf_add_z(out, "\xe2\x80\xa6");
            return;
        }
        switch (*text) {
        case '&':
            buf_add_z(out, "&amp;");
            break;
        case '<':
            buf_add_z(out, "&lt;");
            break;
        case '>':
            buf_add_z(out, "&gt;");
            break;
        case '"':
            buf_add_z(out, "&quot;");
            break;
        case '\'':
            buf_add_z(out, "&#39;");
            break;
        default:
            buf_add_char(out, (unsigned char)*text < ' ' || *text == 0x7f ? ' ' : *text);
        }
    }
}

static void add_text(struct buf *out, const char *text)
{
    add_cut(out, text, SIZE_MAX);
}

static void add_cell(struct buf *out, const char *text)
{
    buf_add_z(out, "<td><bdi>");
    add_text(out, text[0] ? text : "-");
    buf_add_z(out, "</bdi></td>");
}

static void add_count(struct buf *out, long long count)
{
    buf_printf(out, "<td class=n>%lld</td>", count);
}

/* ---- charts ---- */

static double share(long long part, long long whole)
{
    return whole > 0 ? (double)part / (double)whole : 0;
}

/* What became of all of them, as one bar with a legend. */
static void add_outcome(struct buf *out, const json_t *report)
{
    const struct {
        const char *name, *class_;
        long long count;
    } parts[] = {
        {"delivered", "good", js_get_int(report, "delivered")},
        {"bounced", "bad", js_get_int(report, "bounced")},
        {"expired", "late", js_get_int(report, "expired")},
        {"queued", "wait", js_get_int(report, "queued")},
    };
    long long whole = 0;
    double at = 0;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        whole += parts[i].count;
    buf_printf(out, "<svg viewBox=\"0 0 %d 64\" role=img aria-label=\"outcome\">", CHART_WIDTH);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        double width = share(parts[i].count, whole) * CHART_WIDTH;
        if (parts[i].count > 0)
            buf_printf(out, "<rect class=%s x=\"%.2f\" y=\"0\" width=\"%.2f\" height=\"28\"/>",
                       parts[i].class_, at, width);
        at += width;
        buf_printf(out,
                   "<rect class=%s x=\"%zu\" y=\"44\" width=\"12\" height=\"12\"/>"
                   "<text x=\"%zu\" y=\"55\">%s %lld (%.1f%%)</text>",
                   parts[i].class_, i * 180, i * 180 + 18, parts[i].name, parts[i].count,
                   share(parts[i].count, whole) * 100);
    }
    buf_add_z(out, "</svg>\n");
}

/* The first rows of a list as bars. `second` is put behind the label, or NULL. */
static void add_bars(struct buf *out, const char *title, const json_t *rows, const char *key,
                     const char *second, const char *count)
{
    size_t bars = json_array_size(rows) < BARS_MAX ? json_array_size(rows) : BARS_MAX, i;
    const json_t *row;
    long long most = 1, whole = 0;
    if (bars == 0)
        return;
    json_array_foreach(rows, i, row)
    {
        long long n = js_get_int(row, count);
        most = n > most ? n : most;
        whole += n;
    }
    buf_printf(out, "<h2>%s</h2>\n<svg viewBox=\"0 0 %d %zu\" role=img aria-label=\"%s\">", title,
               CHART_WIDTH, bars * BAR_HEIGHT, title);
    for (i = 0; i < bars; i++) {
        char label[256];
        row = json_array_get(rows, i);
        const char *name = js_get_text(row, key), *more = second ? js_get_text(row, second) : "";
        snprintf(label, sizeof label, "%s%s%s", name[0] ? name : "-", more[0] ? " " : "", more);
        buf_printf(out, "<text x=\"%d\" y=\"%zu\" text-anchor=end>", BAR_LEFT - 8, i * BAR_HEIGHT + 15);
        add_cut(out, label, LABEL_MAX);
        buf_printf(out,
                   "</text><rect class=bar x=\"%d\" y=\"%zu\" width=\"%.2f\" height=\"%d\"/>"
                   "<text x=\"%.2f\" y=\"%zu\">%lld (%.1f%%)</text>",
                   BAR_LEFT, i * BAR_HEIGHT + 3, share(js_get_int(row, count), most) * BAR_SPAN,
                   BAR_HEIGHT - 6, BAR_LEFT + share(js_get_int(row, count), most) * BAR_SPAN + 8,
                   i * BAR_HEIGHT + 15, js_get_int(row, count), share(js_get_int(row, count), whole) * 100);
    }
    buf_add_z(out, "</svg>\n");
}

/* ---- tables ---- */

static void add_said(struct buf *out, const json_t *examples)
{
    const json_t *example;
    size_t i;
    buf_add_z(out, "<td class=said>");
    json_array_foreach(examples, i, example)
    {
        buf_printf(out, "%s<bdi>", i > 0 ? "<br>" : "");
        add_text(out, js_get_text(example, "to"));
        buf_add_z(out, ": ");
        if (js_get_int(example, "code") > 0)
            buf_printf(out, "%lld ", js_get_int(example, "code"));
        add_text(out, js_get_text(example, "reply"));
        buf_add_z(out, "</bdi>");
    }
    buf_add_z(out, "</td>");
}

static const char *advice_of(const char *name)
{
    for (int i = 0; i < BOUNCE_CATEGORIES; i++) {
        if (strcmp(name, bounce_category_name((enum bounce_category)i)) == 0)
            return bounce_category_advice((enum bounce_category)i);
    }
    return "";
}

static void add_categories(struct buf *out, const json_t *rows)
{
    const json_t *row;
    size_t i;
    buf_add_z(out, "<table><tr><th>Category<th class=n>Count<th>What it means<th>Examples</tr>\n");
    json_array_foreach(rows, i, row)
    {
        buf_add_z(out, "<tr>");
        add_cell(out, js_get_text(row, "category"));
        add_count(out, js_get_int(row, "count"));
        add_cell(out, advice_of(js_get_text(row, "category")));
        add_said(out, json_object_get(row, "examples"));
        buf_add_z(out, "</tr>\n");
    }
    buf_add_z(out, "</table>\n");
}

static void add_statuses(struct buf *out, const json_t *rows)
{
    const json_t *row;
    size_t i;
    buf_add_z(out, "<table><tr><th>Status<th class=n>Count<th>Registered meaning<th>Examples</tr>\n");
    json_array_foreach(rows, i, row)
    {
        buf_add_z(out, "<tr>");
        add_cell(out, js_get_text(row, "status"));
        add_count(out, js_get_int(row, "count"));
        add_cell(out, js_get_text(row, "phrase"));
        add_said(out, json_object_get(row, "examples"));
        buf_add_z(out, "</tr>\n");
    }
    buf_add_z(out, "</table>\n");
}

static void add_places(struct buf *out, const char *head, const json_t *rows, const char *key,
                       long long others)
{
    const json_t *row;
    size_t i;
    buf_printf(out, "<table><tr><th>%s<th class=n>Failed<th class=n>Bounced<th class=n>Expired</tr>\n", head);
    json_array_foreach(rows, i, row)
    {
        if (i >= PLACES_MAX) {
            others += js_get_int(row, "failed");
            continue;
        }
        buf_add_z(out, "<tr>");
        add_cell(out, js_get_text(row, key));
        add_count(out, js_get_int(row, "failed"));
        add_count(out, js_get_int(row, "bounced"));
        add_count(out, js_get_int(row, "expired"));
        buf_add_z(out, "</tr>\n");
    }
    if (others > 0)
        buf_printf(out, "<tr><td>all others<td class=n>%lld<td><td></tr>\n", others);
    buf_add_z(out, "</table>\n");
}

/* ---- the page ---- */

static void add_head(struct buf *out, const json_t *report)
{
    const char *job = js_get_text(report, "job"), *campaign = js_get_text(report, "campaign");
    buf_printf(
        out,
        "<!DOCTYPE html>\n<html lang=en><head><meta charset=utf-8><meta name=viewport "
        "content=\"width=device-width\"><meta http-equiv=Content-Security-Policy content=\"default-src "
        "'none'; style-src 'unsafe-inline'\"><title>Bounces of %s ",
        job[0] ? "job" : "tenant");
    add_text(out, job[0] ? job : js_get_text(report, "tenant"));
    buf_printf(out, "</title><style>%s</style></head>\n<body><h1>Bounces of %s <bdi>", style,
               job[0] ? "job" : "tenant");
    add_text(out, job[0] ? job : js_get_text(report, "tenant"));
    buf_add_z(out, "</bdi></h1>\n<p class=of>");
    if (job[0]) {
        buf_add_z(out, "Tenant <bdi>");
        add_text(out, js_get_text(report, "tenant"));
        buf_add_z(out, "</bdi>");
        if (campaign[0]) {
            buf_add_z(out, ", campaign <bdi>");
            add_text(out, campaign);
            buf_add_z(out, "</bdi>");
        }
    } else {
        buf_printf(out, "%lld jobs", js_get_int(report, "jobs"));
        if (js_get_text(report, "since")[0])
            buf_printf(out, ", failures since %s", js_get_text(report, "since"));
    }
    buf_printf(out, ". %lld of %lld recipients failed. As of %s.</p>\n", js_get_int(report, "failed"),
               js_get_int(report, "total"), js_get_text(report, "generated"));
}

void bounces_html(const json_t *report, struct buf *out)
{
    const json_t *categories = json_object_get(report, "categories"),
                 *statuses = json_object_get(report, "statuses"), *sites = json_object_get(report, "sites"),
                 *domains = json_object_get(report, "domains");
    add_head(out, report);
    add_outcome(out, report);
    if (js_get_int(report, "failed") > 0) {
        add_bars(out, "By category", categories, "category", NULL, "count");
        add_categories(out, categories);
        add_bars(out, "By class of status", json_object_get(report, "classes"), "class", "subject", "count");
        add_bars(out, "By status", statuses, "status", "phrase", "count");
        add_statuses(out, statuses);
        add_bars(out, "By receiver", sites, "site", NULL, "failed");
        add_places(out, "Receiver", sites, "site", js_get_int(report, "other_sites"));
        add_bars(out, "By domain", domains, "domain", NULL, "failed");
        add_places(out, "Domain", domains, "domain", js_get_int(report, "other_domains"));
    }
    buf_add_z(out, "</body></html>\n");
}
