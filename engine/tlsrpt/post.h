/* post.h - a report by HTTPS (RFC 8460 5.4; libcurl). Private to tlsrpt/. Waits for the answer. */
#ifndef POSTRIDER_TLSRPT_POST_H
#define POSTRIDER_TLSRPT_POST_H

#include "engine/base/err.h"
#include "engine/base/str.h"

#include <stdatomic.h>

/* At most RPT_POST_MS; ends soon after *stop is set. ca_file "": the system's authorities. True: it was
 * taken. */
bool rpt_post(const char *url, const char *ca_file, struct str packed, const _Atomic bool *stop,
              struct err *err);

#endif
