/* test_inbox.c - four producers, one consumer that sleeps: nothing lost, each producer's order kept. */
#include "engine/base/inbox.h"

#include "engine/base/clock.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>
/* cmocka wants the above */
#include <cmocka.h>

enum { PRODUCERS = 4, EACH = 20000 };

struct message {
    struct inbox_node node;
    int from, number;
};

struct producer {
    struct inbox *inbox;
    struct message *messages;
    int id;
};

static void *producer_main(void *arg)
{
    struct producer *producer = arg;
    usleep(20000); /* so that the consumer does fall asleep, at least once */
    for (int i = 0; i < EACH; i++) {
        struct message *message = &producer->messages[i];
        *message = (struct message){.node.kind = 7, .from = producer->id, .number = i};
        inbox_post(producer->inbox, &message->node);
        if (i % 1000 == 999)
            usleep(500);
    }
    return NULL;
}

static struct inbox *inbox_make(void)
{
    struct err err;
    struct inbox *inbox = inbox_create(&err);
    if (inbox == NULL)
        fail_msg("%s", err.text);
    return inbox;
}

static void test_producers(void **state)
{
    (void)state;
    struct inbox *inbox = inbox_make();
    struct producer producers[PRODUCERS];
    pthread_t threads[PRODUCERS];
    for (int i = 0; i < PRODUCERS; i++) {
        producers[i] = (struct producer){inbox, calloc(EACH, sizeof(struct message)), i};
        assert_int_equal(pthread_create(&threads[i], NULL, producer_main, &producers[i]), 0);
    }
    int next[PRODUCERS] = {0}, total = 0, sleeps = 0, missed = 0;
    int64_t until = clock_now().mono_ns + 30 * NS_PER_S;
    while (total < PRODUCERS * EACH && clock_now().mono_ns < until) {
        for (struct inbox_node *node = inbox_take(inbox); node != NULL; node = node->next) {
            struct message *message = (struct message *)node;
            assert_int_equal(message->node.kind, 7);
            assert_int_equal(message->number, next[message->from]++);
            total++;
        }
        if (total == PRODUCERS * EACH || !inbox_sleep(inbox))
            continue;
        struct pollfd fd = {.fd = inbox_fd(inbox), .events = POLLIN};
        missed += poll(&fd, 1, 5000) == 0; /* nobody is silent that long */
        inbox_wake(inbox);
        sleeps++;
    }
    assert_int_equal(total, PRODUCERS * EACH);
    assert_int_equal(missed, 0);
    assert_true(sleeps > 0);
    for (int i = 0; i < PRODUCERS; i++) {
        pthread_join(threads[i], NULL);
        free(producers[i].messages);
    }
    assert_null(inbox_take(inbox));
    inbox_destroy(inbox);
}

static bool readable(const struct inbox *inbox)
{
    struct pollfd fd = {.fd = inbox_fd(inbox), .events = POLLIN};
    return poll(&fd, 1, 0) == 1;
}

static void test_protocol(void **state)
{
    (void)state;
    struct inbox *inbox = inbox_make();
    struct inbox_node a = {.kind = 1}, b = {.kind = 2};
    assert_null(inbox_take(inbox));
    inbox_post(inbox, &a);
    assert_false(readable(inbox)); /* awake: no system call */
    assert_false(inbox_sleep(inbox));
    inbox_post(inbox, &b);
    assert_false(readable(inbox)); /* a sleep refused is no sleep */
    struct inbox_node *list = inbox_take(inbox);
    assert_ptr_equal(list, &a);
    assert_ptr_equal(list->next, &b);
    assert_null(b.next);
    assert_true(inbox_sleep(inbox));
    inbox_wake(inbox); /* nobody posted */
    assert_true(inbox_sleep(inbox));
    inbox_post(inbox, &a);
    inbox_post(inbox, &b);
    assert_true(readable(inbox));
    inbox_wake(inbox);
    assert_false(readable(inbox));
    assert_ptr_equal(inbox_take(inbox), &a);
    inbox_destroy(inbox);
    inbox_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_protocol),
        cmocka_unit_test(test_producers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
