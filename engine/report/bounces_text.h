/* bounces_text.h - a bounce report as text: aligned columns for a terminal, safe for it whatever receivers
 * wrote into their replies. Pure; any thread. */
#ifndef POSTRIDER_REPORT_BOUNCES_TEXT_H
#define POSTRIDER_REPORT_BOUNCES_TEXT_H

#include "engine/base/js.h"

/* Appends the report, whose shape is in admin/api.h. */
void bounces_text(const json_t *report, struct buf *out);

#endif
