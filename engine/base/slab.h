/* slab.h - one block of memory for bytes that many owners point into, freed when the last lets go.
 *
 * The maker fills it and holds the first reference; only it calls slab_take. References may be counted up by
 * the maker, and let go, on any thread. */
#ifndef POSTRIDER_BASE_SLAB_H
#define POSTRIDER_BASE_SLAB_H

#include <stddef.h>

struct slab;

/* NULL: no memory. */
struct slab *slab_create(size_t size);
/* n bytes of it, not aligned; NULL: so many are not left. */
char *slab_take(struct slab *slab, size_t n);
void slab_ref(struct slab *slab, unsigned n); /* n more references */
void slab_unref(struct slab *slab);           /* NULL does nothing */

#endif
