/* scan.h - where the CRs, LFs, dots and 8-bit bytes are in message data, as bit masks of 64 bytes each.
 *
 * The part of reading a message that is worth vector instructions: AVX-512 or AVX2 where the processor has
 * them, eight bytes at a time elsewhere. Any thread. */
#ifndef POSTRIDER_WORLD_SCAN_H
#define POSTRIDER_WORLD_SCAN_H

#include <stddef.h>
#include <stdint.h>

#define SCAN_BLOCK 64

struct scan_masks {
    uint64_t cr, lf, dot, high; /* bit i: of byte i; high: above 127 */
};

/* Masks of `blocks` whole blocks at p. */
void scan_blocks(const char *p, size_t blocks, struct scan_masks *out);

#endif
