/* test_loan.c - what the workers of a loan tell one another (loan.h). */
/* First: it sets uthash up its own way, which nothing here depends on. */
#include "queue/store_internal.h"

#include "engine/route/handover.h"
#include "engine/route/lane_held.h"
#include "engine/route/loan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* after those */
#include <cmocka.h>

#include <stdlib.h>

#define LOANS 3 /* of each to the other */
#define JOB   17

static unsigned hear_all(struct router *router)
{
    unsigned n = 0;
    struct inbox_node *node = inbox_take(router->inboxes[router->index]);
    for (struct inbox_node *next; node != NULL; node = next, n++) {
        next = node->next;
        assert_int_equal(node->kind, HANDOVER_LOAN_DROP);
        loan_hear(router, node);
        free(node);
    }
    return n;
}

/* Two workers lend to each other. Each loan's borrower hears once that a job is over, and tells nobody. */
static void a_job_that_is_dropped(void **state)
{
    struct err err;
    struct inbox *inboxes[2] = {inbox_create(&err), inbox_create(&err)};
    struct router *routers[2];
    struct loan loans[2][LOANS] = {0};
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        assert_non_null(inboxes[i]);
        routers[i] = calloc(1, sizeof *routers[i]);
        assert_non_null(routers[i]);
        routers[i]->index = i;
        routers[i]->inboxes = inboxes;
        for (unsigned n = 0; n < LOANS; n++) {
            loans[i][n] = (struct loan){.owner = i, .borrower = 1 - i, .next = routers[i]->loans};
            atomic_init(&loans[i][n].refs, 1);
            routers[i]->loans = &loans[i][n];
        }
    }
    for (unsigned i = 0; i < 2; i++) { /* the store tells both */
        lane_drop_job(routers[i], JOB);
        assert_int_equal(hear_all(routers[1 - i]), LOANS);
    }
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(hear_all(routers[i]), 0);
        for (unsigned n = 0; n < LOANS; n++)
            assert_int_equal(atomic_load(&loans[i][n].refs), 1);
        free(routers[i]);
    }
    for (unsigned i = 0; i < 2; i++)
        inbox_destroy(inboxes[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_job_that_is_dropped)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
