/* names.h - names that outlive what they came from: each text is kept once, until the process ends.
 *
 * For the few that an operator gives (sources and the like), of which the store may still hold a view when
 * the configuration they stood in has gone. Any thread. */
#ifndef POSTRIDER_BASE_NAMES_H
#define POSTRIDER_BASE_NAMES_H

/* The kept copy of this text; NULL: no memory. */
const char *names_keep(const char *text);

#endif
