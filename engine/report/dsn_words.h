/* dsn_words.h - the part of a delivery report that people read: what happened, in plain words, what the
 * receiver said, and what to do. Lines end with LF; the text is UTF-8 with whatever bytes replies hold. */
#ifndef POSTRIDER_REPORT_DSN_WORDS_H
#define POSTRIDER_REPORT_DSN_WORDS_H

#include "engine/report/dsn.h"

void dsn_words(const struct dsn_report *report, struct buf *out);
/* RFC 5322 3.3. Returns text. */
#define DSN_DATE_MAX 40
const char *dsn_date(int64_t wall_ms, char text[DSN_DATE_MAX]);
/* A control character as it may stand in a report: white space becomes a blank, others a question mark. */
char dsn_printable(char c);

#endif
