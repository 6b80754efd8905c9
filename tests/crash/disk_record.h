/* disk_record.h - the disk from inside: what disk.c records and disk_cut.c cuts. */
#ifndef POSTRIDER_TESTS_CRASH_DISK_RECORD_H
#define POSTRIDER_TESTS_CRASH_DISK_RECORD_H

#include "tests/crash/disk.h"

#include <string.h>
#include <sys/types.h>

#define DISK_OBJECTS    64
#define DISK_NAME_BYTES 64
#define DISK_PATH_BYTES 400
#define DISK_FDS        256
#define DISK_BLOCK      4096

enum disk_op_kind {
    DISK_NAME, /* made, renamed or, with an empty name, removed */
    DISK_WRITE,
    DISK_SYNC
};
struct disk_op {
    enum disk_op_kind kind;
    unsigned object, doing;
    bool through; /* on the platter as it returns */
    size_t offset, size;
    uint8_t *bytes; /* NULL: zeros */
    char name[DISK_NAME_BYTES];
};
struct disk_object { /* a file or directory */
    bool directory;
    unsigned parent;
    char name[DISK_NAME_BYTES]; /* now; empty: removed */
    /* The platter, as far as cuts have come: */
    char named[DISK_NAME_BYTES]; /* empty: not there */
    uint8_t *bytes;
    size_t size;
    size_t *pending, pending_n, pending_cap; /* operations not on it for certain */
};

struct disk {
    bool on;
    enum disk_defect defect;
    char root[DISK_PATH_BYTES];
    struct disk_object objects[DISK_OBJECTS]; /* the first is the root */
    unsigned object_n, doing;
    struct disk_op *ops;
    size_t op_n, op_cap, reached; /* reached: the platter has so many */
    struct {
        unsigned object; /* + 1; 0: none */
        bool through;
    } fds[DISK_FDS];
};
extern struct disk disk;

_Noreturn void disk_die(const char *what, const char *path);
void *disk_must(void *p); /* no memory: the end */

static inline bool disk_is_zero(const uint8_t *p, size_t n)
{
    return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

#endif
