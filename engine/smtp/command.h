/* command.h - writes the commands of a transaction, each a whole line with CRLF. Pure.
 *
 * Parameters are written only where the server offers the extension: SIZE (RFC 1870), BODY (6152, 3030),
 * SMTPUTF8 (6531), RET, ENVID, NOTIFY and ORCPT (3461, in xtext), REQUIRETLS (8689). An ENVID or ORCPT that
 * would be longer than RFC 3461 allows is left out. A line is at most COMMAND_MAX, whatever it is given. */
#ifndef POSTRIDER_SMTP_COMMAND_H
#define POSTRIDER_SMTP_COMMAND_H

#include "engine/base/buf.h"
#include "engine/smtp/ehlo.h"
#include "engine/smtp/transaction.h"

enum command_address { COMMAND_ADDRESS_OK, COMMAND_ADDRESS_BAD, COMMAND_ADDRESS_NEEDS_UTF8 };
/* Whether an address can stand in a command without breaking out of it: no CR, LF, NUL or other control; no
 * space and no angle bracket except quoted; at most ADDRESS_MAX. Addresses are checked at intake, too; this
 * is the last door. */
enum command_address command_address_check(struct str address, bool utf8);

/* These append to out and are false when it is full. The addresses must have passed the check. */
bool command_mail(struct buf *out, const struct session_transaction *transaction,
                  const struct session_offers *offers);
bool command_rcpt(struct buf *out, const struct session_rcpt *rcpt, const struct session_offers *offers);

/* A line that is sent, as whoever watches may see it: whole where it begins with a command that is known to
 * hold no secret; AUTH without what is behind the mechanism; of anything else only how long it is. A view of
 * line or of room. */
#define COMMAND_SHOWN_MAX 96
struct str command_shown(struct str line, char room[COMMAND_SHOWN_MAX]);

#endif
