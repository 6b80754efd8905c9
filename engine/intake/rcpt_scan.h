/* rcpt_scan.h - the shape that nearly all recipient lines have, read straight from the text:
 * {"to":"…","vars":{"name":"…","n":3},"id":"…"}, members in any order, only "to" needed.
 *
 * The hot path of intake. Whatever else a line is (other members, a fraction, a domain in UTF-8, anything
 * wrong) is left to jansson and rcpt_read, which give the same for what is read here. One thread a reader. */
#ifndef POSTRIDER_INTAKE_RCPT_SCAN_H
#define POSTRIDER_INTAKE_RCPT_SCAN_H

#include "engine/intake/rcpt_line.h"

/* True: it is a good recipient. *out has views into the line and the reader, valid until either goes. False:
 * parse it. */
bool rcpt_scan(struct rcpt_reader *reader, struct str line, struct rcpt_spec *out);

#endif
