/* limits.h - every bound of the world in one place. */
#ifndef POSTRIDER_WORLD_LIMITS_H
#define POSTRIDER_WORLD_LIMITS_H

#include <stdint.h>

#define WORLD_HOSTS_MAX          200000
#define WORLD_HOST_ADDRESSES_MAX 64
#define WORLD_RULES_MAX          64
#define WORLD_NUMBERS_MAX        10000000 /* names one {n..m} may stand for */
#define WORLD_SCENARIO_MAX       (16 * 1024 * 1024)
#define WORLD_DNS_NAME_MAX       255
#define WORLD_DNS_UDP_MAX        4096
#define WORLD_DNS_NAMES_MAX      100000 /* names whose queries are counted one by one */
#define WORLD_READ_MAX           (256 * 1024)
#define WORLD_COMMAND_MAX        2048              /* a command line with its CRLF */
#define WORLD_REPLY_MAX          (4 * 1024 * 1024) /* replies to one read of pipelined commands */
#define WORLD_ADDRESS_MAX        320
#define WORLD_RECIPIENTS_MAX     50000             /* of one transaction, where no max_recipients is set */
#define WORLD_RECIPIENTS_ROOM    (8 * 1024 * 1024) /* for their numbers */
#define WORLD_ENVELOPE_MAX       (20 * 1024 * 1024)
#define WORLD_REMEMBERED_MAX     20000000 /* greylisted pairs, counted rules; then all is forgotten */
#define WORLD_RECORD_SLOTS_MAX   1000000000
#define WORLD_CONTROL_LINE_MAX   (1024 * 1024)
#define WORLD_CONTROL_CLIENTS    64
#define WORLD_CONTROL_ANSWER_MAX (1024 * 1024 * 1024)
#define WORLD_EXAMPLES_MAX       5 /* kept of each host's violations */
#define WORLD_IDLE_NS            (INT64_C(300) * 1000000000)
#define WORLD_LINGER_NS          (INT64_C(2) * 1000000000)
#define WORLD_DNS_TCP_IDLE_NS    (INT64_C(10) * 1000000000)
#define WORLD_LOG_FLUSH_NS       (INT64_C(200) * 1000000)

#endif
