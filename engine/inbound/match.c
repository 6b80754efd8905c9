/* match.c - see match.h. */
#include "engine/inbound/match.h"

#include "engine/inbound/notice_parts.h"
#include "engine/message/address.h"
#include "engine/message/envelope.h"

#include <stdio.h>
#include <stdlib.h>

#define TOKENS_MAX 8  /* things like a rid looked at in one text */
#define JOBS_PAGE  64 /* jobs read at once when one is looked for by its envelope id */

/* ---- rids in text ---- */

static size_t digits(struct str text, size_t at)
{
    size_t n = 0;
    while (at + n < text.n && text.p[at + n] >= '0' && text.p[at + n] <= '9')
        n++;
    return n;
}

/* The next thing like "17-0-42" whose first number begins at or after *at, which is then behind that number:
 * of "2-17-0-42" both readings are found. */
static bool next_rid(struct str text, size_t *at, struct rid *rid, struct str *token)
{
    while (*at < text.n) {
        size_t start = *at, end = start, numbers = 0;
        size_t first = digits(text, start);
        *at += first > 0 ? first : 1;
        for (size_t n = first; n > 0 && numbers < 3; n = digits(text, end)) {
            end += n;
            if (++numbers < 3 && (end == text.n || text.p[end++] != '-'))
                break;
        }
        *token = str_make(text.p + start, end - start);
        if (numbers == 3 && rid_parse(*token, rid))
            return true;
    }
    return false;
}

/* ---- candidates ---- */

static void copy_text(char *to, size_t size, struct str text)
{
    snprintf(to, size, "%.*s", STR_ARG(text));
}

static bool is_meant(const struct job_info *job, struct str tenant)
{
    return !job->is_dsn && (tenant.n == 0 || str_eq(tenant, str_of(job->tenant)));
}

static void fill_candidate(struct candidate *candidate, const struct job_info *job,
                           const struct rcpt_info *info)
{
    candidate->rid = info->rid;
    candidate->state = info->state;
    candidate->claimed = info->claimed;
    copy_text(candidate->to, sizeof candidate->to, info->to);
    copy_text(candidate->domain, sizeof candidate->domain, info->domain);
    copy_text(candidate->tenant, sizeof candidate->tenant, str_of(job->tenant));
}

static void add_candidate(struct store *store, const struct job_info *job, struct rid rid,
                          enum evidence evidence, struct candidates *candidates)
{
    struct rcpt_info info;
    for (size_t i = 0; i < candidates->count; i++) {
        if (rid_eq(candidates->list[i].rid, rid)) {
            if (evidence < candidates->list[i].evidence)
                candidates->list[i].evidence = evidence;
            return;
        }
    }
    if (candidates->count == INBOUND_CANDIDATES_MAX)
        return;
    rcpt_info_init(&info);
    if (query_rcpt(store, rid, &info)) {
        struct candidate *candidate = &candidates->list[candidates->count++];
        fill_candidate(candidate, job, &info);
        candidate->evidence = evidence;
    }
    rcpt_info_free(&info);
}

/* Is this the job's envelope sender for the rid, in any case? */
static bool is_return_path(const struct job_info *job, struct str rid, struct str address)
{
    char path[ADDRESS_MAX];
    size_t n = envelope_expand(str_of(job->from), rid, path);
    return n != SIZE_MAX && str_eq_nocase(str_make(path, n), address);
}

/* Does the text hold that return path? */
static bool holds_return_path(const struct job_info *job, struct str rid, struct str text)
{
    struct str address;
    for (size_t at = 0; address_find(text, &at, &address);)
        if (is_return_path(job, rid, address))
            return true;
    return false;
}

/* "<17-0-42@" */
static bool is_message_id(struct str text, struct str token)
{
    const char *end = token.p + token.n;
    return token.p > text.p && token.p[-1] == '<' && end < text.p + text.n && *end == '@';
}

/* field: a text that may hold a rid anywhere; else only a return path counts. */
static void add_from(struct store *store, struct str text, bool field, struct str tenant,
                     struct candidates *candidates)
{
    struct str token;
    struct rid rid;
    size_t at = 0;
    for (unsigned i = 0; i < TOKENS_MAX && next_rid(text, &at, &rid, &token); i++) {
        struct job_info job;
        bool known = query_job_written(store, rid.job, &job);
        candidates->unknown |= !known && query_was_given(store, rid.job);
        if (!known || !is_meant(&job, tenant))
            continue;
        if (holds_return_path(&job, token, text))
            add_candidate(store, &job, rid, EVIDENCE_RETURN_PATH, candidates);
        else if (field)
            add_candidate(store, &job, rid, is_message_id(text, token) ? EVIDENCE_MESSAGE_ID : EVIDENCE_FIELD,
                          candidates);
    }
}

void match_candidates(struct store *store, const struct notice *notice, struct str tenant,
                      struct candidates *candidates)
{
    candidates->count = 0;
    candidates->unknown = false;
    for (size_t i = 0; i < notice->to_count; i++)
        add_from(store, notice->to[i], false, tenant, candidates);
    for (size_t i = 0; i < notice->trace_count; i++)
        add_from(store, notice->traces[i], true, tenant, candidates);
}

/* ---- agreement ---- */

/* Local parts are compared without regard to case, domains as DNS has them. */
static bool same_address(struct str a, const char *to, const char *domain)
{
    struct str b = str_of(to);
    struct address read;
    struct err err;
    if (str_eq_nocase(a, b))
        return true;
    size_t at = b.n;
    while (at > 0 && b.p[at - 1] != '@')
        at--;
    return address_parse(a, &read, &err) && at > 0 && str_eq_nocase(read.local, str_make(b.p, at - 1)) &&
           str_eq(address_domain(&read), str_of(domain));
}

static bool same_domain(struct str a, const char *domain)
{
    struct address read;
    struct err err;
    return address_parse(a, &read, &err) && str_eq(address_domain(&read), str_of(domain));
}

static enum inbound_agreement agreement_of(const struct notice *notice, const struct notice_rcpt *rcpt,
                                           const struct candidate *candidate)
{
    if (same_address(rcpt->original, candidate->to, candidate->domain) ||
        same_address(rcpt->address, candidate->to, candidate->domain))
        return AGREEMENT_EXACT;
    /* Whom the returned message was written to tells for one recipient, not for several. */
    for (size_t i = 0; i < notice->named_count && notice->rcpt_count == 1; i++)
        if (same_address(notice->named[i], candidate->to, candidate->domain))
            return AGREEMENT_EXACT;
    bool named = rcpt->original.n > 0 || rcpt->address.n > 0;
    if (named && !same_domain(rcpt->original, candidate->domain) &&
        !same_domain(rcpt->address, candidate->domain))
        return AGREEMENT_MISMATCH;
    if (candidate->evidence == EVIDENCE_FIELD || notice->rcpt_count > 1)
        return AGREEMENT_MISMATCH;
    return named ? AGREEMENT_DOMAIN : AGREEMENT_UNNAMED;
}

static void take_candidate(struct inbound_finding *finding, const struct candidate *candidate,
                           enum inbound_agreement agreement)
{
    finding->agreement = agreement;
    finding->rid = candidate->rid;
    finding->state = candidate->state;
    finding->claimed = candidate->claimed;
    memcpy(finding->to, candidate->to, sizeof finding->to);
    memcpy(finding->tenant, candidate->tenant, sizeof finding->tenant);
}

/* ---- by envelope id ---- */

static bool find_job_by_envid(struct store *store, struct str envid, struct str tenant, struct job_info *job)
{
    struct job_info *page = malloc(JOBS_PAGE * sizeof *page);
    size_t n = page != NULL ? JOBS_PAGE : 0;
    uint64_t before = 0;
    bool found = false;
    for (unsigned seen = 0; n == JOBS_PAGE && seen < INBOUND_JOBS_MAX && !found; seen += JOBS_PAGE) {
        n = query_jobs_written(store, before, page, JOBS_PAGE);
        for (size_t i = 0; i < n && !found; i++) {
            before = page[i].id;
            found = str_eq(envid, str_of(page[i].envid)) && is_meant(&page[i], tenant);
            if (found)
                *job = page[i];
        }
    }
    free(page);
    return found;
}

struct search {
    struct rid rid;
    bool found;
};

static bool take_first(const struct rcpt_info *info, void *user)
{
    struct search *search = user;
    search->rid = info->rid;
    search->found = true;
    return false;
}

static bool find_in_job(struct store *store, const struct job_info *job, struct str address,
                        struct candidates *candidates)
{
    struct search search = {.found = false};
    struct rcpt_filter filter = {.to = address};
    struct rid after = {0};
    bool more = address.n > 0;
    for (unsigned page = 0; more && !search.found && page < INBOUND_PAGES_MAX; page++)
        more = query_job_rcpts(store, job->id, &filter, &after, take_first, &search);
    if (search.found)
        add_candidate(store, job, search.rid, EVIDENCE_FIELD, candidates);
    return candidates->count > 0;
}

static void match_by_envid(struct store *store, const struct notice *notice, const struct notice_rcpt *rcpt,
                           struct str tenant, struct inbound_finding *finding)
{
    struct job_info job;
    struct candidates candidates = {.count = 0};
    if (notice->envid.n == 0 || !find_job_by_envid(store, notice->envid, tenant, &job))
        return;
    if (find_in_job(store, &job, rcpt->original, &candidates) ||
        find_in_job(store, &job, rcpt->address, &candidates))
        take_candidate(finding, &candidates.list[0], AGREEMENT_EXACT);
}

void match_rcpt(struct store *store, const struct notice *notice, const struct notice_rcpt *rcpt,
                struct str tenant, const struct candidates *candidates, struct inbound_finding *finding)
{
    *finding = (struct inbound_finding){.agreement = AGREEMENT_NONE};
    for (size_t i = 0; i < candidates->count; i++) {
        enum inbound_agreement agreement = agreement_of(notice, rcpt, &candidates->list[i]);
        /* In their order, so that the surest of those that agree alike is kept. */
        if (finding->agreement == AGREEMENT_NONE || agreement < finding->agreement)
            take_candidate(finding, &candidates->list[i], agreement);
    }
    if (finding->agreement == AGREEMENT_NONE || finding->agreement == AGREEMENT_MISMATCH)
        match_by_envid(store, notice, rcpt, tenant, finding);
}
