/* unix_socket.c - see unix_socket.h. The mode is set before listen(2), so that nobody connects earlier. */
#include "engine/io/unix_socket.h"

#include "engine/limits.h"

#include <errno.h>
#include <grp.h>
#include <string.h>
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
static bool find_group(const struct unix_socket_file *file, gid_t *gid, struct err *err)
{
    char memory[GROUP_MEMORY];
    struct group group, *found = NULL;
    int failed = getgrnam_r(file->group, &group, memory, sizeof memory, &found);
    if (found == NULL)
        return err_set(err, failed ? failed : ENOENT,
                       "there is no group %s for the socket %s: create it, or name another", file->group,
                       file->path);
    *gid = found->gr_gid;
    return true;
}

static bool protect(const struct unix_socket_file *file, struct err *err)
{
    if (file->group != NULL && file->group[0] != '\0') {
        gid_t gid = 0;
        if (!find_group(file, &gid, err))
            return false;
        if (chown(file->path, (uid_t)-1, gid) != 0)
            return err_set(
                err, errno,
                "cannot give the socket %s to the group %s: %s; the daemon's user must be a member of it",
                file->path, file->group, strerror(errno));
    }
    if (chmod(file->path, (mode_t)file->mode) != 0)
        return err_set(err, errno, "cannot set the mode of the socket %s: %s", file->path, strerror(errno));
    return true;
}

static bool bind_and_listen(struct unix_socket *out, const struct unix_socket_file *file,
                            const struct sockaddr_un *address, struct err *err)
{
    const char *path = file->path;
    if (bind(out->fd, (const struct sockaddr *)address, sizeof *address) != 0)
        return err_set(err, errno, "cannot create the socket %s: %s%s", path, strerror(errno),
                       errno == ENOENT ? "; create its directory first" : "");
    struct stat info;
    if (stat(path, &info) == 0) {
        out->dev = info.st_dev;
        out->inode = info.st_ino;
    }
    if (!protect(file, err) || (listen(out->fd, LISTEN_BACKLOG) != 0 &&
                                !err_set(err, errno, "cannot listen on %s: %s", path, strerror(errno)))) {
        unix_socket_remove(out, path);
        return false;
    }
    return true;
}

bool unix_socket_open(struct unix_socket *out, const struct unix_socket_file *file, struct err *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    *out = (struct unix_socket){.fd = -1};
    if (strlen(file->path) >= sizeof address.sun_path)
        return err_set(err, ENAMETOOLONG, "the socket's path %s is too long: at most %zu bytes", file->path,
                       sizeof address.sun_path - 1);
    memcpy(address.sun_path, file->path, strlen(file->path) + 1);
    if (!clear_stale(&address, err))
        return false;
    out->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (out->fd < 0)
        return err_set(err, errno, "cannot make a Unix socket: %s", strerror(errno));
    if (bind_and_listen(out, file, &address, err))
        return true;
    close(out->fd);
    out->fd = -1;
    return false;
}

void unix_socket_remove(const struct unix_socket *listening, const char *path)
{
    struct stat info;
    if (lstat(path, &info) == 0 && info.st_dev == listening->dev && info.st_ino == listening->inode)
        unlink(path);
}
