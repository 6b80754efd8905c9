/* replay.c - runs a fuzz target over the files of its corpus, as a test: nothing is to crash, leak or
 * fail a claim. usage: fuzz_NAME FILE|DIRECTORY… */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

static unsigned files;
static char at[4096]; /* the input under way */

/* Which one it was, before the process dies of it. */
static void on_crash(int signal)
{
    if (write(STDERR_FILENO, at, strlen(at)) < 0 || write(STDERR_FILENO, ": crashed\n", 10) < 0)
        _exit(1);
    raise(signal); /* its default now: SA_RESETHAND */
}

static void replay_file(const char *path)
{
    snprintf(at, sizeof at, "%s", path);
    FILE *file = fopen(path, "rb");
    struct stat st;
    if (file == NULL || fstat(fileno(file), &st) != 0) {
        perror(path);
        exit(1);
    }
    uint8_t *data = malloc((size_t)st.st_size + 1);
    if (data == NULL || fread(data, 1, (size_t)st.st_size, file) != (size_t)st.st_size) {
        perror(path);
        exit(1);
    }
    fclose(file);
    LLVMFuzzerTestOneInput(data, (size_t)st.st_size);
    free(data);
    files++;
}

static void replay_directory(const char *path)
{
    struct dirent **names;
    char file[4096];
    int n = scandir(path, &names, NULL, alphasort);
    if (n < 0) {
        perror(path);
        exit(1);
    }
    for (int i = 0; i < n; i++) {
        snprintf(file, sizeof file, "%s/%s", path, names[i]->d_name);
        if (names[i]->d_name[0] != '.')
            replay_file(file);
        free(names[i]);
    }
    free(names);
}

int main(int argc, char **argv)
{
    struct sigaction crash = {.sa_handler = on_crash, .sa_flags = (int)(SA_RESETHAND | SA_NODEFER)};
    sigaction(SIGABRT, &crash, NULL);
    sigaction(SIGSEGV, &crash, NULL);
    sigaction(SIGBUS, &crash, NULL);
    for (int i = 1; i < argc; i++) {
        struct stat st;
        if (stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode))
            replay_directory(argv[i]);
        else
            replay_file(argv[i]);
    }
    if (files == 0) {
        fprintf(stderr, "usage: %s FILE|DIRECTORY...\n", argv[0]);
        return 2;
    }
    printf("%s: %u inputs\n", argv[0], files);
    return 0;
}
