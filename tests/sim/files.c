/* files.c - see files.h. */
#include "tests/sim/files.h"

#include "tests/sim/sim.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[64];

void files_begin(void)
{
    snprintf(root, sizeof root, "%s/postrider-sim-XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    if (mkdtemp(root) == NULL)
        sim_fail("files", "cannot make a directory %s", root);
}

void files_make_directory(char path[FILES_PATH_MAX])
{
    snprintf(path, FILES_PATH_MAX, "%s/XXXXXX", root);
    if (mkdtemp(path) == NULL)
        sim_fail("files", "cannot make a directory in %s", root);
}

static int entry_remove(const char *path, const struct stat *st, int kind, struct FTW *place)
{
    (void)st;
    (void)kind;
    (void)place;
    return remove(path);
}

void files_remove(const char *directory)
{
    nftw(directory, entry_remove, 8, FTW_DEPTH | FTW_PHYS);
}

void files_end(void)
{
    files_remove(root);
}

void files_write(const char *path, struct str text)
{
    FILE *file = fopen(path, "we");
    if (file == NULL || fwrite(text.p, 1, text.n, file) != text.n || fclose(file) != 0)
        sim_fail("files", "cannot write %s", path);
}

void files_copy(const char *from, const char *to, const char *name)
{
    char path[FILES_PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/%s", from, name);
    int in = open(path, O_RDONLY | O_CLOEXEC);
    snprintf(path, sizeof path, "%s/%s", to, name);
    int out = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    struct stat st;
    if (in < 0 || out < 0 || fstat(in, &st) != 0 ||
        (st.st_size > 0 && copy_file_range(in, NULL, out, NULL, (size_t)st.st_size, 0) != st.st_size))
        sim_fail("files", "cannot copy %s", name);
    close(in);
    close(out);
}
