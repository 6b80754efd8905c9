/* feedback.c - see feedback.h. */
#include "engine/intake/feedback.h"

static void put_part(struct buf *out, struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        bool plain = s.p[i] > ' ' && s.p[i] < 0x7f && strchr(":{}%", s.p[i]) == NULL;
        buf_add_char(out, plain ? s.p[i] : '_');
    }
}

bool feedback_expand(struct str pattern, const struct job_spec *job, struct buf *out)
{
    const struct {
        struct str name, value;
    } parts[] = {
        {STR("{{tenant}}"), job->tenant},
        {STR("{{campaign}}"), job->campaign},
        {STR("{{class}}"), job->class_ == CLASS_TRANSACTIONAL ? STR("transactional") : STR("bulk")},
    };
    for (size_t i = 0; i < pattern.n;) {
        struct str rest = str_make(pattern.p + i, pattern.n - i);
        size_t k = 0;
        while (k < sizeof parts / sizeof parts[0] && !str_starts(rest, parts[k].name))
            k++;
        if (k < sizeof parts / sizeof parts[0]) {
            put_part(out, parts[k].value);
            i += parts[k].name.n;
        } else {
            buf_add_char(out, pattern.p[i++]);
        }
    }
    return !out->failed;
}
