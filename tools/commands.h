/* commands.h - the commands, each beside its code; commands.c puts them in order. */
#ifndef POSTRIDER_TOOLS_COMMANDS_H
#define POSTRIDER_TOOLS_COMMANDS_H

#include "tools/cli.h"

extern const struct command command_submit;                                 /* submit.c */
extern const struct command command_jobs, command_job;                      /* jobs.c */
extern const struct command command_bounces;                                /* bounces.c */
extern const struct command command_status, command_queue, command_sites;   /* queue.c */
extern const struct command command_top;                                    /* top.c */
extern const struct command command_explain;                                /* queue.c */
extern const struct command command_mailq, command_recipient;               /* recipients.c */
extern const struct command command_retry, command_bounce;                  /* steer.c */
extern const struct command command_suspend, command_resume;                /* held.c */
extern const struct command command_suspensions, command_site;              /* held.c */
extern const struct command command_trace;                                  /* trace.c */
extern const struct command command_sources, command_source, command_flush; /* sources.c */
extern const struct command command_events;                                 /* events.c */
extern const struct command command_rule;                                   /* rule.c */
extern const struct command command_consumers;                              /* consumers.c */
extern const struct command command_inbound;                                /* inbound.c */
extern const struct command command_suppress;                               /* suppress.c */
extern const struct command command_reload;                                 /* reload.c */
extern const struct command command_backup;                                 /* backup.c */
extern const struct command command_resolve;                                /* resolve.c */
extern const struct command command_probe;                                  /* probe.c */
extern const struct command command_preview;                                /* preview.c */
extern const struct command command_config, command_version, command_help;  /* local.c */

extern const struct command command_roff; /* man.c */

#define OPTIONS(list) .options = list, .option_count = sizeof list / sizeof *list

#endif
