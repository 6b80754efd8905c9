/* fuzz.h - what the fuzz targets share: a claim that holds in every build, and input cut into pieces.
 *
 * A target is one file, fuzz_NAME.c, with LLVMFuzzerTestOneInput: it hands bytes to what reads input from
 * outside and claims what must hold of the result. libFuzzer finds inputs (`make fuzz`); those it kept and
 * every crash found so far are in corpus/NAME and are replayed by `make test` (replay.c), without clang, and
 * so are thousands made of them. */
#ifndef POSTRIDER_TESTS_FUZZ_H
#define POSTRIDER_TESTS_FUZZ_H

#include "engine/base/str.h"
#include "engine/config.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CLAIM(condition)                                                                                     \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);                   \
            abort();                                                                                         \
        }                                                                                                    \
    } while (0)

/* What is left of an input while a target takes pieces off its front. */
static inline struct str fuzz_rest(const uint8_t *data, size_t size)
{
    return str_make((const char *)data, size);
}

static inline uint8_t fuzz_byte(struct str *rest)
{
    if (rest->n == 0)
        return 0;
    uint8_t byte = (uint8_t)rest->p[0];
    *rest = str_make(rest->p + 1, rest->n - 1);
    return byte;
}

/* At most n bytes. */
static inline struct str fuzz_piece(struct str *rest, size_t n)
{
    struct str piece = str_make(rest->p, n < rest->n ? n : rest->n);
    *rest = str_make(rest->p + piece.n, rest->n - piece.n);
    return piece;
}

/* A copy of its own size, so that a sanitizer sees a read past its end; to be freed. */
static inline char *fuzz_copy(struct str text)
{
    char *copy = malloc(text.n > 0 ? text.n : 1);
    CLAIM(copy != NULL);
    if (text.n > 0)
        memcpy(copy, text.p, text.n);
    return copy;
}

/* What is configured where nothing is. */
static inline struct config *fuzz_config(void)
{
    struct config *config;
    struct buf errors;
    buf_init(&errors, CONFIG_ERRORS_MAX);
    CLAIM(config_load(NULL, &config, &errors));
    buf_free(&errors);
    return config;
}

#endif
