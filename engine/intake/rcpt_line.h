/* rcpt_line.h - one recipient of a job, from JSON: {"to", "vars", "id", "notify", "orcpt", "metadata"}.
 *
 * Most lines never come here: see rcpt_scan.h. A reader is kept for one line after the other; one thread. */
#ifndef POSTRIDER_INTAKE_RCPT_LINE_H
#define POSTRIDER_INTAKE_RCPT_LINE_H

#include "engine/intake/members.h"
#include "engine/message/address.h"
#include "engine/message/vars.h"
#include "queue/store.h"

struct rcpt_reader {
    struct vars_builder vars;
    struct address address;
    struct buf metadata;
    char id[MEMBER_NUMBER_MAX];
    char to[ADDRESS_MAX + 1]; /* with the domain in A-labels, where it was not */
    char room[RCPT_SCAN_MAX]; /* rcpt_scan's, for what had escapes */
};

void rcpt_reader_init(struct rcpt_reader *reader);
void rcpt_reader_free(struct rcpt_reader *reader);
/* Checks and converts. *out has views into the object and the reader: valid until either goes. False: err
 * says why this recipient can't be accepted. */
bool rcpt_read(struct rcpt_reader *reader, const json_t *object, struct rcpt_spec *out, struct err *err);

#endif
