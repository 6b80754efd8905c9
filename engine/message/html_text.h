/* html_text.h - HTML to the plain text that goes beside it. Private to message/.
 *
 * What a reader would see, line by line: paragraphs apart, list items after a dash, quotations after `>`, the
 * address of a link in <> behind its words, a picture's `alt`. Style sheets, scripts and what is hidden by
 * style (the preview line of newsletters) are left out. Variables are text and stay: {{x}} is then not
 * escaped, {{{x}}} brings its markup along. Any input gives some text; libxml2 does the parsing (any
 * malformed HTML, no network, no entity expansion, nesting bounded). */
#ifndef POSTRIDER_MESSAGE_HTML_TEXT_H
#define POSTRIDER_MESSAGE_HTML_TEXT_H

#include "engine/base/buf.h"

/* Appends to out, lines ended by LF. Nothing but white space: appends nothing. False when out's maximum is
 * passed or memory is out. Any thread. */
bool html_to_text(struct str html, struct buf *out);

#endif
