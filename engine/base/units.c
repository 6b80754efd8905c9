/* units.c - see units.h. */
#include "engine/base/units.h"

#include <limits.h>
#include <stdio.h>
#include <time.h>

struct unit {
    const char *name;
    int64_t ms;
};

static const struct unit duration_units[] = {
    {"w", 604800000}, {"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1},
};
#define DURATION_UNITS (sizeof duration_units / sizeof *duration_units)

static const struct unit rate_units[] = {
    {"s", 1000},       {"sec", 1000},  {"second", 1000},  {"m", 60000},    {"min", 60000},
    {"minute", 60000}, {"h", 3600000}, {"hour", 3600000}, {"d", 86400000}, {"day", 86400000},
};
#define RATE_UNITS (sizeof rate_units / sizeof *rate_units)

/* The digits at the start of text as a number up to max; false when there is none or it is more. */
static bool take_number(struct str *text, uint64_t max, uint64_t *number)
{
    size_t n = 0;
    while (n < text->n && text->p[n] >= '0' && text->p[n] <= '9')
        n++;
    if (!str_u64(str_make(text->p, n), max, number))
        return false;
    *text = str_make(text->p + n, text->n - n);
    return true;
}

/* The letters at the start of text. */
static struct str take_letters(struct str *text)
{
    size_t n = 0;
    while (n < text->n && ascii_lower(text->p[n]) >= 'a' && ascii_lower(text->p[n]) <= 'z')
        n++;
    struct str letters = str_make(text->p, n);
    *text = str_make(text->p + n, text->n - n);
    return letters;
}

bool duration_parse(struct str text, int64_t *ms)
{
    text = str_trim(text);
    if (str_eq(text, STR("0"))) {
        *ms = 0;
        return true;
    }
    int64_t sum = 0;
    size_t next = 0; /* units must come in falling order */
    if (text.n == 0)
        return false;
    while (text.n > 0) {
        uint64_t number;
        if (!take_number(&text, INT64_MAX, &number))
            return false;
        struct str name = take_letters(&text);
        while (next < DURATION_UNITS && !str_eq(name, str_of(duration_units[next].name)))
            next++;
        int64_t part;
        if (next == DURATION_UNITS ||
            __builtin_mul_overflow((int64_t)number, duration_units[next++].ms, &part) ||
            __builtin_add_overflow(sum, part, &sum))
            return false;
    }
    *ms = sum;
    return true;
}

size_t duration_format(int64_t ms, char text[UNITS_TEXT_MAX])
{
    if (ms <= 0)
        return (size_t)snprintf(text, UNITS_TEXT_MAX, "0");
    size_t n = 0;
    /* From days on: 7d is how people write a week. */
    for (size_t i = 1; i < DURATION_UNITS; i++) {
        int64_t count = ms / duration_units[i].ms;
        if (count == 0)
            continue;
        n += (size_t)snprintf(text + n, UNITS_TEXT_MAX - n, "%lld%s", (long long)count,
                              duration_units[i].name);
        ms -= count * duration_units[i].ms;
    }
    return n;
}

static const char size_letters[] = "kmgtpe";

bool size_parse(struct str text, uint64_t *bytes)
{
    text = str_trim(text);
    uint64_t number;
    if (!take_number(&text, UINT64_MAX, &number))
        return false;
    unsigned shift = 0;
    const char *letter =
        text.n ? memchr(size_letters, ascii_lower(text.p[0]), sizeof size_letters - 1) : NULL;
    if (letter != NULL) {
        shift = 10 * (unsigned)(letter - size_letters + 1);
        text = str_make(text.p + 1, text.n - 1);
        if (str_eq_nocase(text, STR("iB")))
            text.n = 0;
    }
    if (str_eq_nocase(text, STR("B")))
        text.n = 0;
    if (text.n > 0 || (shift > 0 && number > UINT64_MAX >> shift))
        return false;
    *bytes = number << shift;
    return true;
}

size_t size_format(uint64_t bytes, char text[UNITS_TEXT_MAX])
{
    static const char shown[] = "\0kMGTPE";
    unsigned power = 0;
    while (bytes != 0 && bytes % 1024 == 0 && power + 1 < sizeof shown - 1) {
        bytes /= 1024;
        power++;
    }
    int n = snprintf(text, UNITS_TEXT_MAX, "%llu", (unsigned long long)bytes);
    if (power > 0) {
        text[n++] = shown[power];
        text[n] = '\0';
    }
    return (size_t)n;
}

bool rate_parse(struct str text, struct rate *rate)
{
    text = str_trim(text);
    if (str_eq(text, STR("0")) || str_eq_nocase(text, STR("none"))) {
        *rate = (struct rate){0, 0};
        return true;
    }
    uint64_t count;
    if (!take_number(&text, UINT32_MAX, &count))
        return false;
    text = str_trim(text);
    if (count == 0 || text.n < 2 || text.p[0] != '/')
        return false;
    text = str_trim(str_make(text.p + 1, text.n - 1));
    int64_t per_ms = 0;
    for (size_t i = 0; i < RATE_UNITS; i++)
        if (str_eq_nocase(text, str_of(rate_units[i].name)))
            per_ms = rate_units[i].ms;
    if (per_ms == 0 && !duration_parse(text, &per_ms))
        return false;
    if (per_ms <= 0 || per_ms > UINT32_MAX)
        return false;
    *rate = (struct rate){(uint32_t)count, (uint32_t)per_ms};
    return true;
}

size_t rate_format(struct rate rate, char text[UNITS_TEXT_MAX])
{
    if (rate.count == 0)
        return (size_t)snprintf(text, UNITS_TEXT_MAX, "none");
    const char *name = rate.per_ms == 1000       ? "s"
                       : rate.per_ms == 60000    ? "min"
                       : rate.per_ms == 3600000  ? "h"
                       : rate.per_ms == 86400000 ? "d"
                                                 : NULL;
    char per[UNITS_TEXT_MAX];
    if (name == NULL)
        duration_format(rate.per_ms, per);
    return (size_t)snprintf(text, UNITS_TEXT_MAX, "%u/%.30s", rate.count, name ? name : per);
}

/* Days since 1970-01-01 of a date in the Gregorian calendar: years begin in March, so that the leap day is
 * last. */
static int64_t days_of_date(int64_t year, int64_t month, int64_t day)
{
    if (month <= 2)
        year--;
    int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719468;
}

static bool is_leap(int64_t year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static int64_t days_in_month(int64_t year, int64_t month)
{
    if (month == 2)
        return is_leap(year) ? 29 : 28;
    return month == 4 || month == 6 || month == 9 || month == 11 ? 30 : 31;
}

/* Exactly n digits, then the character `then` (0: none), as a number in [low, high]. */
static bool take_field(struct str *text, size_t n, char then, int64_t low, int64_t high, int64_t *out)
{
    size_t whole = n + (then ? 1 : 0);
    uint64_t number;
    if (text->n < whole || (then && text->p[n] != then) || !str_u64(str_make(text->p, n), INT64_MAX, &number))
        return false;
    *out = (int64_t)number;
    *text = str_make(text->p + whole, text->n - whole);
    return *out >= low && *out <= high;
}

/* An optional fraction of a second as milliseconds; further digits are cut off. */
static bool take_fraction(struct str *text, int64_t *ms)
{
    *ms = 0;
    if (text->n == 0 || text->p[0] != '.')
        return true;
    size_t n = 1;
    for (int64_t worth = 100; n < text->n && text->p[n] >= '0' && text->p[n] <= '9'; n++, worth /= 10)
        *ms += (text->p[n] - '0') * worth;
    *text = str_make(text->p + n, text->n - n);
    return n > 1;
}

/* Z or +hh:mm, as minutes. */
static bool take_zone(struct str text, int64_t *minutes)
{
    *minutes = 0;
    if (str_eq_nocase(text, STR("Z")))
        return true;
    if (text.n != 6 || (text.p[0] != '+' && text.p[0] != '-'))
        return false;
    int64_t sign = text.p[0] == '-' ? -1 : 1, hours, rest;
    text = str_make(text.p + 1, text.n - 1);
    if (!take_field(&text, 2, ':', 0, 23, &hours) || !take_field(&text, 2, 0, 0, 59, &rest))
        return false;
    *minutes = sign * (hours * 60 + rest);
    return true;
}

#define WALL_MAX_MS INT64_C(253402300799999) /* the end of 9999 */

static bool in_range(int64_t ms, int64_t *wall_ms)
{
    if (ms < 0 || ms > WALL_MAX_MS)
        return false;
    *wall_ms = ms;
    return true;
}

static bool parse_seconds(struct str text, int64_t *wall_ms)
{
    uint64_t seconds;
    int64_t ms;
    if (!take_number(&text, WALL_MAX_MS / 1000, &seconds) || !take_fraction(&text, &ms) || text.n > 0)
        return false;
    return in_range((int64_t)seconds * 1000 + ms, wall_ms);
}

bool time_parse(struct str text, int64_t *wall_ms)
{
    text = str_trim(text);
    if (text.n < 5 || text.p[4] != '-')
        return parse_seconds(text, wall_ms);
    int64_t year, month, day, hour, minute, second, ms, zone;
    if (!take_field(&text, 4, '-', 1970, 9999, &year) || !take_field(&text, 2, '-', 1, 12, &month) ||
        !take_field(&text, 2, 0, 1, days_in_month(year, month), &day))
        return false;
    if (text.n == 0 || (ascii_lower(text.p[0]) != 't' && text.p[0] != ' '))
        return false;
    text = str_make(text.p + 1, text.n - 1);
    if (!take_field(&text, 2, ':', 0, 23, &hour) || !take_field(&text, 2, ':', 0, 59, &minute) ||
        !take_field(&text, 2, 0, 0, 60, &second) || !take_fraction(&text, &ms) || !take_zone(text, &zone))
        return false;
    int64_t minutes = (days_of_date(year, month, day) * 24 + hour) * 60 + minute - zone;
    return in_range((minutes * 60 + second) * 1000 + ms, wall_ms);
}

size_t time_format(int64_t wall_ms, char text[UNITS_TEXT_MAX])
{
    if (wall_ms < 0)
        wall_ms = 0;
    if (wall_ms > WALL_MAX_MS)
        wall_ms = WALL_MAX_MS;
    int64_t seconds = wall_ms / 1000, days = seconds / 86400, rest = seconds % 86400;
    /* Back from days to a date: by eras of 400 years, again beginning in March. */
    int64_t z = days + 719468, era = z / 146097, day_of_era = z % 146097;
    int64_t year = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    int64_t shifted = (5 * day_of_year + 2) / 153;
    int64_t day = day_of_year - (153 * shifted + 2) / 5 + 1;
    int64_t month = shifted < 10 ? shifted + 3 : shifted - 9;
    year += era * 400 + (month <= 2 ? 1 : 0);
    return (size_t)snprintf(text, UNITS_TEXT_MAX, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", (int)year,
                            (int)month, (int)day, (int)(rest / 3600), (int)(rest / 60 % 60), (int)(rest % 60),
                            (int)(wall_ms % 1000));
}

size_t mail_date_format(int64_t wall_ms, char text[UNITS_TEXT_MAX])
{
    static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t seconds = (time_t)(wall_ms / 1000);
    struct tm tm;
    text[0] = '\0';
    if (gmtime_r(&seconds, &tm) == NULL)
        return 0;
    int n = snprintf(text, UNITS_TEXT_MAX, "%.3s, %d %.3s %d %02d:%02d:%02d +0000", days + 3 * tm.tm_wday,
                     tm.tm_mday, months + 3 * tm.tm_mon, 1900 + tm.tm_year, tm.tm_hour, tm.tm_min, tm.tm_sec);
    return n < 0 ? 0 : (size_t)n;
}
