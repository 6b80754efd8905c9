/* sts.c - see sts.h. */
#include "engine/tls/sts.h"

#include <stdio.h>

static const char *const mode_names[] = {"none", "testing", "enforce"};

const char *sts_mode_name(enum sts_mode mode)
{
    return mode_names[mode];
}

/* ---- the record ---- */

/* The next field up to the ';', without blanks around it. False: at the end. */
static bool next_field(struct str *rest, struct str *field)
{
    if (rest->n == 0)
        return false;
    size_t end = str_find(*rest, ';', 0);
    size_t n = end == SIZE_MAX ? rest->n : end;
    *field = str_trim(str_make(rest->p, n));
    size_t used = n < rest->n ? n + 1 : n;
    *rest = str_make(rest->p + used, rest->n - used);
    return true;
}

/* "name = value", blanks around '=' or ':' left out. */
static bool split(struct str field, char at, struct str *name, struct str *value)
{
    size_t middle = str_find(field, at, 0);
    if (middle == SIZE_MAX)
        return false;
    *name = str_trim(str_make(field.p, middle));
    *value = str_trim(str_make(field.p + middle + 1, field.n - middle - 1));
    return true;
}

static bool is_id(struct str text)
{
    if (text.n == 0 || text.n > STS_ID_MAX)
        return false;
    for (size_t i = 0; i < text.n; i++) {
        char c = ascii_lower(text.p[i]);
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z')))
            return false;
    }
    return true;
}

bool sts_record_parse(struct str text, char id[STS_ID_MAX + 1])
{
    struct str field, name, value;
    bool found = false;
    if (!next_field(&text, &field) || !split(field, '=', &name, &value) || !str_eq(name, STR("v")) ||
        !str_eq(value, STR("STSv1")))
        return false;
    while (next_field(&text, &field)) {
        if (!split(field, '=', &name, &value) || !str_eq(name, STR("id")))
            continue; /* an extension */
        if (found || !is_id(value))
            return false;
        memcpy(id, value.p, value.n);
        id[value.n] = '\0';
        found = true;
    }
    return found;
}

/* ---- the policy ---- */

/* A host name, where one that begins with "*." stands for one label more. */
static bool is_pattern(struct str text)
{
    size_t label = 0;
    if (text.n > 2 && text.p[0] == '*' && text.p[1] == '.')
        text = str_make(text.p + 2, text.n - 2);
    for (size_t i = 0; i < text.n; i++) {
        char c = ascii_lower(text.p[i]);
        bool ordinary = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
        if (c == '.' ? label == 0 : !ordinary || label == 63)
            return false;
        label = c == '.' ? 0 : label + 1;
    }
    return label > 0 && text.n <= DOMAIN_MAX;
}

static bool add_mx(struct sts_policy *policy, struct str text, struct err *err)
{
    if (text.n > 0 && text.p[text.n - 1] == '.')
        text.n--;
    if (!is_pattern(text) || text.n > DOMAIN_MAX)
        return err_set(err, 0, "the policy's mx \"%.*s\" is no host name", (int)(text.n < 100 ? text.n : 100),
                       text.p);
    if (policy->mx_count == STS_MX_MAX)
        return err_set(err, 0, "the policy names more than %d hosts", STS_MX_MAX);
    char *to = policy->mx[policy->mx_count++];
    str_lower(text, to);
    to[text.n] = '\0';
    return true;
}

static bool set_mode(struct sts_policy *policy, struct str text, struct err *err)
{
    for (unsigned i = 0; i < sizeof mode_names / sizeof *mode_names; i++)
        if (str_eq(text, str_of(mode_names[i]))) {
            policy->mode = (enum sts_mode)i;
            return true;
        }
    return err_set(err, 0, "the policy's mode is not none, testing or enforce");
}

/* What each may say once. */
enum { SEEN_VERSION = 1, SEEN_MODE = 2, SEEN_MAX_AGE = 4, SEEN_ALL = 7 };

/* One line. Of a key that may stand once the first counts (RFC 8461 3.2); unknown ones are passed over. */
static bool take_line(struct sts_policy *policy, struct str name, struct str value, unsigned *seen,
                      struct err *err)
{
    uint64_t age;
    if (str_eq(name, STR("mx")))
        return add_mx(policy, value, err);
    if (str_eq(name, STR("version")) && !(*seen & SEEN_VERSION)) {
        *seen |= SEEN_VERSION;
        return str_eq(value, STR("STSv1")) || err_set(err, 0, "the policy's version is not STSv1");
    }
    if (str_eq(name, STR("mode")) && !(*seen & SEEN_MODE)) {
        *seen |= SEEN_MODE;
        return set_mode(policy, value, err);
    }
    if (str_eq(name, STR("max_age")) && !(*seen & SEEN_MAX_AGE)) {
        *seen |= SEEN_MAX_AGE;
        if (value.n > 10 || !str_u64(value, UINT32_MAX, &age))
            return err_set(err, 0, "the policy's max_age is no number of seconds");
        policy->max_age_s = age < STS_MAX_AGE_S ? (uint32_t)age : STS_MAX_AGE_S;
    }
    return true;
}

bool sts_policy_parse(struct str body, struct sts_policy *policy, struct err *err)
{
    unsigned seen = 0;
    policy->mode = STS_NONE;
    policy->max_age_s = 0;
    policy->mx_count = 0;
    while (body.n > 0) {
        size_t end = str_find(body, '\n', 0);
        size_t n = end == SIZE_MAX ? body.n : end;
        struct str line = str_trim(str_make(body.p, n)), name, value;
        size_t used = n < body.n ? n + 1 : n;
        body = str_make(body.p + used, body.n - used);
        if (line.n == 0)
            continue;
        if (!split(line, ':', &name, &value))
            return err_set(err, 0, "a line of the policy has no ':'");
        if (!take_line(policy, name, value, &seen, err))
            return false;
    }
    if ((seen & SEEN_ALL) != SEEN_ALL)
        return err_set(err, 0, "the policy has no %s",
                       !(seen & SEEN_VERSION) ? "version"
                       : !(seen & SEEN_MODE)  ? "mode"
                                              : "max_age");
    if (policy->mode != STS_NONE && policy->mx_count == 0)
        return err_set(err, 0, "the policy names no mx");
    return true;
}

size_t sts_policy_format(const struct sts_policy *policy, char *text, size_t room)
{
    int n = snprintf(text, room, "version: STSv1\r\nmode: %s\r\nmax_age: %u\r\n", mode_names[policy->mode],
                     policy->max_age_s);
    size_t used = n < 0 ? room : (size_t)n;
    for (unsigned i = 0; i < policy->mx_count && used < room; i++) {
        n = snprintf(text + used, room - used, "mx: %s\r\n", policy->mx[i]);
        used += n < 0 ? room : (size_t)n;
    }
    return used < room ? used : 0;
}

/* ---- a host ---- */

static bool pattern_matches(struct str pattern, struct str host)
{
    if (pattern.n > 2 && pattern.p[0] == '*') { /* one label in its place, and no more */
        size_t dot = str_find(host, '.', 0);
        if (dot == SIZE_MAX || dot == 0)
            return false;
        host = str_make(host.p + dot, host.n - dot);
        pattern = str_make(pattern.p + 1, pattern.n - 1);
    }
    return str_eq_nocase(pattern, host);
}

bool sts_allows(const struct sts_policy *policy, struct str host)
{
    if (host.n > 0 && host.p[host.n - 1] == '.')
        host.n--;
    for (unsigned i = 0; i < policy->mx_count; i++)
        if (pattern_matches(str_of(policy->mx[i]), host))
            return true;
    return false;
}

enum sts_verdict sts_verdict(const struct sts_policy *policy, struct str host)
{
    if (policy == NULL || policy->mode == STS_NONE)
        return STS_ABSENT;
    return sts_allows(policy, host) ? STS_REQUIRED : STS_REFUSED;
}

const char *sts_verdict_name(enum sts_verdict verdict)
{
    static const char *const names[] = {"absent", "refused", "required"};
    return names[verdict];
}
