/* fuzz_config.c - any text as a configuration: errors that name a place, or a configuration that can be
 * shown and read again. */
#include "engine/config.h"
#include "engine/limits.h"
#include "tests/fuzz/fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

static bool load(struct str text, struct config **config, struct buf *errors)
{
    char path[64];
    int fd = memfd_create("config", 0);
    CLAIM(fd >= 0 && write(fd, text.p, text.n) == (ssize_t)text.n);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    bool good = config_load(path, config, errors);
    close(fd);
    return good;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct config *config, *again;
    struct buf errors, shown;
    struct str text = fuzz_rest(data, size);
    /* What it includes is somebody's file, and not the same everywhere. */
    if (memmem(data, size, "include", 7) != NULL || size > 16384)
        return 0;
    buf_init(&errors, CONFIG_ERRORS_MAX);
    buf_init(&shown, 1 << 20);
    if (!load(text, &config, &errors)) {
        CLAIM(errors.len > 0);
    } else {
        CLAIM(errors.len == 0);
        config_show(config, &shown);
        CLAIM(!shown.failed);
        bool good = load(buf_str(&shown), &again, &errors);
        if (!good)
            fprintf(stderr, "%.*s\n%.*s\n", (int)shown.len, shown.data, (int)errors.len, errors.data);
        CLAIM(good);
        config_free(again);
        config_free(config);
    }
    buf_free(&errors);
    buf_free(&shown);
    return 0;
}
