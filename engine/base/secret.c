/* secret.c - see secret.h. */
#include "engine/base/secret.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

bool secret_read(const char *path, struct buf *out, struct err *err)
{
    char *line = NULL;
    size_t room = 0;
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return err_set(err, errno, "%s: cannot read it: %s", path, strerror(errno));
    setvbuf(file, NULL, _IONBF, 0); /* nothing of it stays in a buffer */
    ssize_t n = getline(&line, &room, file);
    fclose(file);
    struct str text = str_trim(str_make(n > 0 ? line : "", n > 0 ? (size_t)n : 0));
    bool good = text.n > 0 && buf_add_str(out, text);
    if (line != NULL)
        explicit_bzero(line, room);
    free(line);
    return good || err_set(err, EINVAL, "%s: its first line is %s", path, text.n > 0 ? "too long" : "empty");
}

void secret_free(struct buf *secret)
{
    if (secret->data != NULL)
        explicit_bzero(secret->data, secret->cap);
    buf_free(secret);
}
