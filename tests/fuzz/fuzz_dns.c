/* fuzz_dns.c - a DNS message that anybody on the way may have sent: a bounded answer or a reason. */
#include "engine/dns/dns_parse.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum dns_type types[] = {DNS_TYPE_A, DNS_TYPE_MX, DNS_TYPE_AAAA};
    static struct dns_answer answer;
    struct str rest = fuzz_rest(data, size);
    enum dns_type type = types[fuzz_byte(&rest) % 3];
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
