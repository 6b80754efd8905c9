/* status.c - see status.h. */
#include "queue/status.h"

#include <stdio.h>

size_t status_format(struct status status, char text[STATUS_TEXT_MAX])
{
    int n = snprintf(text, STATUS_TEXT_MAX, "%u.%u.%u", (unsigned)status.class_, (unsigned)status.subject,
                     (unsigned)status.detail);
    return n < 0 ? 0 : (size_t)n;
}

static bool is_digit(struct str text, size_t at)
{
    return at < text.n && text.p[at] >= '0' && text.p[at] <= '9';
}

/* One to three digits (RFC 3463 section 2) at *at, which moves behind them. */
static bool number_at(struct str text, size_t *at, uint16_t *out)
{
    unsigned value = 0, digits = 0;
    while (is_digit(text, *at) && digits < 4) {
        value = value * 10 + (unsigned)(text.p[*at] - '0');
        (*at)++;
        digits++;
    }
    *out = (uint16_t)value;
    return digits >= 1 && digits <= 3;
}

static bool dot_at(struct str text, size_t *at)
{
    if (*at >= text.n || text.p[*at] != '.')
        return false;
    (*at)++;
    return true;
}

bool status_parse(struct str text, struct status *status, size_t *used)
{
    uint16_t class_, subject, detail;
    size_t at = 0;
    *status = (struct status){0};
    *used = 0;
    if (!number_at(text, &at, &class_) || at != 1 || (class_ != 2 && class_ != 4 && class_ != 5) ||
        !dot_at(text, &at) || !number_at(text, &at, &subject) || !dot_at(text, &at) ||
        !number_at(text, &at, &detail))
        return false;
    if (at < text.n && text.p[at] == '.' && is_digit(text, at + 1))
        return false; /* an address such as 4.2.1.9 */
    *status = STATUS((uint8_t)class_, subject, detail);
    *used = at;
    return true;
}

/* A part of a pattern: a number or "*". */
static bool part_at(struct str text, size_t *at, int *part)
{
    uint16_t number;
    if (*at < text.n && text.p[*at] == '*') {
        (*at)++;
        *part = -1;
        return true;
    }
    if (!number_at(text, at, &number))
        return false;
    *part = number;
    return true;
}

bool status_pattern_parse(struct str text, struct status_pattern *pattern)
{
    int parts[3] = {-1, -1, -1};
    size_t at = 0;
    for (unsigned n = 0; n < 3; n++) {
        if (n > 0 && at == text.n)
            break; /* fewer parts match any of the rest */
        if ((n > 0 && !dot_at(text, &at)) || !part_at(text, &at, &parts[n]))
            return false;
    }
    if (at != text.n || (parts[0] != -1 && parts[0] != 2 && parts[0] != 4 && parts[0] != 5))
        return false;
    *pattern = (struct status_pattern){parts[0], parts[1], parts[2]};
    return true;
}

bool status_matches(struct status_pattern pattern, struct status status)
{
    return (pattern.class_ < 0 || pattern.class_ == status.class_) &&
           (pattern.subject < 0 || pattern.subject == status.subject) &&
           (pattern.detail < 0 || pattern.detail == status.detail);
}
