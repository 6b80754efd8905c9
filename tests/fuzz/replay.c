/* replay.c - runs a fuzz target without libFuzzer, as a test: nothing is to crash, leak or fail a claim.
 *
 * First over the files of its corpus as they are; then, with --changed N, over N inputs made of them: bytes
 * altered, pieces taken out, repeated, and put in from another file. Those are the same in every run, and end
 * after CHANGED_MS at the latest. One that fails is kept beside the program, as NAME.crash.
 * usage: NAME [--changed N] FILE|DIRECTORY… */
#include "engine/base/clock.h"
#include "engine/base/prng.h"
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#define INPUT_MAX  8192 /* longer ones are only replayed */
#define INPUTS_MAX 1000
#define CHANGED_MS 3000

struct input {
    size_t n;
    uint8_t data[INPUT_MAX];
};

static struct input inputs[INPUTS_MAX], made;
static unsigned files, kept;
static char at[4096]; /* the input under way */
static bool is_made;

/* Which one it was, before the process dies of it. */
static void on_crash(int signal)
{
    int fd = is_made ? open(at, O_WRONLY | O_CREAT | O_TRUNC, 0644) : -1;
    bool saved = !is_made || write(fd, made.data, made.n) == (ssize_t)made.n;
    if (!saved || write(STDERR_FILENO, at, strlen(at)) < 0 || write(STDERR_FILENO, ": crashed\n", 10) < 0)
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
    size_t n = (size_t)st.st_size;
    uint8_t *data = malloc(n + 1);
    if (data == NULL || fread(data, 1, n, file) != n) {
        perror(path);
        exit(1);
    }
    fclose(file);
    LLVMFuzzerTestOneInput(data, n);
    if (n <= INPUT_MAX && kept < INPUTS_MAX) {
        inputs[kept].n = n;
        memcpy(inputs[kept++].data, data, n);
    }
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

/* ---- changed ---- */

static size_t below(struct prng *prng, size_t n)
{
    return n > 0 ? (size_t)prng_below(prng, n) : 0;
}

/* Puts so much of these bytes in at some place. */
static void insert(struct prng *prng, const uint8_t *from, size_t n)
{
    uint8_t piece[64];
    size_t place = below(prng, made.n + 1);
    n = n < sizeof piece ? n : sizeof piece;
    n = n < INPUT_MAX - made.n ? n : INPUT_MAX - made.n;
    memcpy(piece, from, n);
    memmove(made.data + place + n, made.data + place, made.n - place);
    memcpy(made.data + place, piece, n);
    made.n += n;
}

static void change(struct prng *prng)
{
    static const uint8_t telling[] = "\r\n\t .,;:=<>@\"'\\{}[]-+%09\x7f\x80\xff";
    const struct input *other = &inputs[below(prng, kept)];
    size_t place = below(prng, made.n), n = 1 + below(prng, 16);
    n = n < made.n - place ? n : made.n - place;
    switch (below(prng, 5)) {
    case 0:
        if (n > 0)
            made.data[place] = (uint8_t)below(prng, 256);
        break;
    case 1:
        if (n > 0)
            made.data[place] = telling[below(prng, sizeof telling)]; /* its NUL among them */
        break;
    case 2:
        memmove(made.data + place, made.data + place + n, made.n - place - n);
        made.n -= n;
        break;
    case 3:
        insert(prng, made.data + place, n);
        break;
    default:
        place = below(prng, other->n);
        insert(prng, other->data + place, 1 + below(prng, other->n - place));
    }
}

static unsigned run_changed(unsigned count, const char *name)
{
    struct prng prng = {.state = 1};
    int64_t end_ns = clock_now().mono_ns + CHANGED_MS * NS_PER_MS;
    unsigned done = 0;
    is_made = true;
    snprintf(at, sizeof at, "%s.crash", name);
    for (; kept > 0 && done < count && clock_now().mono_ns < end_ns; done++) {
        made = inputs[below(&prng, kept)];
        for (size_t changes = 1 + below(&prng, 4); changes > 0; changes--)
            change(&prng);
        char *copy = fuzz_copy(str_make((const char *)made.data, made.n));
        LLVMFuzzerTestOneInput((const uint8_t *)copy, made.n);
        free(copy);
    }
    return done;
}

int main(int argc, char **argv)
{
    struct sigaction crash = {.sa_handler = on_crash, .sa_flags = (int)(SA_RESETHAND | SA_NODEFER)};
    unsigned changed = 0;
    sigaction(SIGABRT, &crash, NULL);
    sigaction(SIGSEGV, &crash, NULL);
    sigaction(SIGBUS, &crash, NULL);
    for (int i = 1; i < argc; i++) {
        struct stat st;
        if (strcmp(argv[i], "--changed") == 0 && i + 1 < argc)
            changed = (unsigned)strtoul(argv[++i], NULL, 10);
        else if (stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode))
            replay_directory(argv[i]);
        else
            replay_file(argv[i]);
    }
    if (files == 0) {
        fprintf(stderr, "usage: %s [--changed N] FILE|DIRECTORY...\n", argv[0]);
        return 2;
    }
    changed = run_changed(changed, argv[0]);
    printf("%s: %u inputs, %u made of them\n", argv[0], files, changed);
    return 0;
}
