/* data.h - the bytes after DATA: finds their end, takes the dot stuffing out, digests and judges them. Or
 * those after BDAT, which says how many there are.
 *
 * Streaming: any split of the bytes gives the same. Digested is the message as it was before stuffing, with
 * its last CRLF and without the final dot: whole (XXH3-128), or head and body apart (XXH3-64, as in
 * bench/record.h), or both. Only CRLF ends a line (RFC 5321 2.3.8). One thread. */
#ifndef POSTRIDER_WORLD_DATA_H
#define POSTRIDER_WORLD_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DATA_LINE_MAX 1000 /* with its CRLF, RFC 5321 4.5.3.1.6 */

/* What to digest; by default nothing. */
#define DATA_WHOLE 1U
#define DATA_PARTS 2U
#define DATA_PLAIN 4U /* and nothing is stuffed, no dot ends it (BDAT): `done` stays false */

struct data;

struct data_facts {
    uint64_t size; /* octets before stuffing */
    bool bare_cr, bare_lf, long_line, undoubled_dot, eight_bit;
};

struct data_parts {
    uint64_t head, body;
};

/* NULL if memory is out. One serves any number of messages. */
struct data *data_create(void);
void data_free(struct data *data);
void data_begin(struct data *data, unsigned digests);
/* Takes bytes up to the end of the data; returns how many were its, and in *done whether the end was there.
 */
size_t data_feed(struct data *data, const char *p, size_t n, bool *done);
/* Plain: that was all. */
void data_end(struct data *data);
/* After the end; the digests only if they were asked for. */
struct data_facts data_facts(const struct data *data);
bool data_has(const struct data *data, unsigned digests);
struct data_parts data_parts(const struct data *data);
#define DATA_DIGEST_MAX 33
void data_digest(const struct data *data, char hex[static DATA_DIGEST_MAX]);

#endif
