/* fuzz_sts.c - what a domain publishes for MTA-STS, records and policy, and for reports about TLS: bounded,
 * and what was read reads the same again. */
#include "engine/tls/sts.h"
#include "engine/tlsrpt/report.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct sts_policy policy, again;
    static char text[STS_MX_MAX * (DOMAIN_MAX + 8) + 128];
    char *copy = fuzz_copy(str_make((const char *)data, size)), id[STS_ID_MAX + 1];
    struct err err;
    struct str all = str_make(copy, size);
    static struct rpt_targets targets;
    if (rpt_record_parse(all, &targets))
        CLAIM(targets.count > 0 && targets.count <= RPT_TARGETS_MAX && strlen(targets.uri[0]) <= URL_MAX);
    if (sts_record_parse(all, id))
        CLAIM(id[0] != '\0' && strlen(id) <= STS_ID_MAX);
    if (sts_policy_parse(all, &policy, &err)) {
        CLAIM(policy.mode == STS_NONE || policy.mx_count > 0);
        CLAIM(policy.mx_count <= STS_MX_MAX && policy.max_age_s <= STS_MAX_AGE_S);
        for (unsigned i = 0; i < policy.mx_count; i++)
            CLAIM(policy.mx[i][0] == '*' || sts_allows(&policy, str_of(policy.mx[i])));
        size_t n = sts_policy_format(&policy, text, sizeof text);
        CLAIM(n > 0 && sts_policy_parse(str_make(text, n), &again, &err));
        CLAIM(again.mode == policy.mode && again.max_age_s == policy.max_age_s &&
              again.mx_count == policy.mx_count);
        sts_allows(&policy, all);
    }
    free(copy);
    return 0;
}
