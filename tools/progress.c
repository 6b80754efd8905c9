/* progress.c - see progress.h. */
#include "tools/progress.h"

#include "engine/base/clock.h"
#include "tools/table.h"

#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define DRAW_EVERY_NS (NS_PER_S / 10)
#define BAR_MAX       40

void progress_start(struct progress *progress, const char *label, bool bytes)
{
    *progress = (struct progress){isatty(STDERR_FILENO) == 1, label, bytes, clock_now().mono_ns, 0};
}

static unsigned terminal_columns(void)
{
    struct winsize size = {0};
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

static const char *amount(const struct progress *progress, char text[FIGURE_MAX], double value)
{
    if (progress->bytes)
        return figure_bytes(text, (long long)value);
    snprintf(text, FIGURE_MAX, "%.0f", value);
    return text;
}

static void draw_bar(char *bar, unsigned width, double part)
{
    unsigned full = (unsigned)(part * width);
    for (unsigned i = 0; i < width; i++)
        bar[i] = i < full ? '=' : i == full ? '>' : ' ';
    bar[width] = '\0';
}

void progress_draw(struct progress *progress, long long done, long long total, double rate, const char *note)
{
    int64_t now_ns = clock_now().mono_ns;
    if (!progress->shown || (progress->drawn_ns && now_ns - progress->drawn_ns < DRAW_EVERY_NS))
        return;
    progress->drawn_ns = now_ns;
    double seconds = (double)(now_ns - progress->started_ns) / (double)NS_PER_S;
    if (rate < 0)
        rate = seconds > 0.2 ? (double)done / seconds : 0;
    char figures[256], a[FIGURE_MAX], b[FIGURE_MAX], c[FIGURE_MAX], d[FIGURE_MAX], bar[BAR_MAX + 1];
    unsigned columns = terminal_columns();
    if (total <= 0) {
        snprintf(figures, sizeof figures, "%s %s  %s/s%s", progress->label, amount(progress, a, (double)done),
                 amount(progress, c, rate), note);
        fprintf(stderr, "\r\033[K%.*s", (int)columns - 1, figures);
        return;
    }
    double part = done < total ? (double)done / (double)total : 1;
    bool known = rate > 0 && done < total;
    snprintf(figures, sizeof figures, "%s of %s  %s/s%s%s%s", amount(progress, a, (double)done),
             amount(progress, b, (double)total), amount(progress, c, rate), known ? "  ETA " : "",
             known ? figure_span(d, (long long)((double)(total - done) / rate + 0.5)) : "", note);
    size_t fixed = strlen(progress->label) + strlen(figures) + 12;
    unsigned width = columns > fixed ? columns - (unsigned)fixed : 0;
    draw_bar(bar, width < BAR_MAX ? width : BAR_MAX, part);
    fprintf(stderr, "\r\033[K%s %3d%% [%s] %s", progress->label, (int)(part * 100), bar, figures);
}

void progress_end(struct progress *progress)
{
    if (progress->shown && progress->drawn_ns)
        fputs("\r\033[K", stderr);
    progress->shown = false;
}
