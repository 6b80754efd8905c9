/* Which recipient a notice means, what is decided, and what is written down of it. */
#include "engine/inbound/inbound.h"
#include "tests/unit/store_world.h"

#define TENANT "acme"

/* A store with a job of three delivered recipients, user0@d0.example to user2@d0.example, whose return paths
 * are bounce-RID@news.example; then what tests read. */
struct desk {
    struct world w;
    struct inbound *inbound;
    uint64_t job;
    char text[4096];
    struct inbound_result result;
    bool read, trusted;
};

static struct job_spec verp_spec(const char *content)
{
    struct job_spec spec = world_spec(content);
    spec.from = STR("bounce-{{rid}}@news.example");
    spec.tenant = STR(TENANT);
    return spec;
}

static int desk_make(void **state)
{
    struct desk *desk = calloc(1, sizeof *desk);
    struct job_spec spec = verp_spec("hello");
    assert_non_null(desk);
    world_make(&desk->w, NULL);
    desk->inbound = inbound_create(desk->w.store);
    assert_non_null(desk->inbound);
    spec.envid = STR("order-1");
    desk->job = world_job(&desk->w, &spec, 3, 1);
    world_run(&desk->w);
    assert_int_equal(world_settle(&desk->w, OUTCOME_DELIVERED), 3);
    *state = desk;
    return 0;
}

static int desk_end(void **state)
{
    struct desk *desk = *state;
    if (desk->read)
        inbound_result_free(&desk->result);
    inbound_destroy(desk->inbound);
    world_close(&desk->w);
    world_end(&desk->w);
    free(desk);
    return 0;
}

/* The address of a return path of the job, or of another kind. */
static const char *path_of(const struct desk *desk, unsigned slot, const char *format)
{
    static char path[100];
    char rid[RID_TEXT_MAX];
    rid_format((struct rid){desk->job, 0, (uint16_t)slot}, rid);
    snprintf(path, sizeof path, format, rid);
    return path;
}

static const struct inbound_finding *read_text(struct desk *desk, const char *to, size_t n)
{
    struct inbound_input input = {.message = str_make(desk->text, n),
                                  .envelope_rcpt = str_of(to),
                                  .tenant = STR(""),
                                  .trusted = desk->trusted};
    if (desk->read)
        inbound_result_free(&desk->result);
    desk->read = true;
    assert_true(inbound_read(desk->inbound, &input, &desk->result));
    assert_int_equal(desk->result.notice.rcpt_count, 1);
    return &desk->result.findings[0];
}

/* Reads a report that came to `to` and says of `address` what `fields` hold, and that returns `header`. */
static const struct inbound_finding *read_report(struct desk *desk, const char *to, const char *address,
                                                 const char *fields, const char *header)
{
    int n = snprintf(desk->text, sizeof desk->text,
                     "From: mailer-daemon@mx.example\nContent-Type: multipart/report; boundary=b\n\n"
                     "--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example\n\n"
                     "Final-Recipient: rfc822; %s\n%s\n--b\nContent-Type: text/rfc822-headers\n\n%s\n--b--\n",
                     address, fields, header);
    return read_text(desk, to, (size_t)n);
}

#define GONE "Action: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 5.1.1 no such user\n"

static const struct inbound_finding *read_gone(struct desk *desk, const char *to, const char *address,
                                               const char *header)
{
    return read_report(desk, to, address, GONE, header);
}

/* Reads a complaint that names `address` (or nobody) and returns `header`. */
static const struct inbound_finding *read_complaint(struct desk *desk, const char *address,
                                                    const char *header)
{
    int n =
        snprintf(desk->text, sizeof desk->text,
                 "From: fbl@mx.example\nTo: fbl@news.example\nContent-Type: multipart/report; boundary=b\n\n"
                 "--b\nContent-Type: message/feedback-report\n\nFeedback-Type: abuse\n%s%s%s"
                 "\n--b\nContent-Type: message/rfc822\n\n%s\n\nbody\n--b--\n",
                 address[0] ? "Original-Rcpt-To: <" : "", address, address[0] ? ">\n" : "", header);
    return read_text(desk, "", (size_t)n);
}

static void is(const struct inbound_finding *finding, enum inbound_action action,
               enum inbound_agreement agreement)
{
    assert_string_equal(inbound_action_name(finding->action), inbound_action_name(action));
    assert_string_equal(inbound_agreement_name(finding->agreement), inbound_agreement_name(agreement));
}

#define VERP "bounce-%s@news.example"

static void by_return_path(void **state)
{
    struct desk *desk = *state;
    const char *to = path_of(desk, 1, VERP);
    const struct inbound_finding *finding = read_gone(desk, to, "user1@d0.example", "");
    is(finding, ACTION_SUPPRESS, AGREEMENT_EXACT);
    assert_string_equal(finding->to, "user1@d0.example");
    assert_string_equal(finding->tenant, TENANT);
    assert_int_equal(finding->rid.slot, 1);
    is(read_gone(desk, to, "USER1@D0.Example", ""), ACTION_SUPPRESS, AGREEMENT_EXACT);
    is(read_gone(desk, to, "alias@d0.example", ""), ACTION_EVENT, AGREEMENT_DOMAIN);
    is(read_gone(desk, to, "alias@d0.example", "To: user1@d0.example"), ACTION_SUPPRESS, AGREEMENT_EXACT);
    is(read_gone(desk, to, "user1@else.example", ""), ACTION_MISMATCH, AGREEMENT_MISMATCH);
    is(read_gone(desk, to, "", ""), ACTION_EVENT, AGREEMENT_UNNAMED);
    is(read_gone(desk, path_of(desk, 1, "BOUNCE-%s@News.Example"), "user1@d0.example", ""), ACTION_SUPPRESS,
       AGREEMENT_EXACT);
    /* What only resembles one is none, and nobody is at the slot behind the last. */
    is(read_gone(desk, path_of(desk, 1, "other-%s@news.example"), "user1@d0.example", ""), ACTION_UNMATCHED,
       AGREEMENT_NONE);
    is(read_gone(desk, path_of(desk, 1, "bounce-2-%s@news.example"), "user1@d0.example", ""),
       ACTION_UNMATCHED, AGREEMENT_NONE);
    is(read_gone(desk, path_of(desk, 3, VERP), "user1@d0.example", ""), ACTION_UNMATCHED, AGREEMENT_NONE);
    is(read_gone(desk, "bounce-99-0-0@news.example", "user1@d0.example", ""), ACTION_UNMATCHED,
       AGREEMENT_NONE);
}

static void by_what_is_returned(void **state)
{
    struct desk *desk = *state;
    const char *address = "user2@d0.example", *to = "someone@news.example";
    char header[200];
    snprintf(header, sizeof header, "%s", path_of(desk, 2, "Message-ID: <%s@news.example>"));
    is(read_gone(desk, to, address, header), ACTION_SUPPRESS, AGREEMENT_EXACT);
    is(read_gone(desk, to, "alias@d0.example", header), ACTION_EVENT, AGREEMENT_DOMAIN);
    /* In any field, with the address; a number in one proves nothing alone. */
    snprintf(header, sizeof header, "%s", path_of(desk, 2, "X-Campaign: autumn/%s"));
    is(read_gone(desk, to, address, header), ACTION_SUPPRESS, AGREEMENT_EXACT);
    is(read_gone(desk, to, "alias@d0.example", header), ACTION_MISMATCH, AGREEMENT_MISMATCH);
    is(read_gone(desk, to, "", header), ACTION_MISMATCH, AGREEMENT_MISMATCH);
    /* Two recipients are named by their numbers: the one whose address it is. */
    snprintf(header, sizeof header, "%s\n", path_of(desk, 0, "Message-ID: <%s@news.example>"));
    is(read_gone(desk, path_of(desk, 2, VERP), address, header), ACTION_SUPPRESS, AGREEMENT_EXACT);
    assert_int_equal(desk->result.findings[0].rid.slot, 2);
}

static void by_envelope_id(void **state)
{
    struct desk *desk = *state;
    const char *fields = GONE "\nOriginal-Envelope-Id: order-1\n";
    is(read_report(desk, "x@news.example", "user2@d0.example", fields, ""), ACTION_SUPPRESS, AGREEMENT_EXACT);
    is(read_report(desk, "x@news.example", "nobody@d0.example", fields, ""), ACTION_UNMATCHED,
       AGREEMENT_NONE);
    is(read_report(desk, "x@news.example", "user2@d0.example", GONE "\nOriginal-Envelope-Id: order-2\n", ""),
       ACTION_UNMATCHED, AGREEMENT_NONE);
}

static void complaints(void **state)
{
    struct desk *desk = *state;
    char header[200];
    snprintf(header, sizeof header, "%s", path_of(desk, 0, "Message-ID: <%s@news.example>"));
    is(read_complaint(desk, "user0@d0.example", header), ACTION_SUPPRESS, AGREEMENT_EXACT);
    for (int trusted = 0; trusted < 2; trusted++) {
        enum inbound_action action = trusted ? ACTION_SUPPRESS : ACTION_EVENT;
        desk->trusted = trusted;
        is(read_complaint(desk, "9f8e7d@d0.example", header), action, AGREEMENT_DOMAIN);
        is(read_complaint(desk, "redacted@d0.example", header), action, AGREEMENT_UNNAMED);
        is(read_complaint(desk, "", header), action, AGREEMENT_UNNAMED);
        is(read_gone(desk, path_of(desk, 1, VERP), "alias@d0.example", ""), action, AGREEMENT_DOMAIN);
    }
    is(read_complaint(desk, "user0@else.example", header), ACTION_MISMATCH, AGREEMENT_MISMATCH);
    snprintf(header, sizeof header, "%s", path_of(desk, 0, "X-Number: %s"));
    is(read_complaint(desk, "", header), ACTION_MISMATCH, AGREEMENT_MISMATCH);
    is(read_complaint(desk, "user0@d0.example", "Message-ID: <else@news.example>"), ACTION_UNMATCHED,
       AGREEMENT_NONE);
}

static void states(void **state)
{
    struct desk *desk = *state;
    struct job_spec spec = verp_spec("second");
    char header[200];
    desk->job = world_job(&desk->w, &spec, 1, 1);
    is(read_gone(desk, path_of(desk, 0, VERP), "user0@d0.example", ""), ACTION_QUEUED, AGREEMENT_EXACT);
    assert_false(desk->result.under_way);
    world_run(&desk->w);
    is(read_gone(desk, path_of(desk, 0, VERP), "user0@d0.example", ""), ACTION_UNDER_WAY, AGREEMENT_EXACT);
    assert_true(desk->result.under_way);
    /* Nobody has the numbers behind the last, whatever stands there. */
    for (unsigned slot = BATCH_SLOTS_MAX; slot <= UINT16_MAX; slot++)
        assert_false(store_is_claimed(desk->w.store, (struct rid){desk->job, 0, (uint16_t)slot}));
    is(read_gone(desk, path_of(desk, UINT16_MAX, VERP), "user0@d0.example", ""), ACTION_UNMATCHED,
       AGREEMENT_NONE);
    world_settle(&desk->w, OUTCOME_DEFERRED);
    is(read_gone(desk, path_of(desk, 0, VERP), "user0@d0.example", ""), ACTION_QUEUED, AGREEMENT_EXACT);
    snprintf(header, sizeof header, "%s", path_of(desk, 0, "Message-ID: <%s@news.example>"));
    is(read_complaint(desk, "user0@d0.example", header), ACTION_SUPPRESS, AGREEMENT_EXACT);
    world_pass(&desk->w, 120000);
    world_settle(&desk->w, OUTCOME_BOUNCED);
    is(read_gone(desk, path_of(desk, 0, VERP), "user0@d0.example", ""), ACTION_ENDED, AGREEMENT_EXACT);
}

static void settle_unwritten(struct desk *desk)
{
    for (struct taken *taken = desk->w.taken; taken != NULL; taken = taken->next)
        world_outcome(&desk->w, taken, OUTCOME_DELIVERED);
    store_settle(desk->w.store, desk->w.taken);
    desk->w.taken = NULL;
    desk->w.taken_n = 0;
}

/* It is back before the delivery is in the tables. */
static void too_early(void **state)
{
    struct desk *desk = *state;
    struct job_spec spec = verp_spec("third");
    struct inbound_figures figures;
    spec.envid = STR("order-3");
    desk->job = world_job(&desk->w, &spec, 1, 1);
    world_run(&desk->w);
    const char *by_envid = GONE "\nOriginal-Envelope-Id: order-3\n", *to = "user0@d0.example";
    is(read_complaint(desk, to, path_of(desk, 0, "Message-ID: <%s@news.example>")), ACTION_SUPPRESS,
       AGREEMENT_EXACT);
    for (int settled = 0; settled < 2; settled++) {
        is(read_gone(desk, path_of(desk, 0, VERP), to, ""), ACTION_UNDER_WAY, AGREEMENT_EXACT);
        is(read_report(desk, "x@news.example", to, by_envid, ""), ACTION_UNDER_WAY, AGREEMENT_EXACT);
        /* What says nothing about it does not wait. */
        is(read_gone(desk, path_of(desk, 0, VERP), "user0@else.example", ""), ACTION_MISMATCH,
           AGREEMENT_MISMATCH);
        assert_false(desk->result.under_way);
        if (!settled)
            settle_unwritten(desk);
    }
    read_gone(desk, path_of(desk, 0, VERP), to, "");
    inbound_put_off(desk->inbound, &desk->result);
    inbound_figures(desk->inbound, &figures);
    assert_int_equal(figures.actions[ACTION_UNDER_WAY], 1);
    world_run(&desk->w);
    world_pass(&desk->w, COMMIT_LINGER_MS);
    is(read_gone(desk, path_of(desk, 0, VERP), to, ""), ACTION_SUPPRESS, AGREEMENT_EXACT);
    assert_false(desk->result.under_way);
    is(read_report(desk, "x@news.example", to, by_envid, ""), ACTION_SUPPRESS, AGREEMENT_EXACT);
}

/* Of a small job that is on its way into the tables. */
static void too_early_for_its_job(void **state)
{
    struct desk *desk = *state;
    struct job_spec spec = verp_spec("fourth");
    const char *to = "user0@d0.example";
    world_close(&desk->w);
    desk->w.settings.hold_ms = 5000;
    world_open(&desk->w);
    inbound_destroy(desk->inbound);
    desk->inbound = inbound_create(desk->w.store);
    assert_non_null(desk->inbound);
    desk->job = world_job(&desk->w, &spec, 2, 1);
    world_run(&desk->w);
    assert_int_equal(atomic_load(&desk->w.store->fresh.jobs), 1);
    settle_unwritten(desk);
    is(read_gone(desk, path_of(desk, 0, VERP), to, ""), ACTION_SUPPRESS, AGREEMENT_EXACT);
    /* The writer gets nowhere: whatever lands is not in the tables. The number of this one was given. */
    struct admit *other = world_begin(&desk->w, &spec);
    char elsewhere[100];
    snprintf(elsewhere, sizeof elsewhere, "bounce-%llu-0-0@news.example",
             (unsigned long long)admit_job(other));
    admit_free(other);
    atomic_fetch_add(&desk->w.store->fresh.landed_seq, 1);
    is(read_gone(desk, elsewhere, to, ""), ACTION_UNDER_WAY, AGREEMENT_NONE);
    is(read_gone(desk, "bounce-999-0-0@news.example", to, ""), ACTION_UNMATCHED, AGREEMENT_NONE);
    is(read_report(desk, "x@news.example", to, GONE "\nOriginal-Envelope-Id: order-9\n", ""),
       ACTION_UNDER_WAY, AGREEMENT_NONE);
    is(read_gone(desk, "x@news.example", to, ""), ACTION_UNMATCHED, AGREEMENT_NONE);
    is(read_gone(desk, path_of(desk, 1, VERP), "user1@d0.example", ""), ACTION_SUPPRESS, AGREEMENT_EXACT);
    atomic_fetch_sub(&desk->w.store->fresh.landed_seq, 1);
    is(read_gone(desk, elsewhere, to, ""), ACTION_UNMATCHED, AGREEMENT_NONE);
}

/* ---- written down ---- */

struct answer {
    unsigned calls;
    enum edit_result result;
};

static void on_done(enum edit_result result, unsigned changed, void *user)
{
    struct answer *answer = user;
    (void)changed;
    answer->calls++;
    answer->result = result;
}

static void post(struct desk *desk)
{
    struct answer answer = {0};
    assert_true(inbound_post(desk->inbound, &desk->result, desk->w.now, on_done, &answer));
    for (unsigned i = 0; i < 10 && answer.calls == 0; i++)
        store_write_step(desk->w.store, desk->w.now);
    assert_int_equal(answer.calls, 1);
    assert_int_equal(answer.result, EDIT_OK);
}

static bool see_late(const struct event *event, void *user)
{
    char *text = user;
    size_t at = strlen(text);
    if (event->type == EVENT_BOUNCED_LATE || event->type == EVENT_COMPLAINED)
        snprintf(text + at, 512 - at, "%s %.*s %u %.*s; ", event_type_name(event->type), STR_ARG(event->to),
                 event->code, STR_ARG(event->reply));
    return true;
}

static void suppressed_as(struct desk *desk, const char *tenant, const char *address, const char *source)
{
    struct suppression info;
    struct buf memory;
    buf_init(&memory, 4096);
    bool found = query_suppressed(desk->w.store, str_of(tenant), str_of(address), &info, &memory);
    assert_int_equal(found, source != NULL);
    if (source != NULL) {
        assert_true(str_eq(info.source, str_of(source)));
        assert_int_equal(info.added_ms, desk->w.now.wall_ms);
    }
    buf_free(&memory);
}

static void written(void **state)
{
    struct desk *desk = *state;
    char header[200], seen[512] = "";
    uint64_t before = store_event_seq(desk->w.store);
    struct inbound_figures figures;
    read_gone(desk, path_of(desk, 0, VERP), "user0@d0.example", "");
    post(desk);
    read_report(desk, path_of(desk, 1, VERP), "user1@d0.example",
                "Action: failed\nStatus: 5.2.2\nDiagnostic-Code: smtp; 552 5.2.2 full\n", "");
    post(desk);
    snprintf(header, sizeof header, "%s", path_of(desk, 2, "Message-ID: <%s@news.example>"));
    read_complaint(desk, "user2@d0.example", header);
    post(desk);
    read_gone(desk, path_of(desk, 2, VERP), "user2@else.example", "");
    post(desk);
    read_report(desk, path_of(desk, 1, VERP), "user1@d0.example", "Action: delayed\nStatus: 4.4.1\n", "");
    post(desk);
    query_events(desk->w.store, before, see_late, seen);
    assert_string_equal(seen, "bounced user0@d0.example 550 550 5.1.1 no such user; "
                              "bounced user1@d0.example 552 552 5.2.2 full; "
                              "complained user2@d0.example 0 abuse; ");
    suppressed_as(desk, TENANT, "user0@d0.example", "bounce");
    suppressed_as(desk, TENANT, "user1@d0.example", NULL);
    suppressed_as(desk, TENANT, "user2@d0.example", "complaint");
    suppressed_as(desk, "other", "user0@d0.example", NULL);
    inbound_figures(desk->inbound, &figures);
    assert_int_equal(figures.notices[NOTICE_BOUNCE], 3);
    assert_int_equal(figures.notices[NOTICE_COMPLAINT], 1);
    assert_int_equal(figures.notices[NOTICE_DELAY], 1);
    assert_int_equal(figures.actions[ACTION_SUPPRESS], 2);
    assert_int_equal(figures.actions[ACTION_EVENT], 1);
    assert_int_equal(figures.actions[ACTION_MISMATCH], 1);
    assert_int_equal(figures.actions[ACTION_IGNORED], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(by_return_path, desk_make, desk_end),
        cmocka_unit_test_setup_teardown(by_what_is_returned, desk_make, desk_end),
        cmocka_unit_test_setup_teardown(by_envelope_id, desk_make, desk_end),
        cmocka_unit_test_setup_teardown(complaints, desk_make, desk_end),
        cmocka_unit_test_setup_teardown(states, desk_make, desk_end),
        cmocka_unit_test_setup_teardown(too_early, desk_make, desk_end),
        cmocka_unit_test_setup_teardown(too_early_for_its_job, desk_make, desk_end),
        cmocka_unit_test_setup_teardown(written, desk_make, desk_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
