/* check_dkim.c - see check_dkim.h.
 *
 * The C library's resolver asks, a question at a time: the engine's own would need a ring and a loop for what
 * is asked once by hand. Of the configured servers it can be told those with an IPv4 address. */
#include "tools/check_dkim.h"

#include "engine/dkim/dkim.h"
#include "engine/message/encode.h"
#include "tools/cli.h"

#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <netdb.h>
#include <resolv.h>
#include <stdlib.h>

#define ANSWER_MAX 65535
#define TEXT_MAX   (64 * 1024)

static void use_servers(struct __res_state *state, const struct config_dns *dns)
{
    int count = 0;
    for (size_t i = 0; i < dns->servers.count && count < MAXNS; i++) {
        char host[64];
        const char *text = dns->servers.list[i], *colon = strchr(text, ':');
        struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(53)};
        size_t n = colon ? (size_t)(colon - text) : strlen(text);
        uint64_t port = 53;
        if (n >= sizeof host || (colon != NULL && !str_u64(str_of(colon + 1), 65535, &port)))
            continue;
        memcpy(host, text, n);
        host[n] = '\0';
        address.sin_port = htons((uint16_t)port);
        if (inet_pton(AF_INET, host, &address.sin_addr) == 1)
            state->nsaddr_list[count++] = address;
    }
    if (count > 0)
        state->nscount = count;
}

/* The strings of the first TXT record that is a DKIM key, joined. False: there is none; *why says it. */
static bool ask(struct __res_state *state, const char *name, struct buf *text, const char **why)
{
    static unsigned char answer[ANSWER_MAX];
    ns_msg message;
    ns_rr record;
    int n = res_nquery(state, name, ns_c_in, ns_t_txt, answer, sizeof answer);
    *why = n >= 0 || state->res_h_errno == HOST_NOT_FOUND || state->res_h_errno == NO_DATA
               ? "there is no such TXT record"
               : "no answer from DNS";
    if (n < 0 || ns_initparse(answer, n, &message) != 0)
        return false;
    for (int i = 0; i < ns_msg_count(message, ns_s_an); i++) {
        if (ns_parserr(&message, ns_s_an, i, &record) != 0 || ns_rr_type(record) != ns_t_txt)
            continue;
        const unsigned char *p = ns_rr_rdata(record), *end = p + ns_rr_rdlen(record);
        buf_clear(text);
        for (; p < end && p + 1 + *p <= end; p += 1 + *p)
            buf_add(text, p + 1, *p);
        if (memmem(text->data ? text->data : "", text->len, "p=", 2) != NULL)
            return true;
    }
    return false;
}

/* The value of p=, white space taken out of it. */
static bool public_of(struct str record, struct buf *out)
{
    for (size_t at = 0; at < record.n;) {
        size_t semicolon = str_find(record, ';', at);
        size_t end = semicolon == SIZE_MAX ? record.n : semicolon;
        struct str tag = str_trim(str_make(record.p + at, end - at));
        if (str_starts(tag, STR("p="))) {
            for (size_t i = 2; i < tag.n; i++)
                if (strchr(" \t\r\n", tag.p[i]) == NULL)
                    buf_add_char(out, tag.p[i]);
            return true;
        }
        at = end + 1;
    }
    return false;
}

/* What should stand in DNS. */
static bool expected_of(const struct dkim_identity *identity, struct buf *out)
{
    struct buf bytes;
    buf_init(&bytes, TEXT_MAX);
    char *room = NULL;
    bool ok = dkim_key_public(identity->key, &bytes) && (room = buf_room(out, 2 * bytes.len + 8)) != NULL;
    if (ok)
        out->len += (size_t)(base64_encode(room, buf_str(&bytes)) - room);
    buf_free(&bytes);
    return ok;
}

/* True: what is published is the key. */
static bool check_one(struct __res_state *state, const struct dkim_identity *identity)
{
    char name[2 * DOMAIN_MAX + 32];
    const char *why = "";
    struct buf text, found, want;
    buf_init(&text, TEXT_MAX);
    buf_init(&found, TEXT_MAX);
    buf_init(&want, TEXT_MAX);
    bool rsa = strcmp(dkim_key_algorithm(identity->key), "rsa-sha256") == 0, good = false;
    snprintf(name, sizeof name, "%s._domainkey.%s", identity->selector, identity->domain);
    if (!expected_of(identity, &want))
        printf("%s: no memory\n", name);
    else if (ask(state, name, &text, &why) && public_of(buf_str(&text), &found))
        good = str_eq(buf_str(&found), buf_str(&want));
    if (good)
        printf("%s: is the key of %s\n", name, identity->path);
    else if (want.len > 0)
        printf("%s: %s; publish: v=DKIM1; k=%s; p=%.*s\n", name,
               found.len > 0  ? "another key is published"
               : text.len > 0 ? "the key is revoked (an empty p=)"
                              : why,
               rsa ? "rsa" : "ed25519", STR_ARG(buf_str(&want)));
    buf_free(&text);
    buf_free(&found);
    buf_free(&want);
    return good;
}

static int check_published(const struct dkim *dkim, const struct config *config)
{
    struct __res_state state = {0};
    size_t count = 0, wrong = 0;
    if (res_ninit(&state) != 0)
        return cli_fail("cannot set up the resolver");
    state.retrans = (int)((config->dns.timeout_ms + 999) / 1000);
    state.retry = 1;
    use_servers(&state, &config->dns);
    const struct dkim_identity *identity;
    for (; (identity = dkim_identity(dkim, count)) != NULL; count++)
        wrong += !check_one(&state, identity);
    res_nclose(&state);
    return wrong == 0 ? 0 : cli_fail("%zu of %zu DKIM keys are not published as they are", wrong, count);
}

int check_dkim(const struct config *config, bool dns)
{
    struct err err;
    struct dkim *dkim = dkim_create(config, &err);
    if (dkim == NULL)
        return cli_fail("%s", err.text);
    int code = dns ? check_published(dkim, config) : 0;
    dkim_destroy(dkim);
    return code;
}
