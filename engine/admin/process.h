/* process.h - what this process and its disk take. Any thread. */
#ifndef POSTRIDER_ADMIN_PROCESS_H
#define POSTRIDER_ADMIN_PROCESS_H

#include <stdint.h>

/* Bytes of memory of its own: RssAnon and RssShmem, without the pages of the store's map; 0: not known. */
uint64_t process_memory(void);
/* Bytes free for us on the disk of a directory; 0: not known. */
uint64_t process_disk_free(const char *directory);

#endif
