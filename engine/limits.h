/* limits.h - every bound of the engine in one place, with asserts on how they relate.
 *
 * `_MAX` is a refusal or a cap, never a hint. What an operator may set is in config.c; these are the outer
 * walls. */
#ifndef POSTRIDER_LIMITS_H
#define POSTRIDER_LIMITS_H

/* Storage (queue/): see "No value exceeds 4,000 bytes" in queue/schema.h. */
#define VALUE_MAX           4000              /* bytes in one LMDB value: one overflow page at most */
#define BATCH_SLOTS_MAX     256               /* recipients in one batch */
#define TXN_ROWS_MAX        5000              /* rows touched by one write transaction */
#define TXN_WORK_MAX_MS     20                /* and the time spent in it before the commit */
#define COMMIT_LINGER_MS    10                /* how long settles may wait for company; admits never wait */
#define ADMIT_WINDOW_MAX    (4 * 1024 * 1024) /* bytes of recipients sorted and admitted together */
#define ADMIT_WINDOW_RCPTS  20000
#define ADMIT_IN_FLIGHT_MAX 4096 /* windows waiting for the writer over all uploads */
#define READ_ROWS_MAX       1000 /* rows read before a read transaction is renewed */
#define READERS_MAX         512  /* LMDB reader slots */

/* Intake. */
#define JOB_LINE_MAX        (64 * 1024 * 1024) /* a job line holds the message; base64 of about 45 MB */
#define RCPT_LINE_MAX       (256 * 1024)
#define CONTENT_MAX         (50 * 1024 * 1024) /* a compiled message */
#define ADDRESS_MAX         320                /* 64 + @ + 255, RFC 5321 4.5.3.1 */
#define LOCAL_PART_MAX      64
#define DOMAIN_MAX          255
#define VARS_MAX            (128 * 1024) /* one recipient's variables, encoded */
#define VAR_NAME_MAX        128
#define NAME_MAX_BYTES      128 /* tenant, campaign, pool, site and source names */
#define IDEMPOTENCY_KEY_MAX 255
#define METADATA_MAX        2048
#define REJECTED_LISTED_MAX 1000

/* SMTP. */
#define REPLY_LINE_MAX     2048 /* RFC 5321 says 512; servers send more */
#define REPLY_TEXT_MAX     1024 /* kept of a joined multi-line reply */
#define REPLY_LINES_MAX    128
#define STORED_REPLY_MAX   512 /* of it, what goes into rows and events */
#define TXN_RCPTS_MAX      1000
#define MX_HOSTS_MAX       32
#define HOST_ADDRESSES_MAX 32

/* Scheduling, a worker. */
#define LANE_TAKE_MAX    256                /* recipients granted to a lane at once */
#define WORKER_TAKEN_MAX 50000              /* recipients in a worker's memory */
#define CONTENT_LIVE_MAX (64 * 1024 * 1024) /* bytes of messages in memory for taken recipients */
#define LANE_TAKE_MAX       256   /* recipients granted to a lane at once */
#define WORKER_TAKEN_MAX    50000 /* recipients in a worker's memory */
#define LANES_LIVE_MAX      20000 /* lanes announced to workers and not yet found empty */
#define CONTENT_LIVE_MAX    (64 * 1024 * 1024) /* bytes of messages in memory for taken recipients */

#endif
