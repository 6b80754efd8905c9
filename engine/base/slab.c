/* slab.c - see slab.h. */
#include "engine/base/slab.h"

#include <stdatomic.h>
#include <stdlib.h>

struct slab {
    atomic_uint refs;
    size_t left;
    char *next;
};

struct slab *slab_create(size_t size)
{
    struct slab *slab = malloc(sizeof *slab + size);
    if (slab == NULL)
        return NULL;
    atomic_init(&slab->refs, 1);
    slab->left = size;
    slab->next = (char *)(slab + 1);
    return slab;
}

char *slab_take(struct slab *slab, size_t n)
{
    if (n > slab->left)
        return NULL;
    char *bytes = slab->next;
    slab->next += n;
    slab->left -= n;
    return bytes;
}

void slab_ref(struct slab *slab, unsigned n)
{
    atomic_fetch_add_explicit(&slab->refs, n, memory_order_relaxed);
}

void slab_unref(struct slab *slab)
{
    if (slab != NULL && atomic_fetch_sub_explicit(&slab->refs, 1, memory_order_acq_rel) == 1)
        free(slab);
}
