/* api.h - the HTTP API as a whole: sockets, routes, handlers, intake. What main.c calls, what clients see.
 *
 * The jobs socket serves POST /v1/jobs (admin/upload.h) and the calls on one job; the control socket serves
 * all. While control is unset the jobs socket serves both. On the jobs socket a uid that `jobs.tenants` binds
 * to a tenant sees and steers that tenant's jobs only.
 *
 * Conventions of every answer
 *   Ids of jobs, operations and recipients are strings ("17", "3", "17-0-42"). Times are RFC 3339 in UTC with
 *   milliseconds, or null. A status is "4.7.1", or null where there is none; a code is a number, 0 for a
 *   local failure. Durations end in _ms or _s. Names of states: ready delivered bounced expired cancelled
 *   suppressed deferred; of jobs: uploading active paused cancelled ended. New fields may come. A list in
 *   NDJSON is one object a line. An unknown query parameter is an error, so that a misspelt filter never
 *   widens what a call does.
 *
 * Errors: {"error":{"code":"not_found","reason":"there is no job 17"}} with a fitting HTTP status. Codes:
 *   400 bad_request bad_parameter bad_json bad_job bad_list, 403 forbidden, 404 not_found,
 *   405 method_not_allowed, 409 in_progress (this idempotency key's first request is under way) not_ended,
 *   413 too_large, 415 bad_type, 422 key_reused (this idempotency key came with another body),
 *   431 too_large (its header), 500 failed, 503 stopping busy, 507 full.
 *   Those of POST /v1/jobs also have "line" and "jobs".
 *
 * POST /v1/jobs, PUT too (parameter: dry_run=1)
 *   202 {"jobs":[{"job":"17","accepted":9998,"suppressed":0,
 *                 "rejected":[{"line":7,"to":"x@","error":"…"}],"rejected_count":1}]}
 *   accepted: the job's recipients; suppressed: of them, those whose addresses get no mail (they have ended).
 *   rejected_count is there only when something was rejected. "to" is null where the line did not say. In
 *   application/json a rejected recipient has "index", its place in "recipients" from 1, instead of "line".
 *   dry_run: 200, the same without "job", and "dry_run":true beside "jobs".
 *
 * GET /v1/jobs (tenant, campaign, state; limit=100 up to 1000; before=JOB)
 *   {"jobs":[JOB…],"before":"9"|null}, newest first; pass `before` on for the next page.
 *   JOB = {"job","state","tenant","campaign","class":"bulk"|"transactional","pool","require_tls":false,
 *   "from","envid","bounces":"dsn"|"report"|"none","report":false (true: it is a delivery report of ours),
 *   "metadata":{…},
 *   "created","not_before","expires","ended","message_size":4096,"total":9998,
 *   "counts":{"ready","deferred","delivered","bounced","expired","cancelled","suppressed"},
 *   "queued":120 (ready and deferred, what is in flight included),
 *   "rate":812.5 (recipients that ended, a second, lately),"eta_s":12|null,"eta":TIME|null}
 * GET /v1/jobs/J
 *   JOB and "statuses":[{"status":"4.7.1","phrase":"Delivery not authorized, message refused","count":3}…]
 *   of those deferred or failed, by their last status.
 * POST /v1/jobs/J/pause, resume, cancel, retry
 *   200 {"job":"17","state":"paused","done":true,"op":null|"3","matched":n,"changed":n,"in_flight":n}.
 *   matched: how many it applied to; in_flight: how many a worker had in hand (they finish as they are). What
 *   takes over a second: 202, the same with "done":false and the op to look at under /v1/ops.
 * DELETE /v1/jobs/J
 *   200 or 202 {"job","done","op","matched","changed","in_flight"}: a job that has ended is forgotten, with
 *   its recipients and events. 409 not_ended: cancel it first.
 * GET /v1/jobs/J/recipients (state=a,b; status=4.7.*; to=ADDRESS; after=RID; limit=1000 up to 100000)
 *   NDJSON of RCPT in the order of rid. Fewer lines than the limit: the end; else go on with after=the last.
 *   RCPT = {"rid","job","to","domain","id","state","in_flight":bool,"attempts","first","last","next","code",
 *   "status","reply","mx","source","site"}
 * GET /v1/jobs/J/bounces (format=json|csv|html|text): see report/bounces.h
 *   {"job","tenant","campaign","generated","total","delivered","queued","failed","bounced","expired",
 *    "classes":[{"class":"5.1","subject":"Addressing status","count"}…],
 *    "statuses":[{"status","phrase","count","examples":[{"to","code","reply"}…]}…],
 *    "categories":[{"category":"bad-mailbox","count","examples":[…]}…],
 *    "domains":[{"domain","failed","bounced","expired"}…],"other_domains":0,
 *    "sites":[{"site","failed","bounced","expired"}…],"other_sites":0}
 *   each list by falling count; domains and sites at most 1000, what failed at the rest is summed in
 *   other_domains and other_sites. A site is "" where none was known.
 *   csv: header `time,to,domain,site,category,status,code,reply,attempts,job,campaign,id`, CRLF, RFC 4180.
 *   html: a page with charts that needs nothing else; text: what `postrider job J bounces` prints.
 *   An answer that breaks off (no last chunk) is not whole: memory was out, or the daemon stopped.
 * GET /v1/tenants/T/bounces (format as above; since=24h, or a time)
 *   The same over all jobs of the tenant that are retained, with "since" (null: all) and "jobs" in place of
 *   "job" and "campaign". Failures before `since` are left out; "total", "delivered" and "queued" are of the
 *   jobs that had not ended before it, as they are now.
 *
 * GET /v1/queue (by=domain|site|tenant|status|age, default domain; all=1; limit=1000)
 *   {"by":"domain","total":{"queued","ready","deferred","held","in_flight"},
 *    "rows":[{"domain":"example.com","queued","ready","deferred","held",
 *    "delivered","bounced","expired","next":TIME|null}…],"more":0}
 *   by falling queued; with all=1 also what has nothing queued any more (its totals stay). `more` rows were
 *   left out. A row's key is named as `by`: "domain", "site" ("" where not known yet), "tenant", "status"
 *   (with "phrase", and "deferred" only), "age" ("<5m" "<1h" "<4h" "<1d" "<4d" ">=4d" since accepted, in this
 *   order; no "next"). ready counts what is in flight, too.
 * POST /v1/queue/retry, bounce (tenant, campaign, job, domain, site, status, age: parameters, or a JSON
 *     object of strings; all=1)
 *   retry: what is deferred and matches is due at once. bounce: what is queued and matches (with status: of
 *   what is deferred) ends as bounced, with what was last heard of it, or 5.0.0; it wants a filter or all=1.
 *   age is ">2h" (accepted longer ago) or "<30m". 200 or 202 {"done","op","matched","changed","in_flight"};
 *   what is in flight ends as it will.
 * GET /v1/queue/recipients (the same filter; state=ready,deferred; limit=1000)
 *   NDJSON of RCPT: first the deferred ones by status, then the others; with status only the former.
 *
 * GET /v1/suppressions (scope=TENANT, or empty: everybody's; address; format=ndjson|csv; limit=1000;
 *     after_scope, after: the last line's)
 *   NDJSON of {"address","scope":"" (everybody's)|"acme","reason","source","time"} in the order of scope and
 *   address, or CSV with a header: `address,scope,reason,source,time`, CRLF, RFC 4180. An address is found in
 *   any case.
 * PUT /v1/suppressions, POST too (scope, reason, source: of what does not say)
 *   NDJSON of such objects (address alone is enough), one object as application/json, or CSV: with a header
 *   that names the columns in any order, or without one in the order above, such as a plain list of
 *   addresses. A record is a line. 200 {"accepted","changed" (new or not as before),
 *   "rejected":[{"line","text","error"}…],"rejected_count"}, the first 1,000 listed; 400 bad_list: nothing of
 *   it could be taken. Durable once answered, EDITS_MAX at once as it goes.
 * DELETE /v1/suppressions (scope, address)
 *   {"removed":1}; 404: it is not on that list.
 *   Of a user bound to a tenant the scope is that tenant. What is suppressed gets no mail from then on,
 *   whatever the class; what was queued ends as suppressed at its turn, at once where it waits in memory.
 *
 * GET /v1/sites
 *   {"complete":true,"sites":[SITE…]}; complete is false when a worker did not answer in time.
 *   SITE = {"site","connections","connecting","idle","window","max_connections","lanes","buffered",
 *   "in_flight","delivered","deferred","failed","rate_1m","held","slowed_to":30.0|null (messages a minute),
 *   "cap":4|null,"stopped":TIME|null,"blocked_until","blocked_by","reason"}: sums over its paths;
 *   blocked_… and reason of the path held longest, null and "" when none is.
 * GET /v1/sites/S
 *   SITE and "paths":[{"source","worker","recipients_max","messages_max","tls_only","tls":"may" (the site's
 *   policy),"learnt","code","status", and the fields of SITE but "site" and "held"}…]. 404: no worker has it
 *   now.
 * POST /v1/sites/S/backoff, normal, reset
 *   200 {"paths":2}: slows it as a complaint would; ends that; forgets all that was learnt, with pauses and
 *   stops. 404: no worker knows the site.
 * GET /v1/suspensions
 *   {"complete":true,"held":n,"suspensions":[{"kind","site","source","sender","job","tenant","campaign",
 *   "domain","since","until","code","status","reply","rule","held":n,"resume":"postrider resume --site S"}…]}
 *   kind: "stop" (a path), "fix", "sender" (a sender domain at a site), "job" (a job at a site), by a reply;
 *   "suspension", by an operator. Fields not asked for are null. What two hold counts with the first.
 * POST /v1/queue/suspend, resume (tenant, campaign, job, domain, site, sender; resume: or all=1)
 *   200 {"suspended":1}, 0: it was already; {"released":n}: holds that say all that the filter says; with
 *   nothing but a site, its stops too.
 * GET /v1/explain (rid= or to= or domain=)
 *   {"rid"|"to"|"domain":…,"answers":[{"rid","to","job","state","attempts","lane":"5","domain","tenant",
 *    "site","source","waits":true,"limit":"retry","until":TIME|null,"tls":"may, MTA-STS enforce" (what its
 *    mail asks of a host),"why":"one sentence"}…]}
 *   domain= answers by lane ("ready","deferred" in place of rid, to, job, state, attempts). limit is what
 *   holds it: "" nothing, "paused", "not_before", "retry" (its own schedule), "dns", the kind of a
 *   suspension, or a limit of a path as in blocked_by. Nothing known of what was asked: 404.
 * GET /v1/rules (site=)
 *   {"default_replies":bool,"rules":[RULE…],"receivers":[{"name","mx":["*.example.com"…]}…]}: the reply rules
 *   in the order of matching, with site those for this site or receiver; engine/rule_json.h has RULE.
 * GET /v1/rules/test (reply= a whole reply, or "closed"; site=, mx=, at=greeting|mail|rcpt|data)
 *   {"code","status","text","lines","site","mx","receiver"|null,"rule":RULE|null,"found","why",
 *    "near":[{"name","where","action","why"}…]}: which rule the reply meets; near are those before it that
 *   only their code, status or step keeps from it.
 * POST /v1/inbound (message/rfc822, at most 256 KiB; rcpt, tenant, trusted=1, dry_run=1): inbound/inbound.h
 *   {"kind":"bounce","format":"dsn","feedback","envid","recipients":[{"action":"suppress","kind","address",
 *    "original","code","status","reply","category","mx","agreement":"exact","rid","to","tenant",
 *    "state"}…]}; the last four are null where no recipient was found. "dry_run":true where asked for.
 * GET /v1/recipients/RID
 *   RCPT and "metadata":{…},"vars":{…},"orcpt","notify":["failure",…]
 * GET /v1/recipients/RID/message
 *   message/rfc822: as it would be sent (not dot-stuffed).
 * GET /v1/ops, /v1/ops/N
 *   {"ops":[OP…]}; OP = {"op","kind":"cancel","done","matched","changed","started"}
 * GET /v1/events (after=SEQ, follow=1, limit=N, job=J, type=a,b)
 *   NDJSON of {"seq","time","type","rid","job","tenant","campaign","id","to","domain","site","source","mx",
 *   "attempt","code","status","reply","tls","delay_ms","next","category"}; type is accepted, delivered,
 *   deferred, bounced, expired, cancelled, suppressed, delayed or complained. `delayed` comes once of who is
 *   still tried after queue.delay_warning, with what was last heard (attempt 0: not tried yet). "next" is set
 *   for deferred and delayed ones, "category" for bounced and expired ones, both null otherwise. Without
 *   follow it ends with what is there; with it, it stays and sends each event within 100 ms of its commit.
 *   Without after: all that is kept.
 * POST /v1/backup (directory=PATH, new and absolute, on the daemon's machine; for operators)
 *   Copies the queue there: 200 when it is done, 202 when that takes over a second; 409 busy: one is under
 *   way; 409 failed: it is not made, and why.
 * GET /v1/backup
 *   {"state":"none"|"running"|"done"|"failed","directory","bytes" written, of about "total","begun",
 *   "ended":TIME|null,"error":TEXT|null}: the one under way, or the last since the start.
 * GET /v1/consumers
 *   {"last":SEQ,"consumers":[{"consumer":NAME,"kind":"webhook"|"file","target":URL|PATH,"shape","on_full",
 *   "cursor":SEQ (all up to it is safe there),"lag":events after it,"lag_ms":age of the first of them,"sent",
 *   "dropped" (missed, for the log was full),"dead_lettered","failures" (in a row),"error":TEXT|null,
 *   "error_time","next":TIME|null (when it is tried again)}…]}; sent, dropped and dead_lettered since it was
 *   registered.
 * GET /v1/status
 *   {"version","uptime_s","queued","ready","in_flight","deferred","held","sessions","sites","jobs",
 *   "accepted","delivered","bounced","expired","rate_1m","db_bytes","disk_free","memory_bytes",
 *   "full":bool,"stopping":bool}; queued is every recipient that has not ended; accepted to expired are
 *   totals since the state directory was made.
 * GET /v1/rules (site=)
 *   {"default_replies":bool,"rules":[RULE…],"receivers":[{"name","mx":["*.example.com"…]}…]}: the reply rules
 *   in the order of matching, with site those for this site or receiver; engine/rule_json.h has RULE.
 * GET /v1/rules/test (reply= a whole reply, or "closed"; site=, mx=, at=greeting|mail|rcpt|data)
 *   {"code","status","text","lines","site","mx","receiver"|null,"rule":RULE|null,"found","why",
 *    "near":[{"name","where","action","why"}…]}: which rule the reply meets; near are those before it that
 *   only their code, status or step keeps from it.
 * POST /v1/reload: reads the configuration again (engine/reload.h): {changed, restart: the options that a
 *   reload has put into force, and those that take a restart; complete: every worker has said so}; 422 with
 *   the first thing that is wrong, and then nothing has changed.
 * GET /metrics, GET /healthz ("ok", 200; 503 with "stopping" or "full"). */
#ifndef POSTRIDER_ADMIN_API_H
#define POSTRIDER_ADMIN_API_H

#include "engine/config.h"
#include "queue/query.h"

struct consumers;
struct inbound;
struct submission;
struct fleet;
struct reload;
struct setups;
struct api;

/* All of it outlives the api. */
struct api_context {
    struct store *store;
    struct fleet *fleet;               /* engine/inspect.h */
    const struct consumers *consumers; /* NULL: there are none */
    const struct config *config;       /* that the daemon started with: for what takes a restart */
    struct setups *setups;             /* what holds now */
    struct reload *reload;             /* NULL: there is none, in tests */
    struct inbound *inbound;
    const struct submission *submission; /* NULL: there is none */
    const char *version;
    struct now started;
};

/* Creates the sockets and starts to serve. Errors: a socket that another process listens on, a directory that
 * is missing or not writable, an unknown group. NULL and err. */
struct api *api_create(const struct api_context *context, struct err *err);
/* From now on intake answers 503 and followers are let go; reading calls go on. Any thread, at once. */
void api_stop(struct api *api);
/* Ends connections and removes the sockets. The store must still run: what was posted to it is waited for,
 * some seconds at most. */
void api_destroy(struct api *api);

#endif
