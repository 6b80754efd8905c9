/* top.c - the whole and the busiest sites, again and again. */
#include "engine/base/clock.h"
#include "engine/base/units.h"
#include "tools/commands.h"
#include "tools/http.h"
#include "tools/table.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define EVERY_MS     2000
#define EVERY_MAX_MS (3600 * MS_PER_S)
#define SITES_SHOWN  20 /* where the terminal does not say how many fit */
#define HEAD_LINES   7  /* what is not sites */

struct top {
    int64_t every_ms, seen_ns; /* seen: when the totals below were read; 0: not yet */
    uint64_t count;            /* looks; 0: until interrupted */
    long long delivered, bounced;
    bool terminal;
};

static size_t sites_shown(const struct top *top)
{
    struct winsize size;
    if (top->terminal && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > HEAD_LINES + 1)
        return size.ws_row - HEAD_LINES - 1u;
    return SITES_SHOWN;
}

static int busiest_first(const void *a, const void *b)
{
    static const char *const by[] = {"rate_1m", "in_flight", "connections", "buffered"};
    const json_t *x = *(json_t *const *)a, *y = *(json_t *const *)b;
    for (size_t i = 0; i < sizeof by / sizeof *by; i++)
        if (member_number(x, by[i]) != member_number(y, by[i]))
            return member_number(x, by[i]) < member_number(y, by[i]) ? 1 : -1;
    return strcmp(member_text(x, "site"), member_text(y, "site"));
}

static void print_totals(struct top *top, const json_t *status)
{
    long long delivered = member_number(status, "delivered"), bounced = member_number(status, "bounced");
    int64_t now_ns = clock_now().mono_ns;
    char text[FIGURE_MAX];
    double seconds = (double)(now_ns - top->seen_ns) / NS_PER_S;
    printf("postriderd %s, up %s, ", member_text(status, "version"),
           figure_span(text, member_number(status, "uptime_s")));
    printf("memory %s, ", figure_bytes(text, member_number(status, "memory_bytes")));
    printf("disk free %s\n", figure_bytes(text, member_number(status, "disk_free")));
    printf("queued %lld: %lld ready, %lld in flight, %lld deferred, %lld held\n",
           member_number(status, "queued"), member_number(status, "ready"),
           member_number(status, "in_flight"), member_number(status, "deferred"),
           member_number(status, "held"));
    printf("delivered %lld, bounced %lld, expired %lld\n", delivered, bounced,
           member_number(status, "expired"));
    if (top->seen_ns != 0 && seconds > 0)
        printf("now %.0f/s delivered, %.1f/s bounced; ", (double)(delivered - top->delivered) / seconds,
               (double)(bounced - top->bounced) / seconds);
    printf("%.0f/s over the last minute; %lld sessions, %lld sites\n\n",
           json_number_value(json_object_get(status, "rate_1m")), member_number(status, "sessions"),
           member_number(status, "sites"));
    *top = (struct top){top->every_ms, now_ns, top->count, delivered, bounced, top->terminal};
}

static void print_busiest(const struct top *top, const json_t *sites)
{
    static const char *const heads[] = {"-SITE",     "CONNS",    "FLYING", "BUFFERED",   "LAST MINUTE",
                                        "DELIVERED", "DEFERRED", "FAILED", "-BLOCKED BY"};
    static const char *const figures[] = {"connections", "in_flight", "buffered", "rate_1m",
                                          "delivered",   "deferred",  "failed"};
    size_t count = json_array_size(sites), shown = sites_shown(top);
    json_t **sorted = calloc(count + 1, sizeof *sorted);
    struct table table;
    table_init(&table, 9, heads);
    for (size_t i = 0; sorted != NULL && i < count; i++)
        sorted[i] = json_array_get(sites, i);
    if (sorted != NULL)
        qsort(sorted, count, sizeof *sorted, busiest_first);
    for (size_t i = 0; sorted != NULL && i < count && i < shown; i++) {
        char text[FIGURE_MAX];
        const char *until = member_text(sorted[i], "blocked_until");
        table_text(&table, member_text(sorted[i], "site"));
        for (size_t f = 0; f < sizeof figures / sizeof *figures; f++)
            table_number(&table, member_number(sorted[i], figures[f]));
        table_printf(&table, "%s %s", member_text(sorted[i], "blocked_by"), figure_until(text, until));
    }
    table_print(&table, stdout, true);
    table_free(&table);
    free(sorted);
}

static bool look(const struct cli *cli, struct top *top)
{
    json_t *status = http_json(cli, NULL, "/v1/status");
    json_t *sites = status != NULL ? http_json(cli, NULL, "/v1/sites") : NULL;
    if (sites != NULL) {
        if (top->terminal)
            fputs("\033[H\033[2J", stdout);
        print_totals(top, status);
        print_busiest(top, json_object_get(sites, "sites"));
        if (!top->terminal)
            putchar('\n');
    }
    bool good = sites != NULL && fflush(stdout) == 0;
    json_decref(status);
    json_decref(sites);
    return good;
}

static const struct cli_option top_options[] = {
    {"every", "DURATION", "between looks (default: 2s)"},
    {"count", "N", "so many looks (default: until interrupted)"},
};

static int run_top(struct cli *cli)
{
    const char *every = cli_value(cli, "every"), *count = cli_value(cli, "count");
    struct top top = {.every_ms = EVERY_MS, .terminal = isatty(STDOUT_FILENO) == 1};
    if (every != NULL &&
        (!duration_parse(str_of(every), &top.every_ms) || top.every_ms <= 0 || top.every_ms > EVERY_MAX_MS))
        return cli_usage("top: --every takes a duration up to 1h, such as 5s, not '%s'", every);
    if (count != NULL && (!str_u64(str_of(count), UINT32_MAX, &top.count) || top.count == 0))
        return cli_usage("top: --count takes a number, not '%s'", count);
    for (uint64_t looks = 0; look(cli, &top);) {
        if (++looks == top.count)
            return 0;
        struct timespec wait = {top.every_ms / MS_PER_S, top.every_ms % MS_PER_S * NS_PER_MS};
        nanosleep(&wait, NULL);
    }
    return 1;
}

const struct command command_top = {
    .name = "top",
    .args = "",
    .help = "The whole and the busiest sites, live.",
    .run = run_top,
    OPTIONS(top_options),
};
