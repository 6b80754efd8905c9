/* names.c - see names.h. */
#include "engine/base/names.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct name {
    struct name *next;
    char text[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct name *names;

const char *names_keep(const char *text)
{
    size_t size = strlen(text) + 1;
    pthread_mutex_lock(&lock);
    struct name *name = names;
    while (name != NULL && strcmp(name->text, text) != 0)
        name = name->next;
    if (name == NULL && (name = malloc(sizeof *name + size)) != NULL) {
        memcpy(name->text, text, size);
        name->next = names;
        names = name;
    }
    pthread_mutex_unlock(&lock);
    return name != NULL ? name->text : NULL;
}
