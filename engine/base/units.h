/* units.h - what people write for durations, sizes, rates and times, to numbers and back.
 *
 * Durations: `30s 5m 4h 4d12h 1500ms`, the units ms s m h d w in falling order, each at most once; a bare
 * number is refused (nobody agrees on its unit), except 0. Sizes: `512 64k 10M 100G 1T`, powers of 1024, an
 * optional `B` or `iB` after the letter, either case. Rates: `5/s 100/min 1000/h 50000/d`, also `/10s`; `/sec
 * /m /minute /hour /day` are understood. Times: RFC 3339, or seconds since 1970 with up to three decimals.
 *
 * Parsers take the whole text, white space around it apart, and return false (leaving *out alone) on anything
 * else or on overflow. Formatters write the shortest text that parses to the same value, with a final NUL,
 * and return its length. Pure; any thread. */
#ifndef POSTRIDER_BASE_UNITS_H
#define POSTRIDER_BASE_UNITS_H

#include "engine/base/str.h"

#define UNITS_TEXT_MAX 48

/* count things in per_ms milliseconds; count 0: no limit. */
struct rate {
    uint32_t count;
    uint32_t per_ms;
};

bool duration_parse(struct str text, int64_t *ms);
size_t duration_format(int64_t ms, char text[UNITS_TEXT_MAX]);
bool size_parse(struct str text, uint64_t *bytes);
size_t size_format(uint64_t bytes, char text[UNITS_TEXT_MAX]);
/* "0" and "none" are {0, 0}: no limit. */
bool rate_parse(struct str text, struct rate *rate);
size_t rate_format(struct rate rate, char text[UNITS_TEXT_MAX]);
/* Years 1970 to 9999; a leap second counts as the second after it. */
bool time_parse(struct str text, int64_t *wall_ms);
/* RFC 3339 in UTC with milliseconds: 2024-05-06T07:08:09.123Z. */
size_t time_format(int64_t wall_ms, char text[UNITS_TEXT_MAX]);
/* As mail has it (RFC 5322 3.3), in UTC: Mon, 6 May 2024 07:08:09 +0000. */
size_t mail_date_format(int64_t wall_ms, char text[UNITS_TEXT_MAX]);

#endif
