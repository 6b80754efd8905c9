/* http_socket.c - see http_socket.h. The mode is set before listen(2), so that nobody connects earlier. */
#include "engine/admin/http_socket.h"

#include "engine/limits.h"

#include <errno.h>
#include <grp.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define GROUP_MEMORY 65536 /* for a group's entry with all its members */

/* Is the file there nobody's? True also when there is none. */
static bool clear_stale(const struct sockaddr_un *address, struct err *err)
{
    const char *path = address->sun_path;
    struct stat info;
    if (lstat(path, &info) != 0) {
        if (errno == ENOENT)
            return true;
        return err_set(err, errno, "cannot look at the socket %s: %s", path, strerror(errno));
    }
    if (!S_ISSOCK(info.st_mode))
        return err_set(err, EEXIST, "%s exists and is not a socket: move it away, or name another socket",
                       path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return err_set(err, errno, "cannot make a Unix socket: %s", strerror(errno));
    int failed = connect(fd, (const struct sockaddr *)address, sizeof *address) == 0 ? 0 : errno;
    close(fd);
    if (failed == 0 || failed == EAGAIN)
        return err_set(err, EADDRINUSE,
                       "another process listens on %s: is postriderd running already? Stop it, or name "
                       "another socket",
                       path);
    if (failed != ECONNREFUSED)
        return err_set(err, failed, "cannot tell whether %s is in use: %s", path, strerror(failed));
    if (unlink(path) != 0 && errno != ENOENT)
        return err_set(err, errno, "cannot remove the stale socket %s: %s", path, strerror(errno));
    return true;
}

/* The number of a group by name. */
static bool find_group(const struct http_listener *listener, gid_t *gid, struct err *err)
{
    char memory[GROUP_MEMORY];
    struct group group, *found = NULL;
    int failed = getgrnam_r(listener->group, &group, memory, sizeof memory, &found);
    if (found == NULL)
        return err_set(err, failed ? failed : ENOENT,
                       "there is no group %s for the socket %s: create it, or name another", listener->group,
                       listener->path);
    *gid = found->gr_gid;
    return true;
}

static bool protect(const struct http_listener *listener, struct err *err)
{
    if (listener->group != NULL && listener->group[0] != '\0') {
        gid_t gid = 0;
        if (!find_group(listener, &gid, err))
            return false;
        if (chown(listener->path, (uid_t)-1, gid) != 0)
            return err_set(err, errno, "cannot give the socket %s to the group %s: %s", listener->path,
                           listener->group, strerror(errno));
    }
    if (chmod(listener->path, (mode_t)listener->mode) != 0)
        return err_set(err, errno, "cannot set the mode of the socket %s: %s", listener->path,
                       strerror(errno));
    return true;
}

static bool bind_and_listen(struct http_socket *out, const struct http_listener *listener,
                            const struct sockaddr_un *address, struct err *err)
{
    const char *path = listener->path;
    if (bind(out->fd, (const struct sockaddr *)address, sizeof *address) != 0)
        return err_set(err, errno, "cannot create the socket %s: %s%s", path, strerror(errno),
                       errno == ENOENT ? "; create its directory first" : "");
    struct stat info;
    if (stat(path, &info) == 0) {
        out->dev = info.st_dev;
        out->inode = info.st_ino;
    }
    if (!protect(listener, err) || (listen(out->fd, HTTP_BACKLOG) != 0 &&
                                    !err_set(err, errno, "cannot listen on %s: %s", path, strerror(errno)))) {
        http_socket_remove(out, listener);
        return false;
    }
    return true;
}

bool http_socket_open(struct http_socket *out, const struct http_listener *listener, struct err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    *out = (struct http_socket){.fd = -1};
    if (strlen(listener->path) >= sizeof address.sun_path)
        return err_set(err, ENAMETOOLONG, "the socket's path %s is too long: at most %zu bytes",
                       listener->path, sizeof address.sun_path - 1);
    memcpy(address.sun_path, listener->path, strlen(listener->path) + 1);
    if (!clear_stale(&address, err))
        return false;
    out->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (out->fd < 0)
        return err_set(err, errno, "cannot make a Unix socket: %s", strerror(errno));
    if (bind_and_listen(out, listener, &address, err))
        return true;
    close(out->fd);
    out->fd = -1;
    return false;
}

void http_socket_remove(const struct http_socket *listening, const struct http_listener *listener)
{
    struct stat info;
    if (lstat(listener->path, &info) == 0 && info.st_dev == listening->dev && info.st_ino == listening->inode)
        unlink(listener->path);
}
