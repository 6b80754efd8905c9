/* process.c - see process.h. */
#include "engine/admin/process.h"

#include <stdio.h>
#include <sys/statvfs.h>

uint64_t process_memory(void)
{
    char line[256];
    unsigned long long kib, sum = 0;
    FILE *file = fopen("/proc/self/status", "re");
    if (file == NULL)
        return 0;
    while (fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "RssAnon: %llu", &kib) == 1 || sscanf(line, "RssShmem: %llu", &kib) == 1)
            sum += kib;
    }
    fclose(file);
    return sum * 1024;
}

uint64_t process_disk_free(const char *directory)
{
    struct statvfs info;
    if (statvfs(directory, &info) != 0)
        return 0;
    return (uint64_t)info.f_bavail * info.f_frsize;
}
