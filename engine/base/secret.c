/* secret.c - see secret.h. */
#include "engine/base/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define FRONT_MAX 16384 /* of the file, in which the line must end */

/* The file's front; how much of it, -1: errno. */
static ssize_t read_front(int fd, char front[FRONT_MAX])
{
    size_t have = 0;
    while (have < FRONT_MAX) {
        ssize_t n = read(fd, front + have, FRONT_MAX - have);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        have += (size_t)n;
    }
    return (ssize_t)have;
}

static bool add_line(const char *path, struct str front, struct buf *out, struct err *err)
{
    size_t end = str_find(front, '\n', 0);
    bool whole = end != SIZE_MAX || front.n < FRONT_MAX;
    struct str text = str_trim(str_make(front.p, end != SIZE_MAX ? end : front.n));
    if (text.n == 0)
        return err_set(err, EINVAL, "%s: its first line is empty", path);
    return (whole && buf_add_str(out, text)) || err_set(err, EINVAL, "%s: its first line is too long", path);
}

bool secret_read(const char *path, struct buf *out, struct err *err)
{
    char front[FRONT_MAX];
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return err_set(err, errno, "%s: cannot read it: %s", path, strerror(errno));
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) { /* a pipe would hold up whoever reads */
        close(fd);
        return err_set(err, EINVAL, "%s: is no ordinary file; name one", path);
    }
    ssize_t n = read_front(fd, front);
    bool good = n >= 0 ? add_line(path, str_make(front, (size_t)n), out, err)
                       : err_set(err, errno, "%s: cannot read it: %s", path, strerror(errno));
    explicit_bzero(front, sizeof front);
    close(fd);
    return good;
}

void secret_free(struct buf *secret)
{
    if (secret->data != NULL)
        explicit_bzero(secret->data, secret->cap);
    buf_free(secret);
}
