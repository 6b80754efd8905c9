/* test_users.c - files of users, good and bad, and who is let in. */
#include "engine/submission/users.h"
#include "tests/unit/temporary.h"

#include <crypt.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static char path[TEMPORARY_PATH];
static const struct now test_now = {1000, 1000};

static void write_file(const char *text)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static int setup(void **state)
{
    int fd = temporary_file(path);
    (void)state;
    return fd < 0 || close(fd) != 0;
}

static int teardown(void **state)
{
    (void)state;
    return unlink(path);
}

/* A cheap hash, for the test's time. */
static const char *hash_of(const char *password)
{
    static struct crypt_data data;
    return crypt_rn(password, "$6$rounds=1000$saltsalt$", &data, sizeof data);
}

static enum login_result log_in(struct users *users, const char *user, const char *password,
                                char tenant[NAME_MAX_BYTES + 1])
{
    struct dialogue_login login;
    snprintf(login.user, sizeof login.user, "%s", user);
    snprintf(login.password, sizeof login.password, "%s", password);
    return users_verify(users, &login, test_now, tenant);
}

static void test_files(void **state)
{
    (void)state;
    static const struct {
        const char *text, *reason;
    } cases[] = {
        {"ada\n", ":1: expected NAME:HASH"},
        {":x\n", ":1: expected NAME:HASH"},
        {"# ada\n\nada:secret\n", ":3: the password of 'ada' is not hashed"},
        {"ada:\n", ":1: the password of 'ada' is not hashed"},
        {"ada:*\n", ":1: the password of 'ada' is not hashed"},
        {"ada:$6$saltsalt$x\nada:$6$saltsalt$x\n", ":2: the user 'ada' stands there twice"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err err;
        write_file(cases[i].text);
        assert_null(users_create(path, &err));
        assert_non_null(strstr(err.text, cases[i].reason));
    }
    struct err err;
    assert_null(users_create("/nonexistent/users", &err));
    assert_non_null(strstr(err.text, "cannot read the users in /nonexistent/users"));
}

static void test_logins(void **state)
{
    char text[1000], tenant[NAME_MAX_BYTES + 1];
    struct err err;
    (void)state;
    snprintf(text, sizeof text, "# users\nada:%s:acme\r\n", hash_of("secret"));
    write_file(text);
    struct users *users = users_create(path, &err);
    assert_non_null(users);
    for (unsigned i = 0; i < 2; i++) { /* the second time from memory */
        assert_int_equal(log_in(users, "ada", "secret", tenant), LOGIN_GOOD);
        assert_string_equal(tenant, "acme");
        assert_int_equal(log_in(users, "ada", "Secret", tenant), LOGIN_WRONG);
        assert_int_equal(log_in(users, "ada", "", tenant), LOGIN_WRONG);
        assert_int_equal(log_in(users, "bob", "secret", tenant), LOGIN_WRONG);
        assert_int_equal(log_in(users, "", "", tenant), LOGIN_WRONG);
    }
    /* Changed: ada has another password, bob is new. */
    int n = snprintf(text, sizeof text, "ada:%s\n", hash_of("other"));
    snprintf(text + n, sizeof text - (size_t)n, "bob:%s\n", hash_of("secret"));
    write_file(text);
    assert_int_equal(log_in(users, "ada", "secret", tenant), LOGIN_WRONG);
    assert_int_equal(log_in(users, "ada", "other", tenant), LOGIN_GOOD);
    assert_string_equal(tenant, "");
    assert_int_equal(log_in(users, "bob", "secret", tenant), LOGIN_GOOD);
    /* Broken: nobody can tell, until it is right again. */
    write_file("rubbish");
    assert_int_equal(log_in(users, "bob", "secret", tenant), LOGIN_FAILED);
    assert_int_equal(log_in(users, "bob", "secret", tenant), LOGIN_FAILED);
    write_file(text);
    assert_int_equal(log_in(users, "bob", "secret", tenant), LOGIN_GOOD);
    write_file("");
    assert_int_equal(log_in(users, "bob", "secret", tenant), LOGIN_WRONG);
    users_destroy(users);
}

/* How much of this thread's time a wrong login takes. */
static double cost_of(struct users *users, const char *user)
{
    char tenant[NAME_MAX_BYTES + 1];
    struct timespec before, after;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
    assert_int_equal(log_in(users, user, "guess", tenant), LOGIN_WRONG);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
    return (double)(after.tv_sec - before.tv_sec) + (double)(after.tv_nsec - before.tv_nsec) / 1e9;
}

/* A cheap hash and a dear one: names that nobody has cost like the one or the other, and always alike. */
static void test_unknown_users_cost_like_known_ones(void **state)
{
    static struct crypt_data data;
    char text[1000], name[20];
    struct err err;
    unsigned dear = 0;
    (void)state;
    int n = snprintf(text, sizeof text, "ada:%s\n", hash_of("x"));
    snprintf(text + n, sizeof text - (size_t)n, "bob:%s\n",
             crypt_rn("x", "$6$rounds=100000$saltsalt$", &data, sizeof data));
    write_file(text);
    struct users *users = users_create(path, &err);
    assert_non_null(users);
    double cheap_s = cost_of(users, "ada"), dear_s = cost_of(users, "bob"),
           between_s = (cheap_s + dear_s) / 2;
    assert_true(dear_s > 10 * cheap_s);
    for (unsigned i = 0; i < 30; i++) {
        snprintf(name, sizeof name, "nobody%u", i);
        bool is_dear = cost_of(users, name) > between_s;
        assert_int_equal(cost_of(users, name) > between_s, is_dear);
        dear += is_dear;
    }
    assert_in_range(dear, 1, 29);
    users_destroy(users);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_files), cmocka_unit_test(test_logins),
                                       cmocka_unit_test(test_unknown_users_cost_like_known_ones)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
