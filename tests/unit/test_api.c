/* The calls of the API: jobs and their recipients, the queue, sites, why something waits, events, figures. */
#include "tests/unit/api_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static struct api_rig rig;
static char job[24], paused[24], later[24]; /* ids */

#define MESSAGE                                                                                              \
    "\"message\":{\"raw\":\"From: news@a.example\\nTo: {{to}}\\nSubject: Hi {{name|you}}\\n\\n.dot\\n\"}"

static json_t *get(const char *url, unsigned status)
{
    return api_rig_call(&rig, "GET", url, "", status);
}

static json_t *post(const char *url, const char *body, unsigned status)
{
    return api_rig_call(&rig, "POST", url, body, status);
}

static json_t *get_job(const char *id, const char *rest, unsigned status)
{
    char url[256];
    snprintf(url, sizeof url, "/v1/jobs/%s%s", id, rest);
    return get(url, status);
}

static void submit(const char *fields, const char *recipients, char id[24])
{
    char body[4096];
    snprintf(body, sizeof body, "{\"from\":\"news@a.example\",%s" MESSAGE "}\n%s", fields, recipients);
    json_t *root = api_rig_call(&rig, "POST", "/v1/jobs", body, 202);
    snprintf(id, 24, "%s", text_at(root, "jobs.0.job"));
    json_decref(root);
}

/* The job that most tests look at: 2 delivered, 3 bounced, 2 deferred. */
static void submit_all(void)
{
    submit("\"tenant\":\"acme\",\"campaign\":\"spring, "
           "\\\"24\\\"\",\"metadata\":{\"k\":\"v\"},\"dsn\":{\"envid\":\"E1\"},"
           "\"bounces\":\"report\",",
           "{\"to\":\"ok1@a.example\",\"id\":\"1\",\"vars\":{\"name\":\"Ada\"},\"metadata\":{\"m\":\"n\"}}\n"
           "{\"to\":\"ok2@b.example\",\"id\":\"2\"}\n{\"to\":\"bad1@a.example\",\"id\":\"3\"}\n"
           "{\"to\":\"bad2@a.example\",\"id\":\"4, \\\"x\\\"\"}\n{\"to\":\"bad3@b.example\"}\n"
           "{\"to\":\"full1@a.example\",\"notify\":[\"never\"]}\n{\"to\":\"full2@c.example\",\"orcpt\":"
           "\"rfc822;x@c.example\"}\n",
           job);
    api_rig_wait(&rig, job, "delivered", 2);
    api_rig_wait(&rig, job, "bounced", 3);
    api_rig_wait(&rig, job, "deferred", 2);
    submit("\"not_before\":\"2099-01-01T00:00:00Z\",", "{\"to\":\"x@later.example\"}\n", later);
    submit("\"not_before\":\"2099-01-01T00:00:00Z\",",
           "{\"to\":\"y@paused.example\"}\n{\"to\":\"z@paused.example\"}\n", paused);
}

static void test_jobs(void **state)
{
    (void)state;
    json_t *root = get("/v1/jobs", 200);
    assert_int_equal(json_array_size(at(root, "jobs")), 3);
    assert_string_equal(text_at(root, "jobs.0.job"), paused); /* the newest first */
    assert_true(json_is_null(at(root, "before")));
    json_decref(root);
    root = get("/v1/jobs?limit=2", 200);
    assert_int_equal(json_array_size(at(root, "jobs")), 2);
    char url[64];
    snprintf(url, sizeof url, "/v1/jobs?limit=2&before=%s", text_at(root, "before"));
    json_decref(root);
    root = get(url, 200);
    assert_int_equal(json_array_size(at(root, "jobs")), 1);
    assert_string_equal(text_at(root, "jobs.0.job"), job);
    json_decref(root);
    root = get("/v1/jobs?tenant=acme&state=active,paused", 200);
    assert_int_equal(json_array_size(at(root, "jobs")), 1);
    json_decref(root);
    root = get("/v1/jobs?campaign=none", 200);
    assert_int_equal(json_array_size(at(root, "jobs")), 0);
    json_decref(root);
    json_decref(get("/v1/jobs?state=nosuch", 400));
    json_decref(get("/v1/jobs?limit=0", 400));
    json_decref(get("/v1/jobs?limit=1001", 400));
    json_decref(get("/v1/jobs?before=x", 400));
}

static void test_job(void **state)
{
    (void)state;
    json_t *root = get_job(job, "", 200);
    assert_string_equal(text_at(root, "state"), "active");
    assert_string_equal(text_at(root, "tenant"), "acme");
    assert_string_equal(text_at(root, "campaign"), "spring, \"24\"");
    assert_string_equal(text_at(root, "class"), "bulk");
    assert_string_equal(text_at(root, "from"), "news@a.example");
    assert_string_equal(text_at(root, "envid"), "E1");
    assert_string_equal(text_at(root, "bounces"), "report");
    assert_string_equal(text_at(root, "metadata.k"), "v");
    assert_int_equal(int_at(root, "total"), 7);
    assert_int_equal(int_at(root, "queued"), 2);
    assert_int_equal(int_at(root, "counts.ready"), 0);
    assert_true(json_is_null(at(root, "ended")) && json_is_null(at(root, "not_before")));
    assert_int_equal(strlen(text_at(root, "created")), strlen("2025-01-01T00:00:00.000Z"));
    assert_true(json_is_real(at(root, "rate")));
    assert_int_equal(json_array_size(at(root, "statuses")), 2);
    json_int_t counts = int_at(root, "statuses.0.count") + int_at(root, "statuses.1.count");
    assert_int_equal(counts, 5);
    json_decref(root);
    json_decref(get("/v1/jobs/999", 404));
    json_decref(get("/v1/jobs/x", 404));
    json_decref(get_job(job, "/nosuch", 404));
    json_decref(get_job(job, "/pause", 405));
}

static size_t count_lines(const char *text)
{
    size_t n = 0;
    for (; *text != '\0'; text++)
        n += *text == '\n';
    return n;
}

static size_t count_recipients(const char *query)
{
    char url[256];
    struct http_reply reply;
    snprintf(url, sizeof url, "/v1/jobs/%s/recipients%s", job, query);
    size_t n = count_lines(api_rig_get(&rig, url, &reply));
    http_reply_free(&reply);
    return n;
}

static void test_recipients(void **state)
{
    (void)state;
    assert_int_equal(count_recipients(""), 7);
    assert_int_equal(count_recipients("?state=bounced"), 3);
    assert_int_equal(count_recipients("?state=bounced,deferred"), 5);
    assert_int_equal(count_recipients("?status=4.2.*"), 2);
    assert_int_equal(count_recipients("?status=5.1.1&state=deferred"), 0);
    assert_int_equal(count_recipients("?to=bad1@a.example"), 1);
    assert_int_equal(count_recipients("?limit=3"), 3);
    struct http_reply reply;
    char url[256], rid[RID_TEXT_MAX];
    size_t seen = 0, pages = 0;
    snprintf(url, sizeof url, "/v1/jobs/%s/recipients?limit=3", job);
    for (bool more = true; more; pages++) {
        const char *text = api_rig_get(&rig, url, &reply);
        seen += count_lines(text);
        more = count_lines(text) == 3;
        const char *last = text;
        for (const char *next = text; *next != '\0'; next = strchr(next, '\n') + 1)
            last = next;
        json_t *line = json_loads(last, JSON_DISABLE_EOF_CHECK, NULL);
        assert_non_null(line);
        snprintf(rid, sizeof rid, "%s", text_at(line, "rid"));
        json_decref(line);
        snprintf(url, sizeof url, "/v1/jobs/%s/recipients?limit=3&after=%s", job, rid);
        http_reply_free(&reply);
    }
    assert_true(seen == 7 && pages == 3);
    json_decref(get_job(job, "/recipients?after=x", 400));
    json_decref(get_job(job, "/recipients?after=999-0-0", 400));
    json_decref(get_job(job, "/recipients?status=x", 400));
    json_decref(get_job(job, "/recipients?to=x", 400));
}

static void test_bounces(void **state)
{
    (void)state;
    struct http_reply reply;
    char url[64];
    json_t *root = get_job(job, "/bounces", 200);
    assert_int_equal(int_at(root, "total"), 7);
    assert_int_equal(int_at(root, "delivered"), 2);
    assert_int_equal(int_at(root, "failed"), 3);
    assert_int_equal(int_at(root, "queued"), 2);
    assert_string_equal(text_at(root, "classes.0.class"), "5.1");
    assert_int_equal(int_at(root, "classes.0.count"), 3);
    assert_string_equal(text_at(root, "statuses.0.status"), "5.1.1");
    assert_string_equal(text_at(root, "statuses.0.phrase"), "Bad destination mailbox address");
    assert_int_equal(json_array_size(at(root, "statuses.0.examples")), 1);
    assert_string_equal(text_at(root, "statuses.0.examples.0.reply"), "5.1.1 no such \"user\", sorry");
    assert_string_equal(text_at(root, "categories.0.category"), "bad-mailbox");
    assert_string_equal(text_at(root, "domains.0.domain"), "a.example");
    assert_int_equal(int_at(root, "domains.0.failed"), 2);
    assert_int_equal(int_at(root, "other_domains"), 0);
    assert_string_equal(text_at(root, "sites.0.site"), "site.example");
    assert_int_equal(int_at(root, "sites.0.failed"), 3);
    json_decref(root);

    snprintf(url, sizeof url, "/v1/jobs/%s/bounces?format=csv", job);
    const char *text = api_rig_get(&rig, url, &reply);
    assert_non_null(strstr(reply.header, "Content-Type: text/csv"));
    assert_ptr_equal(
        strstr(text, "time,to,domain,site,category,status,code,reply,attempts,job,campaign,id\r\n"), text);
    assert_int_equal(count_lines(text), 4);
    char row[256];
    snprintf(row, sizeof row,
             ",bad2@a.example,a.example,site.example,bad-mailbox,5.1.1,550,\"5.1.1 no such \"\"user\"\", "
             "sorry\",1,%s,"
             "\"spring, \"\"24\"\"\",\"4, \"\"x\"\"\"\r\n",
             job);
    assert_non_null(strstr(text, row));
    http_reply_free(&reply);
    json_decref(get_job(job, "/bounces?format=xml", 400));

    snprintf(url, sizeof url, "/v1/jobs/%s/bounces?format=html", job);
    text = api_rig_get(&rig, url, &reply);
    assert_non_null(strstr(reply.header, "Content-Type: text/html; charset=utf-8"));
    assert_non_null(strstr(text, "5.1.1 no such &quot;user&quot;, sorry"));
    http_reply_free(&reply);
}

static void test_bounces_of_a_tenant(void **state)
{
    (void)state;
    json_t *root = get("/v1/tenants/acme/bounces", 200);
    assert_string_equal(text_at(root, "tenant"), "acme");
    assert_true(json_is_null(at(root, "since")));
    assert_int_equal(int_at(root, "jobs"), 1);
    assert_int_equal(int_at(root, "failed"), 3);
    json_decref(root);
    root = get("/v1/tenants/acme/bounces?since=2999-01-01T00:00:00Z", 200);
    assert_int_equal(int_at(root, "failed"), 0);
    json_decref(root);
    root = get("/v1/tenants/acme/bounces?since=1h", 200);
    assert_int_equal(int_at(root, "failed"), 3);
    json_decref(root);
    root = get("/v1/tenants/nobody/bounces", 200);
    assert_int_equal(int_at(root, "jobs"), 0);
    assert_int_equal(int_at(root, "total"), 0);
    json_decref(root);
    json_decref(get("/v1/tenants/acme/bounces?since=soon", 400));
    json_decref(get("/v1/tenants/acme/bounces?until=1h", 400));
}

static void test_queue(void **state)
{
    (void)state;
    json_t *root = get("/v1/queue", 200);
    assert_string_equal(text_at(root, "by"), "domain");
    assert_int_equal(int_at(root, "total.queued"), 5);
    assert_int_equal(int_at(root, "total.deferred"), 2);
    assert_int_equal(json_array_size(at(root, "rows")), 4);
    assert_string_equal(text_at(root, "rows.0.domain"), "paused.example");
    assert_int_equal(int_at(root, "rows.0.queued"), 2);
    json_decref(root);
    root = get("/v1/queue?by=domain&limit=1", 200);
    assert_int_equal(int_at(root, "more"), 3);
    json_decref(root);
    root = get("/v1/queue?by=site", 200);
    assert_string_equal(text_at(root, "rows.0.site"), "site.example");
    assert_int_equal(int_at(root, "rows.0.queued"), 5);
    json_decref(root);
    root = get("/v1/queue?by=tenant", 200);
    assert_string_equal(text_at(root, "rows.0.tenant"), "default");
    assert_int_equal(int_at(root, "rows.1.deferred"), 2);
    json_decref(root);
    root = get("/v1/queue?by=status", 200);
    assert_string_equal(text_at(root, "rows.0.status"), "4.2.2");
    assert_int_equal(int_at(root, "rows.0.deferred"), 2);
    json_decref(root);
    root = get("/v1/queue?by=age", 200);
    assert_string_equal(text_at(root, "rows.0.age"), "<5m");
    assert_int_equal(int_at(root, "rows.0.queued"), 5);
    assert_int_equal(json_array_size(at(root, "rows")), 6);
    json_decref(root);
    json_decref(get("/v1/queue?by=colour", 400));
}

static void test_sites(void **state)
{
    (void)state;
    json_t *root = get("/v1/sites", 200);
    assert_true(json_is_true(at(root, "complete")));
    assert_int_equal(json_array_size(at(root, "sites")), 1);
    assert_int_equal(int_at(root, "sites.0.connections"), 7);
    assert_int_equal(int_at(root, "sites.0.delivered"), 200);
    assert_string_equal(text_at(root, "sites.0.blocked_by"), "backoff");
    json_decref(root);
    root = get("/v1/sites/site.example", 200);
    assert_int_equal(json_array_size(at(root, "paths")), 2);
    assert_string_equal(text_at(root, "paths.1.source"), "source1");
    assert_true(json_is_null(at(root, "paths.0.blocked_until")));
    json_decref(root);
    json_decref(get("/v1/sites/nosuch.example", 404));
}

static void test_held(void **state)
{
    (void)state;
    json_t *root = get("/v1/suspensions", 200);
    assert_int_equal(json_array_size(at(root, "suspensions")), 2);
    assert_string_equal(text_at(root, "suspensions.0.tenant"), "nobody");
    assert_true(json_is_null(at(root, "suspensions.0.site")));
    assert_string_equal(text_at(root, "suspensions.1.kind"), "stop");
    json_decref(root);
    root = post("/v1/queue/suspend?domain=B%C3%BCcher.example", "", 200); /* as it is in lanes */
    assert_int_equal(int_at(root, "suspended"), 1);
    json_decref(root);
    root = post("/v1/queue/resume", "{\"tenant\":\"acme\"}", 200);
    assert_int_equal(int_at(root, "released"), 1);
    json_decref(root);
    root = post("/v1/queue/resume?all=1", "", 200);
    assert_int_equal(int_at(root, "released"), 17);
    json_decref(root);
    json_decref(post("/v1/queue/suspend?job=507", "", 507));
    json_decref(post("/v1/queue/resume?all=1&tenant=acme", "", 400));
    json_decref(post("/v1/queue/suspend?all=1", "", 400));
    json_decref(post("/v1/queue/suspend?tenant=", "", 400));
    json_decref(post("/v1/queue/suspend?job=seven", "", 400));
    json_decref(post("/v1/queue/suspend?status=4.7.1", "", 400));
    json_decref(post("/v1/queue/suspend", "", 400));
    root = post("/v1/sites/site.example/reset", "", 200);
    assert_int_equal(int_at(root, "paths"), 4);
    json_decref(root);
    json_decref(post("/v1/sites/nosuch.example/backoff", "", 404));
}

static void test_explain(void **state)
{
    (void)state;
    char url[128];
    json_t *root = get("/v1/explain?to=full1@a.example", 200);
    assert_string_equal(text_at(root, "answers.0.limit"), "retry");
    assert_true(json_is_true(at(root, "answers.0.waits")));
    assert_non_null(strstr(text_at(root, "answers.0.why"), "attempt 1 failed: 4.2.2 mailbox full"));
    snprintf(url, sizeof url, "/v1/explain?rid=%s", text_at(root, "answers.0.rid"));
    json_decref(root);
    root = get(url, 200);
    assert_string_equal(text_at(root, "answers.0.to"), "full1@a.example");
    json_decref(root);
    root = get("/v1/explain?to=x@later.example", 200);
    assert_string_equal(text_at(root, "answers.0.limit"), "not_before");
    json_decref(root);
    root = get("/v1/explain?domain=LATER.example", 200);
    assert_string_equal(text_at(root, "answers.0.limit"), "max_rate");
    assert_int_equal(int_at(root, "answers.0.ready"), 1);
    assert_non_null(strstr(text_at(root, "answers.0.why"), "site.example is held by max_rate until 2030-"));
    json_decref(root);
    json_decref(get("/v1/explain?to=nobody@a.example", 404));
    json_decref(get("/v1/explain?rid=1", 404));
    json_decref(get("/v1/explain?domain=nosuch.example", 404));
    json_decref(get("/v1/explain", 400));
    json_decref(get("/v1/explain?rid=1-0-0&to=a@b.example", 400));
}

static void test_recipient(void **state)
{
    (void)state;
    struct http_reply reply;
    char url[160], rid[RID_TEXT_MAX];
    snprintf(url, sizeof url, "/v1/jobs/%s/recipients?to=ok1@a.example", job);
    json_t *root = json_loads(api_rig_get(&rig, url, &reply), JSON_DISABLE_EOF_CHECK, NULL);
    snprintf(rid, sizeof rid, "%s", text_at(root, "rid"));
    json_decref(root);
    http_reply_free(&reply);
    snprintf(url, sizeof url, "/v1/recipients/%s", rid);
    root = get(url, 200);
    assert_string_equal(text_at(root, "state"), "delivered");
    assert_string_equal(text_at(root, "vars.name"), "Ada");
    assert_string_equal(text_at(root, "metadata.m"), "n");
    assert_string_equal(text_at(root, "id"), "1");
    json_decref(root);
    snprintf(url, sizeof url, "/v1/recipients/%s/message", rid);
    const char *text = api_rig_get(&rig, url, &reply);
    assert_non_null(strstr(reply.header, "Content-Type: message/rfc822"));
    assert_non_null(strstr(text, "To: ok1@a.example\r\n"));
    assert_non_null(strstr(text, "Subject: Hi Ada\r\n"));
    assert_non_null(strstr(text, "\r\n\r\n.dot\r\n"));
    http_reply_free(&reply);
    json_decref(get("/v1/recipients/1", 404));
    json_decref(get("/v1/recipients/999-0-0", 404));
    json_decref(get("/v1/recipients/999-0-0/message", 404));
}

static size_t count_events(const char *query)
{
    char url[256];
    struct http_reply reply;
    snprintf(url, sizeof url, "/v1/events%s", query);
    size_t n = count_lines(api_rig_get(&rig, url, &reply));
    http_reply_free(&reply);
    return n;
}

static void test_events(void **state)
{
    (void)state;
    struct http_reply reply;
    char query[64];
    assert_int_equal(count_events(""), 17); /* 10 accepted, 7 settled */
    assert_int_equal(count_events("?type=bounced"), 3);
    assert_int_equal(count_events("?type=bounced,deferred"), 5);
    assert_int_equal(count_events("?limit=4"), 4);
    assert_int_equal(count_events("?after=17"), 0);
    assert_int_equal(count_events("?after=10"), 7);
    snprintf(query, sizeof query, "?job=%s", job);
    assert_int_equal(count_events(query), 14);
    json_t *root =
        json_loads(api_rig_get(&rig, "/v1/events?type=bounced", &reply), JSON_DISABLE_EOF_CHECK, NULL);
    static const char *const members[] = {"seq",      "time",    "type",    "rid",    "job",   "tenant",
                                          "campaign", "id",      "to",      "domain", "site",  "source",
                                          "mx",       "attempt", "code",    "status", "reply", "tls",
                                          "delay_ms", "next",    "category"};
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        at(root, members[i]);
    assert_int_equal(json_object_size(root), sizeof members / sizeof *members);
    assert_string_equal(text_at(root, "category"), "bad-mailbox");
    assert_string_equal(text_at(root, "status"), "5.1.1");
    assert_string_equal(text_at(root, "tenant"), "acme");
    assert_string_equal(text_at(root, "mx"), "mx.site.example");
    assert_int_equal(int_at(root, "delay_ms"), 12);
    json_decref(root);
    http_reply_free(&reply);
    json_decref(get("/v1/events?type=nosuch", 400));
    json_decref(get("/v1/events?limit=0", 400));
}

/* New events come within 100 ms of their commit; the watcher's own step is half of that. */
static void test_follow_events(void **state)
{
    (void)state;
    struct http_client client;
    struct http_reply reply;
    struct buf line;
    char id[24];
    buf_init(&line, 10000);
    client_open(&client, rig.socket);
    assert_true(client_send_z(&client, "GET /v1/events?after=17&follow=1 HTTP/1.1\r\nHost: x\r\n\r\n"));
    client_read_header(&client, &reply);
    assert_int_equal(reply.status, 200);
    assert_false(client_read_line(&client, &line, 120));
    submit("", "{\"to\":\"ok9@a.example\"}\n", id);
    assert_true(client_read_line(&client, &line, 2000));
    assert_non_null(strstr(line.data, "\"type\":\"accepted\""));
    assert_true(client_read_line(&client, &line, 2000));
    assert_non_null(strstr(line.data, "\"type\":\"delivered\""));
    assert_non_null(strstr(line.data, "\"seq\":19,"));
    assert_false(client_read_line(&client, &line, 120));
    http_reply_free(&reply);
    client_close(&client);
    buf_free(&line);
}

static void test_status(void **state)
{
    (void)state;
    static const char *const members[] = {"version",  "uptime_s",  "queued",      "ready",   "in_flight",
                                          "deferred", "held",      "sessions",    "sites",   "jobs",
                                          "accepted", "delivered", "bounced",     "expired", "rate_1m",
                                          "db_bytes", "disk_free", "memory_bytes"};
    struct http_reply reply;
    json_t *root = get("/v1/status", 200);
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        at(root, members[i]);
    assert_string_equal(text_at(root, "version"), "1.2.3");
    assert_int_equal(int_at(root, "queued"), 5);
    assert_int_equal(int_at(root, "ready"), 0);
    assert_int_equal(int_at(root, "deferred"), 2);
    assert_int_equal(int_at(root, "held"), 3);
    assert_int_equal(int_at(root, "accepted"), 11);
    assert_true(int_at(root, "db_bytes") > 0 && int_at(root, "disk_free") > 0 &&
                int_at(root, "memory_bytes") > 0);
    json_decref(root);
    assert_string_equal(api_rig_get(&rig, "/healthz", &reply), "ok\n");
    http_reply_free(&reply);
    const char *text = api_rig_get(&rig, "/metrics", &reply);
    assert_non_null(strstr(text, "\npostrider_queued 5\n"));
    assert_non_null(
        strstr(text, "\n# TYPE postrider_delivered_total counter\npostrider_delivered_total 3\n"));
    assert_non_null(strstr(text, "\npostrider_path_blocked{site=\"site.example\",source=\"source1\"} 1\n"));
    http_reply_free(&reply);
}

static void test_steering(void **state)
{
    (void)state;
    char url[64];
    snprintf(url, sizeof url, "/v1/jobs/%s/pause", paused);
    json_t *root = api_rig_call(&rig, "POST", url, "", 200);
    assert_string_equal(text_at(root, "state"), "paused");
    assert_string_equal(text_at(root, "job"), paused);
    assert_true(json_is_true(at(root, "done")));
    json_decref(root);
    root = get("/v1/explain?to=y@paused.example", 200);
    assert_string_equal(text_at(root, "answers.0.limit"), "paused");
    json_decref(root);
    snprintf(url, sizeof url, "/v1/jobs/%s/resume", paused);
    root = api_rig_call(&rig, "POST", url, "", 200);
    assert_string_equal(text_at(root, "state"), "active");
    json_decref(root);
    snprintf(url, sizeof url, "/v1/jobs/%s/cancel", paused);
    root = api_rig_call(&rig, "POST", url, "", 200);
    assert_int_equal(int_at(root, "changed"), 2);
    json_decref(root);
    api_rig_wait(&rig, paused, "cancelled", 2);
    snprintf(url, sizeof url, "/v1/jobs/%s/retry", job);
    root = api_rig_call(&rig, "POST", url, "", 200);
    assert_int_equal(int_at(root, "changed"), 2);
    json_decref(root);
    json_decref(api_rig_call(&rig, "POST", "/v1/jobs/999/pause", "", 404));
    root = get("/v1/ops", 200);
    assert_true(json_is_array(at(root, "ops")));
    json_decref(root);
    json_decref(get("/v1/ops/999", 404));
}

/* A moment ago they were made due: they have to be deferred again first. Where one was not yet taken when
 * none was with a worker, it is asked once more. */
static void retry(const char *query, const char *body, json_int_t changed)
{
    char url[128];
    json_int_t got = -1;
    snprintf(url, sizeof url, "/v1/queue/retry%s", query);
    for (int i = 0; i < 30 && got != changed; i++) {
        struct store_figures figures = {.claimed = 1};
        usleep(i > 0 ? 100000 : 0);
        api_rig_wait(&rig, job, "deferred", 2);
        for (int k = 0; k < 200 && figures.claimed > 0; k++) {
            usleep(5000);
            store_figures(rig.store, &figures);
        }
        json_t *root = api_rig_call(&rig, "POST", url, body, 200);
        got = int_at(root, "changed");
        json_decref(root);
    }
    if (got != changed)
        fail_msg("%s %s: %lld changed, expected %lld", url, body, (long long)got, (long long)changed);
}

static void test_retry_by_filter(void **state)
{
    (void)state;
    retry("?status=4.2.2&domain=A.example", "", 1);
    retry("?tenant=acme", "", 2);
    retry("?tenant=nosuch", "", 0);
    retry("", "{\"status\":\"4.2.*\",\"domain\":\"c.example\"}", 1);
    retry("?site=site.example", "", 2);
    retry("", "", 2);
    json_decref(api_rig_call(&rig, "POST", "/v1/queue/retry?site=nosuch", "", 404));
    json_decref(api_rig_call(&rig, "POST", "/v1/queue/retry?staus=4", "", 400));
    json_decref(api_rig_call(&rig, "POST", "/v1/queue/retry?status=x", "", 400));
    json_decref(api_rig_call(&rig, "POST", "/v1/queue/retry", "{\"colour\":\"x\"}", 400));
    json_decref(api_rig_call(&rig, "POST", "/v1/queue/retry", "[", 400));
    json_decref(get("/v1/queue/retry", 405));
}

static unsigned lines_of(const char *url)
{
    struct http_reply reply;
    unsigned n = 0;
    for (const char *p = api_rig_get(&rig, url, &reply); (p = strchr(p, '\n')) != NULL; p++)
        n++;
    http_reply_free(&reply);
    return n;
}

static void test_mailq(void **state)
{
    (void)state;
    char url[128];
    struct http_reply reply;
    api_rig_wait(&rig, job, "deferred", 2);
    assert_int_equal(lines_of("/v1/queue/recipients"), 3);
    assert_int_equal(lines_of("/v1/queue/recipients?limit=1"), 1);
    assert_int_equal(lines_of("/v1/queue/recipients?status=4.2.*"), 2);
    assert_int_equal(lines_of("/v1/queue/recipients?status=4.2.*&domain=a.example"), 1);
    assert_int_equal(lines_of("/v1/queue/recipients?status=4.2.*&domain=b.example"), 0);
    assert_int_equal(lines_of("/v1/queue/recipients?state=ready"), 1);
    assert_int_equal(lines_of("/v1/queue/recipients?campaign=nosuch"), 0);
    assert_int_equal(lines_of("/v1/queue/recipients?age=%3C1h"), 3);
    assert_int_equal(lines_of("/v1/queue/recipients?age=%3E1h"), 0);
    snprintf(url, sizeof url, "/v1/queue/recipients?job=%s&site=site.example&tenant=acme", job);
    assert_int_equal(lines_of(url), 2);
    const char *text = api_rig_get(&rig, "/v1/queue/recipients?domain=c.example", &reply);
    assert_non_null(strstr(text, "\"to\":\"full2@c.example\""));
    assert_non_null(strstr(text, "\"status\":\"4.2.2\""));
    http_reply_free(&reply);
    json_decref(get("/v1/queue/recipients?state=bounced", 400));
    json_decref(get("/v1/queue/recipients?age=2", 400));
    json_decref(get("/v1/queue/recipients?tenant=", 400));
}

/* Who was made due by the tests above may be with the worker: asked again until it is not. */
static void test_bounce(void **state)
{
    (void)state;
    json_int_t changed = 0;
    json_decref(api_rig_call(&rig, "POST", "/v1/queue/bounce", "", 400));
    json_decref(api_rig_call(&rig, "POST", "/v1/queue/bounce", "{\"domain\":\"\"}", 400));
    for (int i = 0; i < 100 && changed == 0; i++) {
        json_t *root = api_rig_call(&rig, "POST", "/v1/queue/bounce?status=4.2.2&domain=c.example", "", 200);
        changed = int_at(root, "changed");
        json_decref(root);
        usleep(changed == 0 ? 50000 : 0);
    }
    assert_int_equal(changed, 1);
    api_rig_wait(&rig, job, "bounced", 4);
    json_t *root = api_rig_call(&rig, "POST", "/v1/queue/bounce", "{\"age\":\">1h\"}", 200);
    assert_int_equal(int_at(root, "matched"), 0);
    json_decref(root);
    root = api_rig_call(&rig, "POST", "/v1/queue/bounce", "{\"domain\":\"later.example\"}", 200);
    assert_int_equal(int_at(root, "changed"), 1);
    json_decref(root);
    api_rig_wait(&rig, later, "bounced", 1);
}

static void test_purge(void **state)
{
    (void)state;
    char url[64];
    snprintf(url, sizeof url, "/v1/jobs/%s", job);
    json_t *root = api_rig_call(&rig, "DELETE", url, "", 409);
    assert_string_equal(text_at(root, "error.code"), "not_ended");
    json_decref(root);
    snprintf(url, sizeof url, "/v1/jobs/%s", later);
    root = api_rig_call(&rig, "DELETE", url, "", 200);
    assert_string_equal(text_at(root, "job"), later);
    assert_int_equal(int_at(root, "changed"), 1);
    json_decref(root);
    json_decref(get_job(later, "", 404));
    json_decref(api_rig_call(&rig, "DELETE", url, "", 404));
}

/* What is not built is unknown. */
static void test_unknown(void **state)
{
    (void)state;
    static const char *const urls[] = {"/v1", "/v1/nothing"};
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++)
        json_decref(get(urls[i], 404));
}

static int set_up(void **state)
{
    (void)state;
    api_rig_open(&rig, "");
    submit_all();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    api_rig_close(&rig);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_jobs),
        cmocka_unit_test(test_job),
        cmocka_unit_test(test_recipients),
        cmocka_unit_test(test_bounces),
        cmocka_unit_test(test_bounces_of_a_tenant),
        cmocka_unit_test(test_queue),
        cmocka_unit_test(test_sites),
        cmocka_unit_test(test_held),
        cmocka_unit_test(test_explain),
        cmocka_unit_test(test_recipient),
        cmocka_unit_test(test_events),
        cmocka_unit_test(test_follow_events),
        cmocka_unit_test(test_status),
        cmocka_unit_test(test_steering),
        cmocka_unit_test(test_retry_by_filter),
        cmocka_unit_test(test_mailq),
        cmocka_unit_test(test_bounce),
        cmocka_unit_test(test_purge),
        cmocka_unit_test(test_unknown),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
