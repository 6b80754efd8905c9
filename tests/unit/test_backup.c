/* test_backup.c - a copy of the queue (queue/backup.h): whole under its name, or not there and said why. */
#include "queue/backup.h"

#include "tests/unit/store_world.h"

#include <errno.h>
#include <fcntl.h>

struct fixture {
    struct world w;
    char directory[200], part[210];
    struct backup_progress progress;
};

static int fixture_make(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    world_make(&f->w, NULL);
    world_small_job(&f->w, 3000, 5);
    world_run(&f->w);
    snprintf(f->directory, sizeof f->directory, "%.190s/copy", f->w.directory);
    snprintf(f->part, sizeof f->part, "%s.part", f->directory);
    *state = f;
    return 0;
}

static int fixture_free(void **state)
{
    struct fixture *f = *state;
    world_end(&f->w);
    free(f);
    return 0;
}

static void fails(struct fixture *f, const char *directory, int code, const char *words)
{
    struct err err = {0};
    assert_false(backup_make(f->w.store, directory, &f->progress, &err));
    assert_int_equal(err.code, code);
    if (strstr(err.text, words) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err.text, words);
    assert_int_equal(access(f->directory, F_OK), -1);
    assert_int_equal(access(f->part, F_OK), -1);
}

/* What a crash left of an earlier one is in nobody's way. */
static void test_a_copy_is_a_queue(void **state)
{
    struct fixture *f = *state;
    struct err err = {0};
    char left[230];
    assert_int_equal(mkdir(f->part, 0700), 0);
    snprintf(left, sizeof left, "%s/data.mdb", f->part);
    close(open(left, O_CREAT | O_WRONLY, 0600));
    snprintf(left, sizeof left, "%s/", f->directory);
    assert_true(backup_make(f->w.store, left, &f->progress, &err));
    assert_int_equal(access(f->part, F_OK), -1);
    assert_true(atomic_load(&f->progress.bytes) > 0);
    struct world copy;
    world_make(&copy, f->directory);
    world_run(&copy);
    assert_int_equal(copy.taken_n, 3000);
    world_close(&copy);
}

static void test_a_place_that_is_none(void **state)
{
    struct fixture *f = *state;
    char path[BACKUP_PATH_MAX + 3];
    memset(path, 'x', sizeof path - 1);
    path[0] = '/';
    path[sizeof path - 1] = '\0';
    fails(f, path, EINVAL, "by its whole path");
    fails(f, "copy", EINVAL, "by its whole path");
    fails(f, "/", EINVAL, "by its whole path");
    fails(f, f->w.directory, EEXIST, "is there already");
    snprintf(path, sizeof path, "%s/none/copy", f->w.directory);
    fails(f, path, ENOENT, "the directory above must be there");
    snprintf(path, sizeof path, "%s/data.mdb/copy", f->w.directory);
    fails(f, path, ENOTDIR, "cannot create");
}

static void test_what_may_not_go_on(void **state)
{
    struct fixture *f = *state;
    atomic_store(&f->w.store->full, true);
    fails(f, f->directory, ENOSPC, "the queue is full");
    atomic_store(&f->w.store->full, false);
    atomic_store(&f->progress.cancelled, true);
    fails(f, f->directory, ECANCELED, "shutting down");
}

static void test_the_daemons_own(void **state)
{
    struct fixture *f = *state;
    struct backup *backup = backup_create(f->w.store);
    struct backup_info info;
    struct err err = {0};
    char path[BACKUP_PATH_MAX + 3] = {0};
    memset(path, 'x', sizeof path - 1);
    assert_non_null(backup);
    backup_look(backup, &info);
    assert_int_equal(info.state, BACKUP_NONE);
    assert_false(backup_start(backup, path, f->w.now, &err));
    assert_int_equal(err.code, EINVAL);
    for (unsigned n = 0; n < 2; n++) { /* the second finds the first in its place */
        assert_true(backup_start(backup, f->directory, f->w.now, &err));
        for (unsigned i = 0; i < 3000; i++) {
            backup_look(backup, &info);
            if (info.state != BACKUP_RUNNING)
                break;
            usleep(10000);
        }
        assert_int_equal(info.state, n == 0 ? BACKUP_DONE : BACKUP_FAILED);
        assert_string_equal(info.directory, f->directory);
    }
    assert_int_equal(info.err.code, EEXIST);
    backup_destroy(backup);
    backup_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_copy_is_a_queue, fixture_make, fixture_free),
        cmocka_unit_test_setup_teardown(test_a_place_that_is_none, fixture_make, fixture_free),
        cmocka_unit_test_setup_teardown(test_what_may_not_go_on, fixture_make, fixture_free),
        cmocka_unit_test_setup_teardown(test_the_daemons_own, fixture_make, fixture_free),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
