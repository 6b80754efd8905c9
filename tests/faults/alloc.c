/* alloc.c - allocation that fails when asked to: what the engine and the queue call in the unit programs of
 * tests/faults/alloc.py, whose archive has these names in place of the C library's (objcopy). The tests
 * themselves, cmocka and the libraries keep the real one.
 *
 * POSTRIDER_ALLOC_FAILS=n: the n-th call fails, and no other; where it was is said on stderr, and so is the
 * stack of a crash. At the end the number of calls is said as well. Any thread. */
#include <errno.h>
#include <execinfo.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FRAMES 32

extern const char __executable_start;

void *alloc_malloc(size_t size);
void *alloc_calloc(size_t n, size_t size);
void *alloc_realloc(void *p, size_t size);
void *alloc_aligned(size_t alignment, size_t size);
char *alloc_strdup(const char *text);
_Noreturn void alloc_exit(int code);

static atomic_ulong calls;
static unsigned long fails; /* 0: none */

/* Offsets in the program, for addr2line; after a crash nothing else can be trusted. */
static void say_stack(int number)
{
    static void *frames[FRAMES];
    static char line[64];
    int n = backtrace(frames, FRAMES);
    for (int i = 0; i < n; i++) {
        int length = snprintf(line, sizeof line, "\nalloc: frame 0x%tx\n",
                              (const char *)frames[i] - &__executable_start);
        if (write(STDERR_FILENO, line, (size_t)length) != length)
            break;
    }
    _exit(128 + number);
}

/* Before the C library's: cmocka would take a crash for a failed test. */
sighandler_t signal(int number, sighandler_t handler)
{
    (void)number;
    (void)handler;
    return SIG_DFL;
}

__attribute__((constructor)) static void set_up(void)
{
    static const int numbers[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
    for (unsigned n = 0; n < sizeof numbers / sizeof *numbers; n++)
        sigaction(numbers[n], &(struct sigaction){.sa_handler = say_stack}, NULL);
    const char *text = getenv("POSTRIDER_ALLOC_FAILS");
    fails = text != NULL ? strtoul(text, NULL, 10) : 0;
}

__attribute__((destructor)) static void tell(void)
{
    fprintf(stderr, "\nalloc: %lu calls\n", atomic_load(&calls));
}

static bool strikes(const void *from)
{
    if (atomic_fetch_add(&calls, 1) + 1 != fails)
        return false;
    fprintf(stderr, "\nalloc: the call from 0x%tx fails\n", (const char *)from - &__executable_start);
    errno = ENOMEM;
    return true;
}

void *alloc_malloc(size_t size)
{
    return strikes(__builtin_return_address(0)) ? NULL : malloc(size);
}

void *alloc_calloc(size_t n, size_t size)
{
    return strikes(__builtin_return_address(0)) ? NULL : calloc(n, size);
}

void *alloc_realloc(void *p, size_t size)
{
    return strikes(__builtin_return_address(0)) ? NULL : realloc(p, size);
}

void *alloc_aligned(size_t alignment, size_t size)
{
    return strikes(__builtin_return_address(0)) ? NULL : aligned_alloc(alignment, size);
}

/* uthash's answer to a failed allocation, where it was given no other. */
void alloc_exit(int code)
{
    fprintf(stderr, "\nalloc: exit(%d)\n", code);
    abort();
}

char *alloc_strdup(const char *text)
{
    return strikes(__builtin_return_address(0)) ? NULL : strdup(text);
}
