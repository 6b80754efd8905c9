/* files.h - directories of the runs, in memory where there is a tmpfs: what a commit costs is not what is
 * tested here, and what a power cut leaves is tested by tests/crash. */
#ifndef POSTRIDER_TESTS_SIM_FILES_H
#define POSTRIDER_TESTS_SIM_FILES_H

#include "engine/base/str.h"

#define FILES_PATH_MAX 128

/* Before the first process and after the last: all directories lie in one. */
void files_begin(void);
void files_end(void);

void files_make_directory(char path[FILES_PATH_MAX]);
void files_remove(const char *directory);
void files_write(const char *path, struct str text);
void files_copy(const char *from, const char *to, const char *name);

#endif
