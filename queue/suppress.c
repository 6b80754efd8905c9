/* suppress.c - see suppress.h; and the reading of edit.h's suppressions. */
#include "queue/suppress.h"

#include "queue/read.h"

_Static_assert(NAME_MAX_BYTES + 1 + ADDRESS_MAX <= KEY_MAX, "a suppression's key");

size_t suppression_key(struct str address, char key[ADDRESS_MAX])
{
    if (address.n > ADDRESS_MAX)
        return 0;
    str_lower(address, key);
    return address.n;
}

size_t suppression_row_key(struct str scope, struct str address, char key[KEY_MAX])
{
    if (scope.n > NAME_MAX_BYTES || (scope.n > 0 && memchr(scope.p, 0, scope.n) != NULL))
        return 0;
    if (scope.n > 0)
        memcpy(key, scope.p, scope.n);
    key[scope.n] = 0;
    size_t n = address.n > 0 ? suppression_key(address, key + scope.n + 1) : 0;
    return n > 0 ? scope.n + 1 + n : 0;
}

/* Its strings are views into both. */
static bool suppression_decode(struct str key, struct str row, struct suppression *suppression)
{
    struct reader r = reader_of(row.p, row.n);
    size_t end = str_find(key, '\0', 0);
    if (end == SIZE_MAX || read_u8(&r) != ROW_VERSION)
        return false;
    *suppression = (struct suppression){.scope = str_make(key.p, end),
                                        .address = str_make(key.p + end + 1, key.n - end - 1),
                                        .added_ms = (int64_t)read_varint(&r)};
    suppression->reason = read_field(&r);
    suppression->source = read_field(&r);
    return !r.bad;
}

static bool find_in(const struct env *env, MDB_txn *txn, struct str scope, struct str address)
{
    char key[KEY_MAX];
    struct str row;
    size_t n = suppression_row_key(scope, address, key);
    return n > 0 && env_get(env, txn, T_SUPPRESSIONS, key, n, &row);
}

bool suppress_find(const struct env *env, MDB_txn *txn, struct str tenant, struct str address)
{
    return find_in(env, txn, STR(""), address) || (tenant.n > 0 && find_in(env, txn, tenant, address));
}

/* The count before the number: whoever still saw none has a number below. */
void suppress_committed(struct store *store, uint64_t count, bool added)
{
    atomic_store(&store->suppressions, count);
    if (added)
        atomic_store(&store->suppressed_below, atomic_load(&store->next_job));
}

/* ---- word to a worker ---- */

struct store_suppressed_msg *suppress_msg(size_t count, size_t size)
{
    struct store_suppressed_msg *msg = reserve_must(sizeof *msg + count * sizeof(struct str) + size);
    *msg = (struct store_suppressed_msg){.node.kind = STORE_SUPPRESSED};
    msg->keys = (struct str *)(void *)(msg + 1);
    msg->bytes = (char *)(msg->keys + count);
    return msg;
}

void suppress_msg_add(struct store_suppressed_msg *msg, struct str key)
{
    memcpy(msg->bytes, key.p, key.n);
    msg->keys[msg->count++] = str_make(msg->bytes, key.n);
    msg->bytes += key.n;
}

size_t store_suppressed_key(struct str scope, struct str address, char key[STORE_SUPPRESSED_KEY_MAX])
{
    return suppression_row_key(scope, address, key);
}

/* ---- reading ---- */

static bool suppression_find(struct read *read, struct str scope, struct str address,
                             struct suppression *info, struct buf *memory)
{
    char key[KEY_MAX];
    struct str row;
    size_t n = suppression_row_key(scope, address, key);
    if (n == 0 || !read_get(read, T_SUPPRESSIONS, key, n, &row))
        return false;
    if (info == NULL)
        return true;
    /* The views outlive the read: key and row are copied one behind the other. */
    buf_clear(memory);
    return buf_add(memory, key, n) && buf_add_str(memory, row) &&
           suppression_decode(str_make(memory->data, n), str_make(memory->data + n, row.n), info);
}

bool query_suppressed(struct store *store, struct str tenant, struct str address, struct suppression *info,
                      struct buf *memory)
{
    struct read read;
    if (query_suppression_count(store) == 0 || !read_begin(&read, store))
        return false;
    bool found = suppression_find(&read, STR(""), address, info, memory) ||
                 (tenant.n > 0 && suppression_find(&read, tenant, address, info, memory));
    read_end(&read);
    return found;
}

bool query_suppressions(struct store *store, struct str after_scope, struct str after_address,
                        suppression_visit *visit, void *user)
{
    struct read read;
    MDB_cursor *cursor;
    struct str key, value;
    struct suppression suppression;
    char after[KEY_MAX] = "";
    size_t n = suppression_row_key(after_scope, after_address, after);
    if (!read_begin(&read, store))
        return false;
    /* Without an address: from the beginning of that scope on. */
    bool more = read_cursor(&read, T_SUPPRESSIONS, &cursor) &&
                read_seek(&read, cursor, after, n > 0 ? n : after_scope.n + 1, &key, &value);
    if (more && n > 0 && key.n == n && memcmp(key.p, after, n) == 0)
        more = read_move(&read, cursor, MDB_NEXT, &key, &value);
    for (; more && read.rows < READ_ROWS_MAX; more = read_move(&read, cursor, MDB_NEXT, &key, &value))
        if (suppression_decode(key, value, &suppression) && !visit(&suppression, user))
            break;
    read_end(&read);
    return more;
}

void query_suppressions_of(struct store *store, struct str address, suppression_visit *visit, void *user)
{
    struct read read;
    MDB_cursor *cursor;
    struct str key, value, row;
    struct suppression one;
    char wanted[KEY_MAX], scope[NAME_MAX_BYTES + 1];
    if (!read_begin(&read, store))
        return;
    bool more = read_cursor(&read, T_SUPPRESSIONS, &cursor) &&
                read_move(&read, cursor, MDB_FIRST, &key, &value) && suppression_decode(key, value, &one);
    while (more) {
        size_t n = suppression_row_key(one.scope, address, wanted);
        struct str found = str_make(wanted, n);
        memcpy(scope, one.scope.p, one.scope.n);
        scope[one.scope.n] = 1; /* behind all of this scope, before the next one */
        size_t scope_n = one.scope.n + 1;
        more = n == 0 || !read_get(&read, T_SUPPRESSIONS, wanted, n, &row) ||
               !suppression_decode(found, row, &one) || visit(&one, user);
        more = more && read_seek(&read, cursor, scope, scope_n, &key, &value) &&
               suppression_decode(key, value, &one);
    }
    read_end(&read);
}

uint64_t query_suppression_count(struct store *store)
{
    return atomic_load_explicit(&store->suppressions, memory_order_relaxed);
}
