/* event_file.h - a file of lines that are only appended, synced before they count, and put aside when it is
 * large or old: events for a consumer, and the letters that a webhook refused.
 *
 * It is at its path whenever something is appended: where somebody has moved it away, a new one is begun, so
 * that no signal is needed. A line that a crash cut short is taken off when the file is opened: what it held
 * was not acknowledged and comes again. Put aside, PATH becomes PATH.1, that becomes PATH.2, up to `keep`.
 * One thread a file; nothing here waits but for the disk. */
#ifndef POSTRIDER_REPORT_EVENT_FILE_H
#define POSTRIDER_REPORT_EVENT_FILE_H

#include "engine/base/clock.h"
#include "engine/base/err.h"
#include "engine/base/str.h"

struct event_file_settings {
    const char *path;      /* outlives the file, as do all */
    uint64_t rotate_size;  /* bytes; 0: never */
    int64_t rotate_age_ms; /* since it was begun; 0: never */
    unsigned keep;         /* how many put aside are kept, at least 1 */
};

struct event_file {
    struct event_file_settings settings;
    int fd; /* -1: not open */
    uint64_t size, device, inode;
    int64_t begun_ms;
};

void event_file_init(struct event_file *file, const struct event_file_settings *settings);
void event_file_close(struct event_file *file);
/* Appends whole lines and syncs them. False and err: none of them counts, and what was written of them is
 * gone at the latest when the file is opened again. */
bool event_file_append(struct event_file *file, struct str lines, struct now now, struct err *err);

#endif
