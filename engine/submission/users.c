/* users.c - see users.h. */
#include "engine/submission/users.h"

#include "engine/base/buf.h"
#include "engine/base/log.h"
#include "engine/base/prng.h"
#include "engine/tls/digest.h"

#include <crypt.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define HASH_TEXT_MAX 383 /* CRYPT_OUTPUT_SIZE with its NUL */
#define STAND_INS     256 /* users whose hashes are tried for unknown names */

struct user {
    UT_hash_handle hh;
    char tenant[NAME_MAX_BYTES + 1];
    char hash[HASH_TEXT_MAX + 1];
    char name[];
};

/* A login that was right: of user, password and hash. */
struct known {
    uint8_t digest[DIGEST_SIZE];
    int64_t until_ns; /* 0: none */
};

struct users {
    const char *path;
    pthread_mutex_t lock; /* of all that follows */
    struct user *table;
    struct stat read_as; /* the file as it was when it was read */
    bool broken;         /* the last try to read it anew failed */
    uint64_t key[4];
    struct known known[SUBMISSION_KNOWN_MAX];
};

/* ---- the file ---- */

static void table_free(struct user *table)
{
    struct user *user, *next;
    HASH_ITER(hh, table, user, next)
    {
        HASH_DEL(table, user);
        explicit_bzero(user->hash, sizeof user->hash);
        free(user);
    }
}

static bool add_user(struct user **table, struct str name, struct str hash, struct str tenant,
                     struct err *err)
{
    struct user *user = calloc(1, sizeof *user + name.n + 1), *before;
    if (user == NULL)
        return err_set(err, ENOMEM, "no memory for the users");
    memcpy(user->name, name.p, name.n);
    memcpy(user->hash, hash.p, hash.n);
    memcpy(user->tenant, tenant.p, tenant.n);
    HASH_FIND(hh, *table, user->name, name.n, before);
    if (before == NULL)
        HASH_ADD_KEYPTR(hh, *table, user->name, name.n, user);
    if (before == NULL && user->hh.tbl != NULL)
        return true;
    free(user);
    return before != NULL ? err_set(err, 0, "the user '%.*s' stands there twice", STR_ARG(name))
                          : err_set(err, ENOMEM, "no memory for the users");
}

static bool read_line(struct user **table, struct str line, struct err *err)
{
    size_t first = str_find(line, ':', 0);
    size_t second = first == SIZE_MAX ? SIZE_MAX : str_find(line, ':', first + 1);
    if (second == SIZE_MAX)
        second = line.n;
    if (first == SIZE_MAX || first == 0 || first > SUBMISSION_USER_MAX)
        return err_set(err, 0, "expected NAME:HASH or NAME:HASH:TENANT");
    struct str hash = str_make(line.p + first + 1, second - first - 1);
    struct str tenant = str_make(line.p + second, line.n - second);
    if (tenant.n > 0)
        tenant = str_make(tenant.p + 1, tenant.n - 1);
    char text[HASH_TEXT_MAX + 1] = "";
    if (hash.n > 0 && hash.n <= HASH_TEXT_MAX)
        memcpy(text, hash.p, hash.n);
    if (tenant.n > NAME_MAX_BYTES)
        return err_set(err, 0, "the tenant's name is longer than %d octets", NAME_MAX_BYTES);
    if (text[0] != '$' || crypt_checksalt(text) != CRYPT_SALT_OK) /* without a $: DES, or no hash at all */
        return err_set(err, 0,
                       "the password of '%.*s' is not hashed in a way of crypt(5) that is strong enough: "
                       "mkpasswd -m yescrypt does it",
                       (int)first, line.p);
    return add_user(table, str_make(line.p, first), hash, tenant, err);
}

static bool read_lines(const char *path, struct user **table, struct str text, struct err *err)
{
    for (unsigned number = 1; text.n > 0; number++) {
        size_t lf = str_find(text, '\n', 0), n = lf == SIZE_MAX ? text.n : lf;
        struct str line = str_trim(str_make(text.p, n));
        n += lf != SIZE_MAX;
        text = str_make(text.p + n, text.n - n);
        if (line.n > 0 && line.p[0] != '#' && !read_line(table, line, err)) {
            err_prefix(err, "%s:%u", path, number);
            return false;
        }
    }
    return true;
}

static bool read_file(const char *path, struct user **table, struct stat *info, struct err *err)
{
    struct buf text;
    ssize_t n = 1;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    *table = NULL;
    buf_init(&text, SUBMISSION_USERS_BYTES);
    if (fd < 0 || fstat(fd, info) != 0) {
        err_set(err, errno, "cannot read the users in %s: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return false;
    }
    while (n > 0) {
        char *room = buf_room(&text, 4096);
        n = room != NULL ? read(fd, room, 4096) : -1;
        text.len += n > 0 ? (size_t)n : 0;
    }
    bool good = n == 0 || err_set(err, errno, "cannot read the users in %s: it is too large, or %s", path,
                                  strerror(errno));
    good = good && read_lines(path, table, buf_str(&text), err);
    if (text.data != NULL)
        explicit_bzero(text.data, text.cap);
    buf_free(&text);
    close(fd);
    if (!good) {
        table_free(*table);
        *table = NULL;
    }
    return good;
}

static void take_table(struct users *users, struct user *table, const struct stat *info)
{
    table_free(users->table);
    users->table = table;
    users->read_as = *info;
}

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* Reads it again if it has changed. False: it can't be read now, and nobody is let in. */
static bool refresh(struct users *users)
{
    struct stat info = {0};
    struct user *table;
    struct err err;
    if (stat(users->path, &info) == 0 && is_same(&info, &users->read_as))
        return !users->broken;
    bool good = read_file(users->path, &table, &info, &err);
    if (good)
        take_table(users, table, &info);
    else if (!users->broken || !is_same(&info, &users->read_as))
        log_error("%s; nobody can log in until it is right", err.text);
    users->read_as = info;
    users->broken = !good;
    return good;
}

struct users *users_create(const char *path, struct err *err)
{
    struct users *users = calloc(1, sizeof *users);
    struct user *table;
    struct stat info;
    if (users == NULL) {
        err_set(err, ENOMEM, "no memory for the users");
        return NULL;
    }
    users->path = path;
    for (size_t i = 0; i < sizeof users->key / sizeof *users->key; i++)
        users->key[i] = prng_seed();
    pthread_mutex_init(&users->lock, NULL);
    if (!read_file(path, &table, &info, err)) {
        users_destroy(users);
        return NULL;
    }
    take_table(users, table, &info);
    return users;
}

void users_destroy(struct users *users)
{
    if (users == NULL)
        return;
    table_free(users->table);
    pthread_mutex_destroy(&users->lock);
    explicit_bzero(users->key, sizeof users->key);
    free(users);
}

/* ---- passwords ---- */

/* In a time that does not depend on where they differ. */
static bool is_equal(const char *a, const char *b, size_t n)
{
    volatile unsigned char differ = 0;
    for (size_t i = 0; i < n; i++)
        differ |= (unsigned char)(a[i] ^ b[i]);
    return differ == 0;
}

static bool crypt_is_right(const char *password, const char *hash)
{
    struct crypt_data *data = calloc(1, sizeof *data);
    const char *made = data != NULL ? crypt_rn(password, hash, data, sizeof *data) : NULL;
    bool right = made != NULL && strlen(made) == strlen(hash) && is_equal(made, hash, strlen(hash));
    if (data != NULL)
        explicit_bzero(data, sizeof *data);
    free(data);
    return right;
}

static void digest_login(const struct users *users, const struct dialogue_login *login, const char *hash,
                         uint8_t digest[DIGEST_SIZE])
{
    const struct digest_piece pieces[] = {{login->user, strlen(login->user) + 1},
                                          {login->password, strlen(login->password) + 1},
                                          {hash, strlen(hash)}};
    digest_hmac(users->key, sizeof users->key, pieces, 3, digest);
}

/* Whose hash is tried for somebody whom nobody knows: for each name always the same user's, of any of them.
 * Hashes of one file may cost differently much; were it one for all, its cost would tell who is unknown. */
static const char *stand_in(const struct users *users, const char *name)
{
    uint8_t digest[DIGEST_SIZE];
    const struct digest_piece piece = {name, strlen(name)};
    unsigned count = HASH_COUNT(users->table);
    if (count == 0)
        return "";
    digest_hmac(users->key, sizeof users->key, &piece, 1, digest);
    unsigned left = (digest[0] | (unsigned)digest[1] << 8) % (count < STAND_INS ? count : STAND_INS);
    const struct user *user = users->table;
    for (; left > 0; left--)
        user = user->hh.next;
    return user->hash;
}

static struct known *known_slot(struct users *users, const uint8_t digest[DIGEST_SIZE])
{
    return &users->known[(digest[0] | (unsigned)digest[1] << 8) % SUBMISSION_KNOWN_MAX];
}

enum login_result users_verify(struct users *users, const struct dialogue_login *login, struct now now,
                               char tenant[NAME_MAX_BYTES + 1])
{
    char hash[HASH_TEXT_MAX + 1];
    uint8_t digest[DIGEST_SIZE];
    const struct user *user = NULL;
    tenant[0] = '\0';
    pthread_mutex_lock(&users->lock);
    bool readable = refresh(users);
    HASH_FIND(hh, users->table, login->user, strlen(login->user), user);
    snprintf(hash, sizeof hash, "%s", user != NULL ? user->hash : stand_in(users, login->user));
    if (user != NULL)
        memcpy(tenant, user->tenant, sizeof user->tenant);
    digest_login(users, login, hash, digest);
    const struct known *known = known_slot(users, digest);
    bool right = user != NULL && known->until_ns > now.mono_ns &&
                 is_equal((const char *)known->digest, (const char *)digest, DIGEST_SIZE);
    bool exists = user != NULL;
    pthread_mutex_unlock(&users->lock);
    if (!readable)
        return LOGIN_FAILED;
    if (!right && (!crypt_is_right(login->password, hash) || !exists))
        return LOGIN_WRONG;
    pthread_mutex_lock(&users->lock);
    struct known *slot = known_slot(users, digest);
    memcpy(slot->digest, digest, DIGEST_SIZE);
    slot->until_ns = now.mono_ns + SUBMISSION_KNOWN_MS * NS_PER_MS;
    pthread_mutex_unlock(&users->lock);
    return LOGIN_GOOD;
}
