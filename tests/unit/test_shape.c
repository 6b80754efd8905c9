/* The shapes of webhooks, where a receiver cannot bring them about: complaints, late bounces, types of events
 * that a shape has no word for, odd metadata. */
#include "engine/report/shape.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* after those */
#include <cmocka.h>

#include <jansson.h>
#include <stdlib.h>

#define UUID "9f86b50d-5711-41c8-ab03-bc91c43d711b"

static json_t *shaped(enum config_shape shape, const struct event *event)
{
    struct buf out;
    buf_init(&out, 65536);
    bool has = shape_event(shape, event, "mta.test", &out);
    json_t *root = has ? json_loadb(out.data, out.len, 0, NULL) : NULL;
    assert_true(has == (root != NULL));
    assert_true(has || (out.len == 0 && !out.failed));
    buf_free(&out);
    return root;
}

static void expect_text(const json_t *root, const char *path, const char *text)
{
    char part[64];
    for (const char *at = path; root != NULL && *at != '\0'; at += *at == '.') {
        size_t n = strcspn(at, ".");
        snprintf(part, sizeof part, "%.*s", (int)n, at);
        root =
            json_is_array(root) ? json_array_get(root, strtoul(part, NULL, 10)) : json_object_get(root, part);
        at += n;
    }
    if (!json_is_string(root) || strcmp(json_string_value(root), text) != 0)
        fail_msg("%s is \"%s\", not \"%s\"", path, json_is_string(root) ? json_string_value(root) : "no text",
                 text);
}

static struct event complaint(void)
{
    return (struct event){.seq = 9,
                          .time_ms = 1700000000000,
                          .created_ms = 1699990000000,
                          .type = EVENT_COMPLAINED,
                          .rid = {17, 0, 42},
                          .tenant = STR("acme"),
                          .campaign = STR(UUID),
                          .from = STR("news@acme.example"),
                          .id = STR("not a uuid"),
                          .to = STR("ada@example.com"),
                          .domain = STR("example.com")};
}

static void complaints(void **state)
{
    struct event event = complaint();
    (void)state;
    json_t *root = shaped(CONFIG_SHAPE_LISTMONK, &event);
    expect_text(root, "type", "complaint");
    expect_text(root, "email", "ada@example.com");
    expect_text(root, "campaign_uuid", UUID);
    assert_null(json_object_get(root, "subscriber_uuid"));
    json_decref(root);
    root = shaped(CONFIG_SHAPE_MAILGUN, &event);
    expect_text(root, "event", "complained");
    expect_text(root, "recipient", "ada@example.com");
    assert_null(json_object_get(root, "delivery-status"));
    assert_int_equal(json_object_size(json_object_get(root, "user-variables")), 0);
    json_decref(root);
    root = shaped(CONFIG_SHAPE_SES, &event);
    expect_text(root, "notificationType", "Complaint");
    expect_text(root, "complaint.complainedRecipients.0.emailAddress", "ada@example.com");
    expect_text(root, "complaint.complaintFeedbackType", "abuse");
    expect_text(root, "complaint.timestamp", "2023-11-14T22:13:20.000Z");
    expect_text(root, "mail.timestamp", "2023-11-14T19:26:40.000Z");
    assert_true(json_is_null(json_object_get(json_object_get(root, "complaint"), "complaintSubType")));
    json_decref(root);
}

static void late_bounces(void **state)
{
    struct event event = complaint();
    (void)state;
    event.type = EVENT_BOUNCED_LATE;
    event.status = STATUS(5, 1, 1);
    event.reply = STR("no such user");
    event.metadata = STR("{\"a\":\"b\"}");
    json_t *root = shaped(CONFIG_SHAPE_LISTMONK, &event);
    expect_text(root, "type", "hard");
    json_decref(root);
    root = shaped(CONFIG_SHAPE_MAILGUN, &event);
    expect_text(root, "severity", "permanent");
    expect_text(root, "user-variables.a", "b");
    json_decref(root);
    root = shaped(CONFIG_SHAPE_SES, &event);
    expect_text(root, "bounce.bounceType", "Permanent");
    expect_text(root, "bounce.bouncedRecipients.0.diagnosticCode", "smtp; no such user");
    json_decref(root);
}

/* Each shape has exactly these. */
static void words(void **state)
{
    static const struct {
        enum config_shape shape;
        unsigned types;
    } rows[] = {
        {CONFIG_SHAPE_NATIVE, (1U << EVENT_TYPES) - 1},
        {CONFIG_SHAPE_LISTMONK,
         1U << EVENT_BOUNCED | 1U << EVENT_BOUNCED_LATE | 1U << EVENT_EXPIRED | 1U << EVENT_COMPLAINED},
        {CONFIG_SHAPE_MAILGUN,
         ((1U << EVENT_TYPES) - 1) & ~(1U << EVENT_CANCELLED | 1U << EVENT_DELAYED | 1U << EVENT_ALERT)},
        {CONFIG_SHAPE_SES, 1U << EVENT_DELIVERED | 1U << EVENT_BOUNCED | 1U << EVENT_BOUNCED_LATE |
                               1U << EVENT_EXPIRED | 1U << EVENT_COMPLAINED},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (unsigned type = 0; type < EVENT_TYPES; type++) {
            struct event event = complaint();
            event.type = (enum event_type)type;
            json_t *root = shaped(rows[i].shape, &event);
            assert_int_equal(root != NULL, (rows[i].types >> type) & 1);
            json_decref(root);
        }
    }
}

static json_t *body(const struct config_consumer *consumer, uint64_t seq, int64_t now_ms)
{
    struct buf out;
    struct str event = STR("{\"x\":\"\\u0001\"}");
    struct shape_context context = {consumer, STR("key"), now_ms};
    buf_init(&out, 65536);
    assert_true(shape_body(&context, seq, &event, 1, &out));
    json_t *root = json_loadb(out.data, out.len, 0, NULL);
    assert_non_null(root);
    buf_free(&out);
    return root;
}

/* What tells repeats apart is the same for the same event, at any time, and another for every other. */
static void names_for_repeats(void **state)
{
    static const struct {
        enum config_shape shape;
        const char *object, *name;
    } rows[] = {{CONFIG_SHAPE_MAILGUN, "signature", "token"}, {CONFIG_SHAPE_SES, NULL, "MessageId"}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct config_consumer one = {.name = "one", .shape = rows[i].shape};
        struct config_consumer two = {.name = "two", .shape = rows[i].shape};
        json_t *list[] = {body(&one, 5, 1700000000000), body(&one, 5, 1700000099000),
                          body(&one, 6, 1700000000000), body(&two, 5, 1700000000000)};
        const char *names[4];
        for (size_t n = 0; n < 4; n++) {
            json_t *at = rows[i].object != NULL ? json_object_get(list[n], rows[i].object) : list[n];
            names[n] = json_string_value(json_object_get(at, rows[i].name));
            assert_non_null(names[n]);
        }
        assert_string_equal(names[0], names[1]);
        assert_string_not_equal(names[0], names[2]);
        assert_string_not_equal(names[0], names[3]);
        for (size_t n = 0; n < 4; n++)
            json_decref(list[n]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(complaints),
        cmocka_unit_test(late_bounces),
        cmocka_unit_test(words),
        cmocka_unit_test(names_for_repeats),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
