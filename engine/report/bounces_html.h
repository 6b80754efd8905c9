/* bounces_html.h - a bounce report as one page for a browser or an e-mail: charts as inline SVG, tables, and
 * what receivers said.
 *
 * The page needs nothing else: no script, no image, no font, no address of another host; a content security
 * policy in it forbids all of that, so that whatever a receiver wrote into a reply stays text. Everything is
 * escaped, and bidirectional text is kept within its cell. Pure; any thread. */
#ifndef POSTRIDER_REPORT_BOUNCES_HTML_H
#define POSTRIDER_REPORT_BOUNCES_HTML_H

#include "engine/base/js.h"

/* Appends the report, whose shape is in admin/api.h. */
void bounces_html(const json_t *report, struct buf *out);

#endif
