/* report.c - see report.h. */
#include "engine/tlsrpt/report.h"

#include "engine/base/clock.h"
#include "engine/base/js.h"
#include "engine/message/encode.h"
#include "engine/tls/sts.h"

#include <stdio.h>
#include <zlib.h>

#define GZIP_WINDOW (15 + 16) /* deflateInit2: the largest, in gzip's frame */

static const char *const policy_names[] = {"sts", "tlsa", "no-policy-found"};
static const char *const result_names[RPT_RESULTS] = {
    "",
    "starttls-not-supported",
    "certificate-host-mismatch",
    "certificate-not-trusted",
    "certificate-expired",
    "validation-failure",
    "tlsa-invalid",
    "dnssec-invalid",
    "sts-policy-fetch-error",
    "sts-policy-invalid",
    "sts-webpki-invalid",
};

/* ---- the text ---- */

/* Lines of a policy, and the patterns of hosts among them. */
static void add_policy_text(json_t *policy, const char *text)
{
    json_t *lines = json_array(), *hosts = json_array();
    for (struct str rest = str_of(text); rest.n > 0;) {
        size_t end = str_find(rest, '\n', 0), n = end == SIZE_MAX ? rest.n : end;
        struct str line = str_trim(str_make(rest.p, n));
        if (line.n > 0)
            json_array_append_new(lines, js_text(line));
        if (str_starts(line, STR("mx:")))
            json_array_append_new(hosts, js_text(str_trim(str_make(line.p + 3, line.n - 3))));
        rest = str_make(rest.p + n + (n < rest.n), rest.n - n - (n < rest.n));
    }
    js_set(policy, "policy-string", lines);
    if (json_array_size(hosts) > 0)
        js_set(policy, "mx-host", hosts);
    else
        json_decref(hosts);
}

static json_t *line_json(const struct rpt_line *line)
{
    json_t *root = json_object();
    js_set(root, "result-type", json_string(result_names[line->result]));
    if (line->source[0] != '\0')
        js_set(root, "sending-mta-ip", js_text(str_of(line->source)));
    if (line->host[0] != '\0')
        js_set(root, "receiving-mx-hostname", js_text(str_of(line->host)));
    js_set_int(root, "failed-session-count", line->count);
    return root;
}

/* Of DANE the host is what the policy is of (RFC 8460 1.1), so that each has an entry of its own. */
static bool same_policy(const struct rpt_line *a, const struct rpt_line *b)
{
    return a->policy == b->policy && (a->policy != RPT_TLSA || strcmp(a->host, b->host) == 0);
}

static json_t *policy_json(const struct rpt_report *report, const struct rpt_line *first)
{
    uint64_t fine = 0, failed = 0;
    const char *text = first->text;
    json_t *details = json_array(), *policy = json_object(), *summary = json_object(), *root = json_object();
    for (unsigned i = 0; i < report->count; i++) {
        const struct rpt_line *line = &report->lines[i];
        if (!same_policy(line, first))
            continue;
        if (text[0] == '\0')
            text = line->text;
        if (line->result == RPT_FINE) {
            fine += line->count;
            continue;
        }
        failed += line->count;
        json_array_append_new(details, line_json(line));
    }
    js_set(policy, "policy-type", json_string(policy_names[first->policy]));
    if (first->policy != RPT_NO_POLICY)
        add_policy_text(policy, text);
    js_set(policy, "policy-domain",
           js_text(str_of(first->policy == RPT_TLSA ? first->host : report->domain)));
    js_set_int(summary, "total-successful-session-count", fine);
    js_set_int(summary, "total-failure-session-count", failed);
    js_set(root, "policy", policy);
    js_set(root, "summary", summary);
    if (json_array_size(details) > 0)
        js_set(root, "failure-details", details);
    else
        json_decref(details);
    return root;
}

bool rpt_json(const struct rpt_report *report, struct buf *out)
{
    json_t *root = json_object(), *range = json_object(), *policies = json_array();
    js_set(range, "start-datetime", js_time(report->start_ms));
    js_set(range, "end-datetime", js_time(report->end_ms - MS_PER_S));
    for (unsigned i = 0; i < report->count; i++) {
        unsigned first = 0;
        while (!same_policy(&report->lines[first], &report->lines[i]))
            first++;
        if (first == i)
            json_array_append_new(policies, policy_json(report, &report->lines[i]));
    }
    js_set(root, "organization-name", js_text(str_of(report->organization)));
    js_set(root, "date-range", range);
    js_set(root, "contact-info", js_text(str_of(report->contact)));
    js_set(root, "report-id", js_text(str_of(report->id)));
    js_set(root, "policies", policies);
    return js_write(out, root);
}

bool rpt_pack(struct str json, struct buf *out)
{
    z_stream stream = {0};
    if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, GZIP_WINDOW, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        return false;
    size_t most = deflateBound(&stream, json.n);
    char *room = buf_room(out, most);
    union {
        const char *in;
        Bytef *out;
    } bytes = {.in = json.p}; /* zlib does not write to it */
    stream.next_in = bytes.out;
    stream.avail_in = (uInt)json.n;
    stream.next_out = (Bytef *)room;
    stream.avail_out = (uInt)most;
    bool done = room != NULL && deflate(&stream, Z_FINISH) == Z_STREAM_END;
    if (done)
        out->len += most - stream.avail_out;
    deflateEnd(&stream);
    return done;
}

bool rpt_message(const struct rpt_report *report, const char *host, struct str to, struct str packed,
                 struct buf *out)
{
    long long start_s = report->start_ms / 1000, end_s = report->end_ms / 1000 - 1;
    buf_printf(out,
               "From: %s\r\nTo: %.*s\r\nMessage-ID: <%s@%s>\r\nSubject: Report Domain: %s\r\n Submitter: "
               "%s\r\n Report-ID: <%s@%s>\r\n"
               "TLS-Report-Domain: %s\r\nTLS-Report-Submitter: %s\r\nTLS-Required: No\r\n"
               "Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\n"
               "Content-Type: multipart/report; report-type=\"tlsrpt\"; boundary=\"=_%s\"\r\n\r\n",
               report->contact, STR_ARG(to), report->id, host, report->domain, host, report->id, host,
               report->domain, host, report->id);
    buf_printf(out,
               "--=_%s\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n"
               "This is an aggregate report about TLS to %s, by %s (RFC 8460).\r\n\r\n",
               report->id, report->domain, report->organization);
    buf_printf(out,
               "--=_%s\r\nContent-Type: application/tlsrpt+gzip\r\nContent-Transfer-Encoding: base64\r\n"
               "Content-Disposition: attachment;\r\n filename=\"%s!%s!%lld!%lld!%s.json.gz\"\r\n\r\n",
               report->id, host, report->domain, start_s, end_s, report->id);
    buf_add_base64(out, packed);
    return buf_printf(out, "--=_%s--\r\n", report->id);
}

/* ---- the record ---- */

static int hex_digit(char c)
{
    c = ascii_lower(c);
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* An address in a URI: percent-encoding undone, what follows a '?' left out. */
static size_t decode_address(struct str text, char *to)
{
    size_t n = 0;
    for (size_t i = 0; i < text.n && text.p[i] != '?'; i++) {
        bool encoded = text.p[i] == '%' && i + 2 < text.n && hex_digit(text.p[i + 1]) >= 0 &&
                       hex_digit(text.p[i + 2]) >= 0;
        to[n++] = encoded ? (char)(hex_digit(text.p[i + 1]) * 16 + hex_digit(text.p[i + 2])) : text.p[i];
        i += encoded ? 2 : 0;
    }
    return n;
}

static void add_target(struct rpt_targets *targets, struct str uri)
{
    if (targets->count == RPT_TARGETS_MAX || uri.n > URL_MAX)
        return;
    char *to = targets->uri[targets->count];
    size_t n = uri.n;
    for (size_t i = 0; i < uri.n; i++)
        if (uri.p[i] <= ' ' || (unsigned char)uri.p[i] >= 0x7f)
            return;
    if (str_starts_nocase(uri, STR("mailto:"))) {
        memcpy(to, "mailto:", 7);
        n = 7 + decode_address(str_make(uri.p + 7, uri.n - 7), to + 7);
    } else if (str_starts_nocase(uri, STR("https://"))) {
        memcpy(to, uri.p, n);
    } else {
        return;
    }
    to[n] = '\0';
    targets->count++;
}

/* Fields end with ';', names with '='. */
static bool next_field(struct str *rest, struct str *name, struct str *value)
{
    while (rest->n > 0) {
        size_t end = str_find(*rest, ';', 0), n = end == SIZE_MAX ? rest->n : end;
        struct str field = str_trim(str_make(rest->p, n));
        *rest = str_make(rest->p + n + (n < rest->n), rest->n - n - (n < rest->n));
        size_t middle = str_find(field, '=', 0);
        if (middle == SIZE_MAX)
            continue;
        *name = str_trim(str_make(field.p, middle));
        *value = str_trim(str_make(field.p + middle + 1, field.n - middle - 1));
        return true;
    }
    return false;
}

bool rpt_record_parse(struct str text, struct rpt_targets *targets)
{
    struct str name, value;
    targets->count = 0;
    if (!next_field(&text, &name, &value) || !str_eq(name, STR("v")) || !str_eq(value, STR("TLSRPTv1")))
        return false;
    while (next_field(&text, &name, &value)) {
        if (!str_eq(name, STR("rua")))
            continue;
        while (value.n > 0) {
            size_t end = str_find(value, ',', 0), n = end == SIZE_MAX ? value.n : end;
            add_target(targets, str_trim(str_make(value.p, n)));
            value = str_make(value.p + n + (n < value.n), value.n - n - (n < value.n));
        }
    }
    return targets->count > 0;
}
