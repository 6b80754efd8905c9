/* fuzz_dns.c - a DNS message that anybody on the way may have sent: a bounded answer or a reason. */
#include "engine/dns/dns_parse.h"
#include "engine/tls/dane.h"
#include "tests/fuzz/fuzz.h"

/* Each within the bytes there are; TLSA records make a set whose verdict is not "absent" while one is
 * whole. */
static void check_data(const struct dns_data *data, enum dns_type type)
{
    struct tlsa_set *set = tlsa_set_create();
    bool any = false;
    static char text[TLSA_TEXT_MAX];
    CLAIM(data->count > 0 && data->count <= DNS_RECORDS_MAX && data->used <= DNS_RECORDS_BYTES);
    for (unsigned i = 0; i < data->count; i++) {
        CLAIM((size_t)data->list[i].at + data->list[i].size <= data->used);
        if (type == DNS_TYPE_TLSA)
            any |= tlsa_set_add(set, data->bytes + data->list[i].at, data->list[i].size);
    }
    for (unsigned i = 0; i < set->count; i++)
        CLAIM(tlsa_text(set, i, text) == strlen(text));
    CLAIM(set->count <= TLSA_RECORDS_MAX && (any || set->count == 0));
    CLAIM((dane_verdict(TLSA_FOUND, set) == DANE_ABSENT) == (set->count == 0));
    tlsa_set_unref(set);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum dns_type types[] = {DNS_TYPE_A, DNS_TYPE_MX, DNS_TYPE_AAAA, DNS_TYPE_TLSA,
                                          DNS_TYPE_TXT};
    static struct dns_answer answer;
    struct str rest = fuzz_rest(data, size);
    enum dns_type type = types[fuzz_byte(&rest) % 5];
    char *copy = fuzz_copy(rest);
    dns_parse((const uint8_t *)copy, rest.n, "example.com", type, &answer);
    switch (answer.kind) {
    case DNS_ANSWER_FAILED:
        CLAIM(answer.reason[0] != '\0' && strlen(answer.reason) < DNS_REASON_MAX);
        break;
    case DNS_ANSWER_RECORDS:
        CLAIM(answer.count > 0);
        CLAIM(answer.count <= MX_HOSTS_MAX || type != DNS_TYPE_MX);
        CLAIM(answer.count <= HOST_ADDRESSES_MAX || type == DNS_TYPE_MX);
        if (type == DNS_TYPE_TLSA || type == DNS_TYPE_TXT)
            check_data(&answer.data, type);
        for (unsigned i = 0; type == DNS_TYPE_MX && i < answer.count; i++) {
            CLAIM(strlen(answer.hosts[i].name) <= DOMAIN_MAX);
            CLAIM(i == 0 || answer.hosts[i - 1].preference <= answer.hosts[i].preference);
        }
        break;
    case DNS_ANSWER_ALIAS:
        CLAIM(dns_name_valid(str_of(answer.name)));
        break;
    default:
        break;
    }
    free(copy);
    return 0;
}
