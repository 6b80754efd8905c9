/* fuzz_address.c - addresses, domains, statuses and recipients' ids as text: what passes can stand in a
 * command, and what was written is read again. */
#include "engine/message/address.h"
#include "queue/rid.h"
#include "queue/status.h"
#include "tests/fuzz/fuzz.h"

static void address_check(struct str text)
{
    struct address address, again;
    struct err err = {0};
    char whole[ADDRESS_MAX + LOCAL_PART_MAX + 2];
    if (!address_parse(text, &address, &err)) {
        CLAIM(err.text[0] != '\0');
        return;
    }
    CLAIM(address.local.n > 0 && address.local.n <= LOCAL_PART_MAX && address.domain_n <= DOMAIN_MAX);
    CLAIM(strlen(address.domain) == address.domain_n && str_is_ascii(address_domain(&address)));
    for (size_t i = 0; i < text.n; i++)
        CLAIM((unsigned char)text.p[i] > ' ' && text.p[i] != 0x7f);
    CLAIM(address.utf8_local == !str_is_ascii(address.local));
    int n = snprintf(whole, sizeof whole, "%.*s@%s", STR_ARG(address.local), address.domain);
    CLAIM(address_parse(str_make(whole, (size_t)n), &again, &err));
    CLAIM(str_eq(address.local, again.local) && strcmp(address.domain, again.domain) == 0 && !again.idn);
}

static void status_check(struct str text)
{
    struct status status, again;
    struct status_pattern pattern;
    char written[STATUS_TEXT_MAX];
    size_t used = 0;
    if (status_parse(text, &status, &used)) {
        CLAIM(used <= text.n && status.class_ >= 2 && status.class_ <= 5);
        size_t n = status_format(status, written);
        CLAIM(status_parse(str_make(written, n), &again, &used) && used == n);
        CLAIM(status_number(status) == status_number(again));
        CLAIM(status_number(status_of_number(status_number(status))) == status_number(status));
    }
    if (status_pattern_parse(text, &pattern) && pattern.class_ >= 0 && pattern.subject >= 0 &&
        pattern.detail >= 0)
        CLAIM(status_matches(
            pattern, STATUS((uint8_t)pattern.class_, (uint16_t)pattern.subject, (uint16_t)pattern.detail)));
}

static void rid_check(struct str text)
{
    struct rid rid, again;
    char written[RID_TEXT_MAX];
    if (rid_parse(text, &rid))
        CLAIM(rid_parse(str_make(written, rid_format(rid, written)), &again) && rid_eq(rid, again));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy = fuzz_copy(fuzz_rest(data, size));
    struct str text = str_make(copy, size);
    char domain[DOMAIN_MAX + 1];
    size_t n;
    struct err err;
    address_check(text);
    status_check(text);
    rid_check(text);
    if (domain_to_ascii(text, domain, &n, &err))
        CLAIM(n <= DOMAIN_MAX && n == strlen(domain));
    free(copy);
    return 0;
}
