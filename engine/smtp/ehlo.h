/* ehlo.h - what a server offers, from the lines of its reply to EHLO (RFC 5321 4.1.1.1). Pure. */
#ifndef POSTRIDER_SMTP_EHLO_H
#define POSTRIDER_SMTP_EHLO_H

#include "engine/base/str.h"

struct session_offers {
    bool esmtp, pipelining, size, eight_bit, starttls, smtputf8, dsn, enhanced, chunking, requiretls;
    uint64_t size_max; /* 0: no limit said */
};

/* The text of one line, without its code; not of the first, which holds the server's name. Unknown keywords
 * and malformed parameters are passed over. */
void ehlo_line(struct session_offers *offers, struct str line);

#endif
