/* condition.c - see condition.h. */
#include "engine/rules/condition.h"

/* ---- codes ---- */

/* "421" or "4xx" as the range it stands for. */
static bool code_range(struct str text, unsigned *low, unsigned *high)
{
    uint64_t number;
    if (text.n == 3 && text.p[0] >= '2' && text.p[0] <= '5' && ascii_lower(text.p[1]) == 'x' &&
        ascii_lower(text.p[2]) == 'x') {
        *low = (unsigned)(text.p[0] - '0') * 100;
        *high = *low + 99;
        return true;
    }
    if (text.n != 3 || !str_u64(text, 599, &number) || number < 200)
        return false;
    *low = *high = (unsigned)number;
    return true;
}

bool rule_code_add(struct rule_codes *codes, struct str text)
{
    unsigned low = 0, high = 0, above;
    text = str_trim(text);
    if (codes->count == RULE_CODES_MAX)
        return false;
    size_t dash = str_find(text, '-', 0);
    if (dash != SIZE_MAX) {
        if (!code_range(str_make(text.p, dash), &low, &above) ||
            !code_range(str_make(text.p + dash + 1, text.n - dash - 1), &above, &high) || low > high)
            return false;
    } else if (!str_eq(text, STR("closed")) && !code_range(text, &low, &high)) {
        return false;
    }
    codes->list[codes->count].low = (uint16_t)low;
    codes->list[codes->count++].high = (uint16_t)high;
    return true;
}

bool rule_codes_match(const struct rule_codes *codes, unsigned code)
{
    for (unsigned i = 0; i < codes->count; i++)
        if (code >= codes->list[i].low && code <= codes->list[i].high)
            return true;
    return codes->count == 0 && code != 0;
}

void rule_codes_format(const struct rule_codes *codes, struct buf *out)
{
    for (unsigned i = 0; i < codes->count; i++) {
        unsigned low = codes->list[i].low, high = codes->list[i].high;
        buf_add_z(out, i ? ", " : "");
        if (low == 0)
            buf_add_z(out, "closed");
        else if (low == high)
            buf_printf(out, "%u", low);
        else if (low % 100 == 0 && high == low + 99)
            buf_printf(out, "%uxx", low / 100);
        else
            buf_printf(out, "%u-%u", low, high);
    }
}

/* ---- statuses ---- */

/* A part up to the next dot: a number, or any for '*' and 'x'. */
static bool take_part(struct str *text, unsigned max, int *part)
{
    size_t dot = str_find(*text, '.', 0);
    struct str word = str_make(text->p, dot == SIZE_MAX ? text->n : dot);
    uint64_t number;
    *text = str_make(text->p + word.n + (dot != SIZE_MAX), text->n - word.n - (dot != SIZE_MAX));
    *part = -1;
    if (str_eq(word, STR("*")) || str_eq_nocase(word, STR("x")))
        return true;
    if (!str_u64(word, max, &number))
        return false;
    *part = (int)number;
    return true;
}

static bool take_details(struct str text, struct rule_status *status)
{
    size_t dash = str_find(text, '-', 0);
    struct str low = str_make(text.p, dash == SIZE_MAX ? text.n : dash);
    struct str high = dash == SIZE_MAX ? low : str_make(text.p + dash + 1, text.n - dash - 1);
    if (!take_part(&low, 999, &status->low) || low.n > 0 || !take_part(&high, 999, &status->high) ||
        high.n > 0)
        return false;
    bool any = status->low < 0 && status->high < 0;
    return any || (status->low >= 0 && status->low <= status->high);
}

bool rule_status_add(struct rule_statuses *statuses, struct str text)
{
    struct rule_status status = {.class_ = 0, .subject = -1, .low = -1, .high = -1};
    text = str_trim(text);
    if (statuses->count == RULE_STATUSES_MAX)
        return false;
    if (!str_eq(text, STR("none"))) {
        bool whole = text.n > 0 && text.p[text.n - 1] != '.';
        if (!whole || !take_part(&text, 5, &status.class_) ||
            (status.class_ >= 0 && status.class_ != 4 && status.class_ != 5))
            return false;
        if (text.n > 0 && !take_part(&text, 999, &status.subject))
            return false;
        if (text.n > 0 && !take_details(text, &status))
            return false;
    }
    statuses->list[statuses->count++] = status;
    return true;
}

static bool part_matches(int part, unsigned value)
{
    return part < 0 || (unsigned)part == value;
}

static bool status_is(const struct rule_status *pattern, struct status status)
{
    if (pattern->class_ == 0 || status.class_ == 0)
        return pattern->class_ == 0 && status.class_ == 0;
    return part_matches(pattern->class_, status.class_) && part_matches(pattern->subject, status.subject) &&
           (pattern->low < 0 || (status.detail >= pattern->low && status.detail <= pattern->high));
}

bool rule_statuses_match(const struct rule_statuses *statuses, struct status status)
{
    for (unsigned i = 0; i < statuses->count; i++)
        if (status_is(&statuses->list[i], status))
            return true;
    return statuses->count == 0;
}

static void format_part(struct buf *out, const char *before, int part)
{
    if (part < 0)
        buf_printf(out, "%sx", before);
    else
        buf_printf(out, "%s%d", before, part);
}

void rule_statuses_format(const struct rule_statuses *statuses, struct buf *out)
{
    for (unsigned i = 0; i < statuses->count; i++) {
        const struct rule_status *status = &statuses->list[i];
        buf_add_z(out, i ? ", " : "");
        if (status->class_ == 0) {
            buf_add_z(out, "none");
            continue;
        }
        format_part(out, "", status->class_);
        format_part(out, ".", status->subject);
        format_part(out, ".", status->low);
        if (status->high > status->low)
            buf_printf(out, "-%d", status->high);
    }
}

/* ---- steps ---- */

static const struct {
    unsigned step;
    const char *name;
} steps[] = {
    {RULE_AT_GREETING, "greeting"},
    {RULE_AT_MAIL, "mail"},
    {RULE_AT_RCPT, "rcpt"},
    {RULE_AT_DATA, "data"},
};

unsigned rule_step_of(struct str word)
{
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        if (str_eq(word, str_of(steps[i].name)))
            return steps[i].step;
    return 0;
}

const char *rule_step_name(unsigned step)
{
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        if (steps[i].step == step)
            return steps[i].name;
    return "other";
}
