/* dns_lookup.c - the questions of one entry, and what their answers mean.
 *
 *   MX entry:       MX question -> hosts, null MX, no domain, failed
 *                               -> no MX: asks the address entry of the same name -> implicit MX, or no mail
 *   address entry:  AAAA and A questions side by side -> addresses, no domain, none, failed
 *   records entry:  one question -> their data, no domain, none, failed
 *
 * An answer that only leads to another name (a CNAME) makes its question ask there. */
#include "engine/dns/dns_entry.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static void ask_clear(struct dns_ask *ask)
{
    free(ask->ips);
    free(ask->alias);
    *ask = (struct dns_ask){.ttl_s = INT32_MAX, .secure = true};
}

/* ---- answers ---- */

static int64_t expiry(const struct dns *dns, uint32_t ttl_s, uint32_t max_s)
{
    if (ttl_s < DNS_TTL_MIN_S)
        ttl_s = DNS_TTL_MIN_S;
    return dns->now.mono_ns + (int64_t)(ttl_s < max_s ? ttl_s : max_s) * NS_PER_S;
}

/* Takes mx over; NULL is out of memory. */
static void entry_conclude(struct dns_entry *entry, struct dns_mx *mx)
{
    if (mx == NULL)
        mx = dns_mx_ref(&dns_mx_no_memory);
    dns_mx_unref(entry->mx);
    entry->mx = mx;
    entry->answered = true;
    dns_entry_make_ready(entry);
}

static struct dns_mx *mx_make(enum dns_status status, unsigned hosts, int64_t expires_ns)
{
    struct dns_mx *mx = dns_mx_create(hosts);
    if (mx == NULL)
        return NULL;
    mx->status = status;
    mx->expires_ns = expires_ns;
    return mx;
}

__attribute__((format(printf, 3, 4))) static struct dns_mx *
mx_none(enum dns_status status, int64_t expires_ns, const char *format, ...)
{
    struct dns_mx *mx = mx_make(status, 0, expires_ns);
    if (mx == NULL)
        return NULL;
    va_list args;
    va_start(args, format);
    vsnprintf(mx->reason, sizeof mx->reason, format, args);
    va_end(args);
    return mx;
}

static struct dns_mx *mx_failed(const struct dns *dns, const char *reason)
{
    return mx_none(DNS_FAILED, expiry(dns, DNS_FAILED_TTL_S, DNS_FAILED_TTL_S), "%s", reason);
}

static struct dns_mx *mx_no_domain(const struct dns_entry *entry, const char *name, uint32_t ttl_s)
{
    int64_t expires = expiry(entry->dns, ttl_s, DNS_NEGATIVE_TTL_MAX_S);
    if (strcmp(name, dns_entry_name(entry)) == 0)
        return mx_none(DNS_NO_DOMAIN, expires, "no such domain");
    return mx_none(DNS_NO_DOMAIN, expires, "no such domain: an alias of %s, which does not exist", name);
}

static void on_via(struct dns_query *query, const struct dns_addresses *answer);

/* No MX: the domain itself is its mail host if it has an address, RFC 5321 5.1. */
static void ask_implicit(struct dns_entry *entry, struct dns_ask *ask)
{
    entry->none_until_ns = expiry(entry->dns, ask->ttl_s, DNS_NEGATIVE_TTL_MAX_S);
    entry->via.addresses = on_via;
    entry->asking++;
    dns_ask(entry->dns, &entry->via, KIND_ADDRESSES, str_of(ask->question.name));
}

static void on_via(struct dns_query *query, const struct dns_addresses *answer)
{
    struct dns_entry *entry = (struct dns_entry *)(void *)((char *)query - offsetof(struct dns_entry, via));
    int64_t expires = answer->expires_ns < entry->none_until_ns ? answer->expires_ns : entry->none_until_ns;
    struct dns_mx *mx;
    entry->asking--;
    if (answer->status == DNS_OK) {
        mx = mx_make(DNS_OK, 1, expires);
        if (mx != NULL) {
            const char *name = entry->asks[0].question.name;
            mx->implicit = true;
            mx->secure = entry->asks[0].secure && answer->secure;
            memcpy(mx->hosts[0].name, name, strlen(name) + 1);
        }
    } else if (answer->status == DNS_FAILED) {
        mx = mx_none(DNS_FAILED, answer->expires_ns, "%s", answer->reason);
    } else {
        mx = mx_none(DNS_NO_MAIL, expires, "the domain has no mail host: no MX, A or AAAA record");
    }
    entry_conclude(entry, mx);
}

static void conclude_mx(struct dns_entry *entry, struct dns_ask *ask, const struct dns_answer *answer)
{
    struct dns_mx *mx;
    int64_t expires = expiry(entry->dns, ask->ttl_s, DNS_TTL_MAX_S);
    switch (answer->kind) {
    case DNS_ANSWER_RECORDS:
        mx = mx_make(DNS_OK, answer->count, expires);
        if (mx != NULL) {
            memcpy(mx->hosts, answer->hosts, answer->count * sizeof mx->hosts[0]);
            mx->secure = ask->secure;
        }
        break;
    case DNS_ANSWER_NULL_MX:
        mx = mx_none(DNS_NULL_MX, expires, "the domain accepts no mail (null MX, RFC 7505)");
        break;
    case DNS_ANSWER_NO_DOMAIN:
        mx = mx_no_domain(entry, answer->name, ask->ttl_s);
        break;
    case DNS_ANSWER_NO_DATA:
        ask_implicit(entry, ask);
        return;
    default:
        mx = mx_failed(entry->dns, answer->reason);
        break;
    }
    entry_conclude(entry, mx);
}

/* One of AAAA and A has come. entry->mx meanwhile keeps what a failure was. */
static void take_addresses(struct dns_entry *entry, struct dns_ask *ask, const struct dns_answer *answer)
{
    if (answer->kind == DNS_ANSWER_FAILED) {
        dns_mx_unref(entry->mx);
        entry->mx = mx_failed(entry->dns, answer->reason);
        return;
    }
    if (answer->kind != DNS_ANSWER_RECORDS)
        return;
    ask->ips = malloc(answer->count * sizeof *ask->ips);
    if (ask->ips == NULL) {
        ask->result = DNS_ANSWER_FAILED;
        return;
    }
    ask->ip_count = answer->count;
    memcpy(ask->ips, answer->ips, answer->count * sizeof *ask->ips);
}

static void conclude_addresses(struct dns_entry *entry)
{
    const struct dns *dns = entry->dns;
    uint32_t some_ttl_s = INT32_MAX, none_ttl_s = INT32_MAX;
    unsigned failed = 0, no_domain = 0, found = 0, asked = dns->ipv6 ? 2 : 1;
    bool secure = true;
    for (struct dns_ask *ask = entry->asks + 2 - asked; ask < entry->asks + 2; ask++) {
        uint32_t *ttl = ask->ip_count > 0 ? &some_ttl_s : &none_ttl_s;
        if (ask->ttl_s < *ttl)
            *ttl = ask->ttl_s;
        failed += ask->result == DNS_ANSWER_FAILED;
        no_domain += ask->result == DNS_ANSWER_NO_DOMAIN;
        found += ask->ip_count;
        secure &= ask->ip_count == 0 || ask->secure;
    }
    if (found > 0) {
        struct dns_mx *mx =
            mx_make(DNS_OK, 0, expiry(dns, some_ttl_s, failed ? DNS_HALF_TTL_MAX_S : DNS_TTL_MAX_S));
        if (mx != NULL)
            mx->secure = secure;
        entry_conclude(entry, mx);
    } else if (failed > 0) {
        entry_conclude(entry, entry->mx != NULL ? dns_mx_ref(entry->mx) : NULL);
    } else if (no_domain == asked) {
        entry_conclude(entry, mx_no_domain(entry, entry->asks[1].question.name, none_ttl_s));
    } else {
        entry_conclude(entry, mx_none(DNS_NO_MAIL, expiry(dns, none_ttl_s, DNS_NEGATIVE_TTL_MAX_S),
                                      "the host has no A or AAAA record"));
    }
}

/* Keeps what the records hold, and no more room than that takes. */
static struct dns_mx *keep_data(struct dns_entry *entry, const struct dns_ask *ask,
                                const struct dns_data *data)
{
    size_t size = offsetof(struct dns_data, bytes) + data->used;
    struct dns_mx *mx = mx_make(DNS_OK, 0, expiry(entry->dns, ask->ttl_s, DNS_TTL_MAX_S));
    entry->data = malloc(size);
    if (mx == NULL || entry->data == NULL) {
        dns_mx_unref(mx);
        return NULL;
    }
    memcpy(entry->data, data, size);
    mx->secure = ask->secure;
    return mx;
}

static void conclude_records(struct dns_entry *entry, struct dns_ask *ask, const struct dns_answer *answer)
{
    switch (answer->kind) {
    case DNS_ANSWER_RECORDS:
        entry_conclude(entry, keep_data(entry, ask, &answer->data));
        break;
    case DNS_ANSWER_NO_DOMAIN:
        entry_conclude(entry, mx_no_domain(entry, answer->name, ask->ttl_s));
        break;
    case DNS_ANSWER_NO_DATA:
        entry_conclude(entry, mx_none(DNS_NO_MAIL, expiry(entry->dns, ask->ttl_s, DNS_NEGATIVE_TTL_MAX_S),
                                      "there is no record of this type"));
        break;
    default:
        entry_conclude(entry, mx_failed(entry->dns, answer->reason));
        break;
    }
}

/* ---- questions ---- */

static void question_enqueue(struct dns *dns, struct dns_question *question)
{
    question->next = NULL;
    *dns->queue_tail = question;
    dns->queue_tail = &question->next;
}

struct dns_question *dns_lookup_next(struct dns *dns)
{
    struct dns_question *question = dns->queue;
    dns->queue = question->next;
    if (dns->queue == NULL)
        dns->queue_tail = &dns->queue;
    dns->under_way++;
    return question;
}

/* Notes where a chain of CNAMEs has led. */
static bool ask_move(struct dns_ask *ask, const char *name)
{
    if (strcmp(name, ask->question.name) == 0)
        return true;
    char *alias = str_dup(str_of(name));
    if (alias == NULL)
        return false;
    free(ask->alias);
    ask->alias = alias;
    ask->question.name = alias;
    return true;
}

static void on_answer(struct dns_question *question, const struct dns_answer *answer)
{
    struct dns_ask *ask = (struct dns_ask *)(void *)question;
    struct dns_entry *entry = ask->entry;
    struct dns *dns = entry->dns;
    bool failed = answer->kind == DNS_ANSWER_FAILED;
    ask->secure &= answer->secure;
    if (!failed && answer->ttl_s < ask->ttl_s)
        ask->ttl_s = answer->ttl_s;
    if (!failed && !ask_move(ask, answer->name)) {
        dns_lookup_fail(question, dns_mx_no_memory.reason);
        return;
    }
    if (answer->kind == DNS_ANSWER_ALIAS && ++ask->aliases > DNS_ALIASES_MAX) {
        dns_lookup_fail(question, "too many CNAME records in a row, or a loop of them");
        return;
    }
    dns->under_way--;
    if (answer->kind == DNS_ANSWER_ALIAS) {
        question_enqueue(dns, question);
        return;
    }
    ask->result = answer->kind;
    entry->asking--;
    if (dns_entry_kind(entry) == KIND_MX) {
        conclude_mx(entry, ask, answer);
        return;
    }
    if (dns_kind_is_records(dns_entry_kind(entry))) {
        conclude_records(entry, ask, answer);
        return;
    }
    take_addresses(entry, ask, answer);
    if (entry->asking == 0)
        conclude_addresses(entry);
}

void dns_lookup_fail(struct dns_question *question, const char *reason)
{
    struct dns_answer answer;
    dns_answer_fail(&answer, "%s", reason);
    on_answer(question, &answer);
}

static void ask_start(struct dns_entry *entry, struct dns_ask *ask, enum dns_type type)
{
    ask->entry = entry;
    ask->question = (struct dns_question){.name = dns_entry_name(entry), .type = type, .answered = on_answer};
    entry->asking++;
    question_enqueue(entry->dns, &ask->question);
}

void dns_lookup_clear(struct dns_entry *entry)
{
    entry->answered = false;
    dns_mx_unref(entry->mx);
    entry->mx = NULL;
    free(entry->data);
    entry->data = NULL;
    ask_clear(&entry->asks[0]);
    ask_clear(&entry->asks[1]);
}

void dns_lookup_start(struct dns_entry *entry)
{
    dns_lookup_clear(entry);
    if (!dns_name_valid(str_of(dns_entry_name(entry)))) {
        entry_conclude(entry, mx_none(DNS_NO_DOMAIN, expiry(entry->dns, DNS_TTL_MAX_S, DNS_TTL_MAX_S),
                                      "not a valid domain name"));
        return;
    }
    if (dns_entry_kind(entry) == KIND_MX) {
        ask_start(entry, &entry->asks[0], DNS_TYPE_MX);
        return;
    }
    if (dns_kind_is_records(dns_entry_kind(entry))) {
        ask_start(entry, &entry->asks[0], dns_entry_kind(entry) == KIND_TXT ? DNS_TYPE_TXT : DNS_TYPE_TLSA);
        return;
    }
    if (entry->dns->ipv6)
        ask_start(entry, &entry->asks[0], DNS_TYPE_AAAA);
    ask_start(entry, &entry->asks[1], DNS_TYPE_A);
}
