/* ehlo.h - what a server offers, from the lines of its reply to EHLO (RFC 5321 4.1.1.1, RFC 9422). Pure. */
#ifndef POSTRIDER_SMTP_EHLO_H
#define POSTRIDER_SMTP_EHLO_H

#include "engine/base/str.h"

struct session_offers {
    bool esmtp, pipelining, size, eight_bit, starttls, smtputf8, dsn, enhanced, chunking, binary, requiretls;
    uint64_t size_max; /* 0: no limit said */
    /* LIMITS, 0: none said. Transactions a session, recipients a transaction, their domains a session. */
    uint32_t mail_max, rcpt_max, rcpt_domain_max;
};

/* The text of one line, without its code; not of the first, which holds the server's name. Unknown keywords
 * and malformed parameters are passed over. */
void ehlo_line(struct session_offers *offers, struct str line);

#endif
