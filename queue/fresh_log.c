/* fresh_log.c - see fresh_log.h. */
#include "queue/fresh_log.h"

#include "engine/base/codec.h"
#include "engine/base/prng.h"
#include "engine/limits.h"
#include "queue/env.h"
#include "queue/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_NAME   "fresh.log"
#define BLOCK       4096
#define STEP_BYTES  (1U << 20) /* written ahead at a time; about 1 ms */
#define SCAN_BYTES  (256U << 10)
#define FRAME_HEAD  40
#define FRAME_MAX   (FRESH_COMMIT_BYTES + FRESH_ROW_MAX + BLOCK)
#define HEAD_MAGIC  UINT64_C(0x506f737472464831) /* PostrFH1 */
#define FRAME_MAGIC UINT64_C(0x506f737472464631) /* PostrFF1 */
#define LOG_VERSION 1
#define ROUND_UP(n) (((n) + BLOCK - 1) / BLOCK * BLOCK)

_Static_assert(FRESH_FILE_MAX > 2 * (uint64_t)FRESH_BYTES_MAX, "what waits fits");
_Static_assert(SCAN_BYTES <= FRAME_MAX, "the frame's memory holds what is looked through at once");

/* All of it at one place; false: no space. */
static bool write_at(const struct fresh_log *log, const void *bytes, size_t n, uint64_t offset)
{
    for (size_t done = 0; done < n;) {
        ssize_t w = pwrite(log->fd, (const char *)bytes + done, n - done, (off_t)(offset + done));
        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0 && env_is_no_space(errno))
            return false;
        if (w < 0)
            env_die("new jobs cannot be written", errno);
        done += (size_t)w;
    }
    return true;
}

static void sync_file(const struct fresh_log *log)
{
    if (fdatasync(log->fd) != 0)
        env_die("a sync of new jobs failed", errno);
}

/* Direct where the file system can: the pages are written once, and nobody reads them. Some refuse it as the
 * file is opened, others (blocks larger than ours) at the first read, which goes to `block`. */
static int file_open(const char *path, void *block)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_DIRECT, 0640);
    if (fd >= 0 && (pread(fd, block, BLOCK, 0) >= 0 || errno != EINVAL))
        return fd;
    if (fd < 0 && errno != EINVAL)
        return fd;
    if (fd >= 0)
        close(fd);
    return open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
}

/* The head of a new file, in place before any frame. */
static bool head_make(struct fresh_log *log)
{
    memset(log->frame, 0, BLOCK);
    log->seed = prng_seed();
    put_be64(log->frame, HEAD_MAGIC);
    put_be32(log->frame + 8, LOG_VERSION);
    put_be64(log->frame + 12, log->seed);
    if (!write_at(log, log->frame, BLOCK, 0))
        return false;
    sync_file(log);
    log->size = BLOCK;
    return true;
}

static bool head_read(struct fresh_log *log)
{
    if (pread(log->fd, log->frame, BLOCK, 0) != BLOCK || get_be64(log->frame) != HEAD_MAGIC ||
        get_be32(log->frame + 8) != LOG_VERSION)
        return false;
    log->seed = get_be64(log->frame + 12);
    return true;
}

/* Whether a head was ever written: without one there can be no frame. A power cut as the file was new may
 * have left its length alone. */
static bool head_begun(const struct fresh_log *log)
{
    return log->size == BLOCK && (pread(log->fd, log->frame, BLOCK, 0) != BLOCK || get_be64(log->frame) != 0);
}

bool fresh_log_open(struct fresh_log *log, const char *directory, struct err *err)
{
    char path[4096];
    struct stat st;
    *log = (struct fresh_log){.at = BLOCK};
    snprintf(path, sizeof path, "%s/%s", directory, FILE_NAME);
    log->fd = -1;
    log->frame = aligned_alloc(BLOCK, FRAME_MAX);
    if (log->frame == NULL)
        return err_set(err, ENOMEM, "no memory to open %s", path);
    log->fd = file_open(path, log->frame);
    if (log->fd < 0 || fstat(log->fd, &st) != 0)
        return err_set(err, errno,
                       "cannot open %s, where new jobs land: %s; change its owner to the daemon's user", path,
                       strerror(errno));
    log->size = (uint64_t)st.st_size / BLOCK * BLOCK;
    if (log->size <= BLOCK && !head_begun(log) && !head_make(log))
        return err_set(err, ENOSPC, "cannot write %s, where new jobs land: no space; free some disk", path);
    if (log->size == BLOCK && !env_sync_names(directory))
        return err_set(err, errno, "cannot sync the directory %s, where new jobs land: %s; check the disk",
                       directory, strerror(errno));
    if (!head_read(log))
        return err_set(
            err, EINVAL,
            "%s, where new jobs land, is damaged or of another version of this program; restore it "
            "together with data.mdb, or delete it when the queue was stopped in order",
            path);
    return true;
}

void fresh_log_close(struct fresh_log *log)
{
    if (log->frame == NULL)
        return;
    if (log->fd >= 0)
        close(log->fd);
    free(log->frame);
    free(log->frames);
    *log = (struct fresh_log){.fd = -1};
}

/* ---- frames ---- */

static uint64_t checksum(const struct fresh_log *log, const uint8_t *frame, size_t used)
{
    uint64_t head = str_hash_seeded(str_make((const char *)frame, FRAME_HEAD - 8), log->seed);
    return str_hash_seeded(str_make((const char *)frame + FRAME_HEAD, used - FRAME_HEAD), head);
}

void fresh_log_begin(struct fresh_log *log, uint64_t first_seq)
{
    log->first_seq = first_seq;
    log->rows = 0;
    log->used = FRAME_HEAD;
}

void fresh_log_add(struct fresh_log *log, struct str row)
{
    QUEUE_ASSERT(log->used + 4 + row.n <= FRAME_MAX - BLOCK);
    put_be32(log->frame + log->used, (uint32_t)row.n);
    memcpy(log->frame + log->used + 4, row.p, row.n);
    log->used += 4 + row.n;
    log->rows++;
}

/* Zeros at the file's end, until it has `size` bytes. False: no space. */
static bool grow(struct fresh_log *log, uint64_t size)
{
    if (size > FRESH_FILE_MAX)
        return false;
    void *zeros = aligned_alloc(BLOCK, STEP_BYTES);
    bool ok = zeros != NULL;
    if (ok)
        memset(zeros, 0, STEP_BYTES);
    for (; ok && log->size < size; log->size += ok ? STEP_BYTES : 0)
        ok = write_at(log, zeros, STEP_BYTES, log->size);
    free(zeros);
    return ok;
}

/* Where n bytes can go: behind the last frame, or at the front again when that is free; else the file grows,
 * unless older frames lie between, which the next ones then wait for. */
static bool place_find(struct fresh_log *log, uint64_t n, uint64_t *at)
{
    bool none = log->first == log->end;
    uint64_t oldest = none ? 0 : log->frames[log->first].offset;
    *at = log->at;
    if (none)
        *at = BLOCK;
    else if (oldest >= log->at) /* it has gone round */
        return log->at + n <= oldest;
    if (*at + n <= log->size)
        return true;
    if (!none && BLOCK + n <= oldest) {
        *at = BLOCK;
        return true;
    }
    return grow(log, *at + n);
}

static void frame_note(struct fresh_log *log, uint64_t offset, uint64_t size, uint64_t last_seq)
{
    if (log->first > 0 && log->first == log->end)
        log->first = log->end = 0;
    if (log->end == log->cap && log->first > log->cap / 2) {
        memmove(log->frames, log->frames + log->first, (log->end - log->first) * sizeof *log->frames);
        log->end -= log->first;
        log->first = 0;
    }
    log->frames = mem_grow(log->frames, &log->cap, log->end + 1, sizeof *log->frames);
    log->frames[log->end++] = (struct fresh_frame){offset, size, last_seq};
    log->at = offset + size;
}

bool fresh_log_commit(struct fresh_log *log, uint64_t applied)
{
    uint64_t at, size = ROUND_UP(log->used);
    while (log->first < log->end && log->frames[log->first].last_seq <= applied)
        log->first++;
    if (!place_find(log, size, &at))
        return false;
    uint8_t *frame = log->frame;
    put_be64(frame, FRAME_MAGIC);
    put_be64(frame + 8, log->first_seq);
    put_be64(frame + 16, log->rows);
    put_be64(frame + 24, log->used);
    put_be64(frame + 32, checksum(log, frame, log->used));
    memset(frame + log->used, 0, size - log->used);
    if (!write_at(log, frame, size, at))
        return false;
    sync_file(log);
    frame_note(log, at, size, log->first_seq + log->rows - 1);
    return true;
}

/* ---- the start ---- */

/* Up to n bytes at `at` into log->frame behind the first `have`; returns how many there are then. A disk that
 * cannot be read is not taken for one that holds nothing. */
static size_t read_at(const struct fresh_log *log, size_t have, size_t n, uint64_t at)
{
    while (have < n) {
        ssize_t r = pread(log->fd, log->frame + have, n - have, (off_t)(at + have));
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            env_die("new jobs cannot be read", errno);
        if (r == 0)
            break;
        have += (size_t)r;
    }
    return have;
}

/* What log->frame holds of the file: whole blocks. */
struct view {
    uint64_t at;
    size_t n;
};

/* The block at `at`, read with those behind it: a block at a time took 5 s for 256 MiB. NULL: not there. */
static const uint8_t *block_at(const struct fresh_log *log, struct view *view, uint64_t at)
{
    if (at < view->at || at + BLOCK > view->at + view->n) {
        size_t n = log->size - at < SCAN_BYTES ? (size_t)(log->size - at) : SCAN_BYTES;
        *view = (struct view){at, read_at(log, 0, n, at) / BLOCK * BLOCK};
    }
    return view->n >= BLOCK ? log->frame + (at - view->at) : NULL;
}

/* The frame that begins at `at`, if there is a whole one, and its bytes; else NULL. */
static const uint8_t *frame_at(const struct fresh_log *log, struct view *view, uint64_t at, size_t *used)
{
    const uint8_t *frame = block_at(log, view, at);
    if (frame == NULL || get_be64(frame) != FRAME_MAGIC)
        return NULL;
    uint64_t n = get_be64(frame + 24), size = ROUND_UP(n);
    if (n < FRAME_HEAD || n > FRAME_MAX - BLOCK || at + size > log->size)
        return NULL;
    if (at + size > view->at + view->n) {
        size_t have = (size_t)(view->at + view->n - at);
        memmove(log->frame, frame, have);
        frame = log->frame;
        *view = (struct view){at, read_at(log, have, (size_t)size, at) / BLOCK * BLOCK};
    }
    *used = (size_t)n;
    return at + size <= view->at + view->n && get_be64(frame + 32) == checksum(log, frame, *used) ? frame
                                                                                                  : NULL;
}

uint64_t fresh_log_first(struct fresh_log *log)
{
    uint64_t first = 0;
    struct view view = {0};
    size_t used;
    for (uint64_t at = BLOCK; at < log->size;) {
        const uint8_t *frame = frame_at(log, &view, at, &used);
        if (frame != NULL && (first == 0 || get_be64(frame + 8) < first))
            first = get_be64(frame + 8);
        at += frame ? ROUND_UP(used) : BLOCK;
    }
    return first;
}

static int by_seq(const void *a, const void *b)
{
    const struct fresh_frame *x = a, *y = b;
    return x->last_seq < y->last_seq ? -1 : x->last_seq > y->last_seq;
}

static void rows_visit(const uint8_t *frame, size_t used, uint64_t after, fresh_log_visit *visit, void *user)
{
    uint64_t seq = get_be64(frame + 8);
    for (size_t at = FRAME_HEAD; at + 4 <= used; seq++) {
        uint32_t n = get_be32(frame + at);
        if (n > used - at - 4)
            return;
        if (seq > after)
            visit(seq, str_make((const char *)frame + at + 4, n), user);
        at += 4 + (size_t)n;
    }
}

uint64_t fresh_log_read(struct fresh_log *log, uint64_t after, fresh_log_visit *visit, void *user, bool *lost)
{
    uint64_t last = after;
    struct view view = {0};
    size_t used;
    *lost = false;
    for (uint64_t at = BLOCK; at < log->size;) {
        const uint8_t *frame = frame_at(log, &view, at, &used);
        uint64_t last_seq = frame ? get_be64(frame + 8) + get_be64(frame + 16) - 1 : 0;
        if (last_seq > after)
            frame_note(log, at, ROUND_UP(used), last_seq);
        at += frame ? ROUND_UP(used) : BLOCK;
    }
    if (log->end > 1)
        qsort(log->frames, log->end, sizeof *log->frames, by_seq);
    for (size_t n = 0; n < log->end; n++) {
        const uint8_t *frame = frame_at(log, &view, log->frames[n].offset, &used);
        if (frame == NULL) /* it was there just now */
            env_die("new jobs cannot be read", EIO);
        *lost |= get_be64(frame + 8) > last + 1;
        rows_visit(frame, used, after, visit, user);
        last = log->frames[n].last_seq;
        log->at = log->frames[n].offset + log->frames[n].size;
    }
    return last;
}
