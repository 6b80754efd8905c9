/* fresh_env.c - see fresh_env.h. */
#include "queue/fresh_env.h"

#include "engine/limits.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_NAME  "fresh.mdb"
#define KEY_FRESH  12
#define STEP_BYTES (UINT64_C(1) << 20) /* written ahead at a time; about 1 ms */
#define ROW_MAX    (2 * FRESH_CONTENT_MAX + 2 * RCPT_LINE_MAX)

_Static_assert(FRESH_MAP_BYTES >= 2 * (uint64_t)FRESH_BYTES_MAX,
               "what waits fits, and what is being deleted");

bool fresh_env_open(struct fresh_env *env, const char *directory, struct err *err)
{
    char path[4096];
    struct stat st;
    MDB_txn *txn = NULL;
    *env = (struct fresh_env){.fd = -1};
    snprintf(path, sizeof path, "%s/%s", directory, FILE_NAME);
    int rc = mdb_env_create(&env->mdb);
    if (rc == 0)
        rc = mdb_env_set_mapsize(env->mdb, FRESH_MAP_BYTES);
    /* The lock file of the main environment is this one's too, and one thread reads and writes. */
    if (rc == 0)
        rc = mdb_env_open(env->mdb, path, MDB_NOSUBDIR | MDB_NOLOCK | MDB_NOMEMINIT | MDB_NORDAHEAD, 0640);
    if (rc == 0)
        rc = mdb_txn_begin(env->mdb, NULL, 0, &txn);
    if (rc == 0)
        rc = mdb_dbi_open(txn, NULL, 0, &env->dbi);
    if (rc == 0) {
        rc = mdb_txn_commit(txn);
        txn = NULL;
    }
    if (txn != NULL)
        mdb_txn_abort(txn);
    if (rc == 0) {
        mdb_env_get_fd(env->mdb, &env->fd);
        if (fstat(env->fd, &st) == 0)
            env->written = (uint64_t)st.st_size;
        return true;
    }
    if (env->mdb != NULL)
        mdb_env_close(env->mdb);
    *env = (struct fresh_env){.fd = -1};
    return err_set(
        err, rc,
        "cannot open %s, where new jobs land: %s; restore it together with data.mdb, and delete it "
        "only when the queue was stopped in order",
        path, mdb_strerror(rc));
}

void fresh_env_close(struct fresh_env *env)
{
    if (env->txn != NULL)
        mdb_txn_abort(env->txn);
    if (env->mdb != NULL)
        mdb_env_close(env->mdb);
    *env = (struct fresh_env){.fd = -1};
}

/* Zeros behind what LMDB uses, so far that the next transaction stays within. False: no space. */
static bool write_ahead(struct fresh_env *env, uint64_t bytes)
{
    static const char zeros[65536];
    MDB_envinfo info;
    mdb_env_info(env->mdb, &info);
    uint64_t want = ((uint64_t)info.me_last_pgno + 1) * 4096 + 2 * bytes + STEP_BYTES / 4;
    if (want > FRESH_MAP_BYTES)
        want = FRESH_MAP_BYTES;
    if (want <= env->written)
        return true;
    for (want += STEP_BYTES; env->written < want;) {
        ssize_t n = pwrite(env->fd, zeros, sizeof zeros, (off_t)env->written);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 && !env_is_no_space(errno); /* any other error shows at the commit */
        env->written += (uint64_t)n;
    }
    return true;
}

bool fresh_env_begin(struct fresh_env *env, uint64_t bytes)
{
    env->rc = 0;
    env->cursor = NULL;
    if (!write_ahead(env, bytes))
        return false;
    int rc = mdb_txn_begin(env->mdb, NULL, 0, &env->txn);
    if (rc != 0 && !env_is_no_space(rc))
        env_die("a new job cannot be written", rc);
    return rc == 0;
}

static void failed(struct fresh_env *env, int rc)
{
    if (!env_is_no_space(rc))
        env_die("a new job cannot be written", rc);
    env->rc = rc;
}

void fresh_env_put(struct fresh_env *env, uint64_t seq, struct str row)
{
    uint8_t bytes[KEY_FRESH];
    uint32_t part = 0;
    size_t at = 0;
    do {
        size_t n = row.n - at < VALUE_MAX ? row.n - at : VALUE_MAX;
        put_be64(bytes, seq);
        put_be32(bytes + 8, part++);
        MDB_val key = {sizeof bytes, bytes}, value = {n, NULL};
        if (env->rc != 0)
            return;
        int rc = mdb_put(env->txn, env->dbi, &key, &value, MDB_APPEND | MDB_RESERVE);
        if (rc != 0) {
            failed(env, rc);
            return;
        }
        memcpy(value.mv_data, row.p + at, n);
        at += n;
    } while (at < row.n);
}

void fresh_env_delete(struct fresh_env *env, uint64_t seq, unsigned most)
{
    MDB_val key, value;
    if (env->rc != 0)
        return;
    int rc = env->cursor != NULL ? 0 : mdb_cursor_open(env->txn, env->dbi, &env->cursor);
    for (unsigned n = 0; rc == 0 && n < most; n++) {
        rc = mdb_cursor_get(env->cursor, &key, &value, n == 0 ? MDB_FIRST : MDB_NEXT);
        if (rc != 0 || get_be64(key.mv_data) > seq)
            break;
        rc = mdb_cursor_del(env->cursor, 0);
    }
    if (rc != 0 && rc != MDB_NOTFOUND)
        failed(env, rc);
}

bool fresh_env_commit(struct fresh_env *env)
{
    MDB_txn *txn = env->txn;
    env->txn = NULL;
    env->cursor = NULL; /* closed with the transaction */
    if (env->rc != 0) {
        mdb_txn_abort(txn);
        return false;
    }
    int rc = mdb_txn_commit(txn);
    if (rc != 0 && !env_is_no_space(rc))
        env_die("a commit of new jobs failed", rc);
    return rc == 0;
}

uint64_t fresh_env_read(struct fresh_env *env, uint64_t after, fresh_env_visit *visit, void *user)
{
    MDB_txn *txn = NULL;
    MDB_cursor *cursor = NULL;
    MDB_val key, value;
    struct buf row;
    uint64_t last = 0;
    buf_init(&row, ROW_MAX);
    int rc = mdb_txn_begin(env->mdb, NULL, MDB_RDONLY, &txn);
    if (rc == 0)
        rc = mdb_cursor_open(txn, env->dbi, &cursor);
    if (rc != 0)
        env_die("new jobs cannot be read", rc);
    while ((rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        const uint8_t *bytes = key.mv_data;
        if (key.mv_size != KEY_FRESH)
            continue;
        uint64_t seq = get_be64(bytes);
        if (get_be32(bytes + 8) == 0) {
            if (row.len > 0)
                visit(last, buf_str(&row), user);
            buf_clear(&row);
        }
        last = seq;
        if (seq > after)
            buf_add(&row, value.mv_data, value.mv_size);
    }
    if (rc != MDB_NOTFOUND)
        env_die("new jobs cannot be read", rc);
    if (row.len > 0)
        visit(last, buf_str(&row), user);
    mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
    buf_free(&row);
    return last;
}
