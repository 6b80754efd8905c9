/* token.c - see token.h. */
#include "engine/admin/token.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct token {
    size_t n;
    char text[TOKEN_MAX];
};

static bool is_safe(int fd, const char *path, struct err *err)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return err_set(err, EINVAL, "admin.token_file %s is no regular file", path);
    if ((st.st_mode & S_IRWXO) != 0)
        return err_set(
            err, EPERM,
            "admin.token_file %s is open to everybody on this machine: chmod 0600 it, and put a new "
            "token into it",
            path);
    return true;
}

static bool read_line(int fd, const char *path, struct token *token, struct err *err)
{
    char text[TOKEN_MAX + 2];
    ssize_t n = read(fd, text, sizeof text);
    struct str line = str_make(text, n > 0 ? (size_t)n : 0);
    size_t end = str_find(line, '\n', 0);
    line = str_trim(str_make(text, end != SIZE_MAX ? end : line.n));
    bool good = line.n >= TOKEN_MIN && line.n <= TOKEN_MAX;
    if (good) {
        memcpy(token->text, line.p, line.n);
        token->n = line.n;
    }
    explicit_bzero(text, sizeof text);
    return good ||
           err_set(err, EINVAL,
                   "admin.token_file %s: its first line must be a token of %d to %d characters; make one "
                   "with: openssl rand -hex 32",
                   path, TOKEN_MIN, TOKEN_MAX);
}

struct token *token_load(const char *path, struct err *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        err_set(err, errno, "cannot read admin.token_file %s: %s; it must be there, for the daemon's user",
                path, strerror(errno));
        return NULL;
    }
    struct token *token =
        mmap(NULL, sizeof *token, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (token == MAP_FAILED) {
        err_set(err, ENOMEM, "no memory for the token of the admin API");
        close(fd);
        return NULL;
    }
    (void)madvise(token, sizeof *token, MADV_DONTDUMP); /* known to every kernel we run on */
    bool good = is_safe(fd, path, err) && read_line(fd, path, token, err);
    close(fd);
    if (good)
        return token;
    token_free(token);
    return NULL;
}

void token_free(struct token *token)
{
    if (token == NULL)
        return;
    explicit_bzero(token, sizeof *token);
    munmap(token, sizeof *token);
}

bool token_admits(const struct token *token, struct str authorization)
{
    struct str scheme = STR("Bearer ");
    char given[TOKEN_MAX] = {0};
    if (!str_starts_nocase(authorization, scheme))
        return false;
    struct str text = str_trim(str_make(authorization.p + scheme.n, authorization.n - scheme.n));
    unsigned different = text.n != token->n;
    memcpy(given, text.p, text.n < sizeof given ? text.n : sizeof given);
    for (size_t i = 0; i < sizeof given; i++) /* all of it, whatever was found by then */
        different |= (unsigned char)given[i] ^ (unsigned char)token->text[i];
    explicit_bzero(given, sizeof given);
    return different == 0;
}
