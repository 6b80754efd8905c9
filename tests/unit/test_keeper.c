/* test_keeper.c - the keeper of MTA-STS policies: how long one holds that was known before the start. */
#include "engine/sts/keeper.h"

#include "engine/base/clock.h"
#include "engine/base/codec.h"
#include "queue/edit.h"
#include "tests/unit/api_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define POLICY  "version: STSv1\r\nmode: enforce\r\nmax_age: 60\r\nmx: mx.a.example\r\n"
#define SOON_MS 1000

static struct api_rig rig;
static struct inbox *inbox;
static struct sts_keeper *keeper;

/* As the keeper writes it down. */
static void add_row(struct edits *edits, const char *domain, int64_t expires_ms)
{
    struct buf row;
    buf_init(&row, POLICY_VALUE_MAX);
    buf_add_char(&row, 1);
    buf_add_varint(&row, (uint64_t)(expires_ms - 60 * MS_PER_S));
    buf_add_varint(&row, (uint64_t)expires_ms);
    buf_add_field(&row, STR("7"));
    buf_add_field(&row, STR(POLICY));
    assert_true(edits_policy(edits, POLICY_STS, str_of(domain), buf_str(&row)));
    buf_free(&row);
}

static void on_saved(enum edit_result result, unsigned count, void *user)
{
    assert_int_equal(result, EDIT_OK);
    (void)count;
    atomic_store((_Atomic bool *)user, true);
}

static void wait_saved(const _Atomic bool *saved)
{
    for (int i = 0; i < 10000 && !atomic_load(saved); i++)
        usleep(1000);
    assert_true(atomic_load(saved));
}

/* Whether its policy holds, where its record is gone and its server too. */
static bool holds(const char *domain)
{
    struct sts_request request = {.back = inbox, .kind = 1};
    struct inbox_node *node = NULL;
    snprintf(request.domain, sizeof request.domain, "%s", domain);
    sts_keeper_ask(keeper, &request);
    for (int i = 0; i < 10000 && (node = inbox_take(inbox)) == NULL; i++)
        usleep(1000);
    assert_ptr_equal(node, &request.node);
    bool held = request.policy != NULL;
    if (held)
        assert_string_equal(request.policy, POLICY);
    free(request.policy);
    return held;
}

static void test_a_policy_holds_until_it_expires(void **state)
{
    (void)state;
    static const struct fetch_settings settings = {.timeout_ms = 1000, .ca_file = "", .port = 443};
    static _Atomic bool saved;
    int64_t now_ms = clock_now().wall_ms;
    struct edits *edits = edits_create();
    struct err err;
    api_rig_open(&rig, "");
    add_row(edits, "long.example", now_ms + 3600 * MS_PER_S);
    add_row(edits, "over.example", now_ms - 1);
    add_row(edits, "soon.example", now_ms + SOON_MS);
    store_edit(rig.store, edits, on_saved, (void *)&saved);
    wait_saved(&saved);
    inbox = inbox_create(&err);
    keeper = sts_keeper_start(rig.store, NULL, &settings, &err);
    assert_true(inbox != NULL && keeper != NULL);
    assert_true(holds("long.example"));
    assert_false(holds("over.example"));
    assert_false(holds("none.example"));
    while (clock_now().wall_ms < now_ms + SOON_MS)
        usleep(10000);
    assert_false(holds("soon.example"));
    assert_true(holds("long.example"));
    sts_keeper_stop(keeper);
    inbox_destroy(inbox);
    api_rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_policy_holds_until_it_expires),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
