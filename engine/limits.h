/* limits.h - every bound of the engine in one place, with asserts on how they relate.
 *
 * `_MAX` is a refusal or a cap, never a hint. What an operator may set is in config_table.c; these are the
 * outer walls.
 *
 * A bound has two values: BOUND(as shipped, tiny). The second is for a build (make tiny) in which every
 * buffer, window and table is as small as can be, so that in each test they are full, batches are split and
 * everybody waits for room. FIXED is the same in both: what a standard or a manual promises to users, what
 * one item of that promise takes, and the rules of what is done (shares, counts of tries), which do not fill.
 * Times stand bare, for shorter ones would make tests depend on the machine. `make lint` asks of each line
 * that it is one of these. */
#ifndef POSTRIDER_LIMITS_H
#define POSTRIDER_LIMITS_H

#include <stdint.h>

#ifdef POSTRIDER_TINY
#define BOUND(shipped, tiny) (tiny)
#else
#define BOUND(shipped, tiny) (shipped)
#endif
#define FIXED(value) (value)

/* Storage (queue/): see "No value exceeds 4,000 bytes" in queue/schema.h. */
#define VALUE_MAX           FIXED(4000)      /* bytes in one LMDB value: one overflow page at most */
#define BATCH_SLOTS_MAX     BOUND(256, 16)   /* recipients in one batch */
#define TXN_ROWS_MAX        BOUND(5000, 256) /* rows touched by one write transaction */
#define TXN_WORK_MAX_MS     20               /* and the time spent in it before the commit */
#define COMMIT_LINGER_MS    10               /* how long settles may wait for company; admits never wait */
#define ADMIT_WINDOW_MAX    BOUND(4 * 1024 * 1024, 4096) /* bytes of recipients admitted together */
#define ADMIT_WINDOW_RCPTS  BOUND(20000, 40)
#define ADMIT_IN_FLIGHT_MAX BOUND(4096, 72) /* windows waiting for the writer over all uploads */
#define FRESH_HOLD_MS       400             /* how long a new small job may wait in memory for its end */
#define FRESH_SETTLE_MS     20              /* and what came back of it, for the rest */
#define FRESH_CHANGE_JOBS   BOUND(400, 2) /* that have ended, and are then written without waiting for more */
#define FRESH_CHANGE_ROWS   BOUND(8000, 64) /* rows for those that have not, besides a change's own */
#define GIVEN_MAX           BOUND(512, 4)   /* recipients a worker may hold that were given to it unasked, */
#define GIVEN_UNFREED_MAX   BOUND(4096, 8)  /* and of all workers, those that are not durable yet included */
#define GIVEN_CONTENT_MAX   BOUND(16 * 1024, 1024) /* of a message; a larger one is taken as all others are */
#define FRESH_JOBS_MAX      BOUND(16384, 8)        /* such jobs in memory at once; more wait to be accepted */
#define FRESH_BYTES_MAX     BOUND(64 * 1024 * 1024, 8192)                 /* and their bytes */
#define FRESH_FILE_MAX      BOUND(UINT64_C(256) << 20, UINT64_C(2) << 20) /* the file in which they land */
#define FRESH_ROW_MAX       BOUND(2 * 1024 * 1024, 544 * 1024)            /* one of them, whole */
#define FRESH_CONTENT_MAX   BOUND(256 * 1024, 4096)      /* a larger message makes the job no small one */
#define FRESH_COMMIT_BYTES  BOUND(4 * 1024 * 1024, 4096) /* landed in one commit */
#define LANE_FOLD_MS        1000            /* how often the counters of lanes go into their rows, */
#define LANE_DELTAS_MAX     BOUND(65536, 4) /* or when so many lanes, */
#define LANE_DELTA_ROWS     BOUND(1000, 4)  /* or so many commits have moved them */
#define READ_ROWS_MAX       BOUND(1000, 32) /* rows read before a read transaction is renewed */
#define MEMORY_RESERVE      BOUND(8 * 1024 * 1024, 256 * 1024) /* kept for settling, should memory run out */
#define MEMORY_WAIT_MS      60000 /* how long the queue's threads wait for some before the daemon ends */
#define MEMORY_TOLD_MS      60000 /* how often at most the log says that it has run out */
#define READERS_MAX         BOUND(512, 64)                   /* LMDB reader slots */
#define BACKUP_PATH_MAX     FIXED(4000)                      /* bytes of the path of a backup */
#define BACKUP_SYNC_BYTES   BOUND(UINT64_C(64) << 20, 65536) /* of it, written before they are synced */

#define EDITS_MAX              BOUND(1000, 16) /* edits in one post */
#define POLICY_NAME_MAX        FIXED(400)
#define POLICY_VALUE_MAX       FIXED(3500)
#define SUPPRESSION_REASON_MAX FIXED(512)
#define STRIKE_MS              (INT64_C(90) * 24 * 3600 * 1000) /* replies about an address count so long */

/* Intake. */
#define JOB_LINE_MAX        FIXED(64 * 1024 * 1024) /* a job line holds the message; base64 of about 45 MB */
#define RCPT_LINE_MAX       FIXED(256 * 1024)
#define RCPT_SCAN_MAX       BOUND(4 * 1024, 128)    /* a longer line is read by jansson */
#define CONTENT_MAX         FIXED(50 * 1024 * 1024) /* a compiled message */
#define ADDRESS_MAX         FIXED(320)              /* 64 + @ + 255, RFC 5321 4.5.3.1 */
#define LOCAL_PART_MAX      FIXED(64)
#define DOMAIN_MAX          FIXED(255)
#define VARS_MAX            FIXED(128 * 1024) /* one recipient's variables, encoded */
#define VAR_NAME_MAX        FIXED(128)
#define NAME_MAX_BYTES      FIXED(128) /* tenant, campaign, pool, site and source names */
#define IDEMPOTENCY_KEY_MAX FIXED(255)
#define METADATA_MAX        FIXED(2048)
#define RCPT_ID_MAX         FIXED(255) /* the platform's own id of a recipient */
#define ORCPT_MAX           FIXED(500) /* RFC 3461 4.2 */
#define ENVID_MAX           FIXED(100) /* RFC 3461 4.4 */
#define JOB_LIFETIME_MAX_MS (INT64_C(366) * 24 * 3600 * 1000)
#define REJECTED_LISTED_MAX FIXED(1000)
#define FILE_NAME_MAX       FIXED(1024)       /* of an attachment; its type and cid too */
#define LIST_URL_MAX        FIXED(4096)       /* of a list field, and its comment */
#define JOB_WARNINGS_MAX    BOUND(8192, 1024) /* bytes of what an answer says of one job besides */
#define UPLOAD_FLYING_MAX   BOUND(256, 2)     /* jobs of one upload that are with the store at once, */
#define UPLOAD_FLYING_BYTES                                                                                  \
    BOUND(4 * 1024 * 1024, 8192)            /* and about how much of them: with more, half is waited for */
#define INTAKE_FLYING_MAX  BOUND(2048, 8)   /* of all uploads; beyond it each has one */
#define INTAKE_REPEATS     BOUND(4096, 512) /* messages remembered, to see that they come again */
#define INTAKE_LARGE_BYTES BOUND(1024 * 1024, 16384) /* a body line longer than that is large, */
#define INTAKE_LARGE_MAX   BOUND(4, 1)               /* and so many of them may be in memory at once */

/* Mail taken in over SMTP. */
#define SUBMISSION_LINE_MAX     FIXED(12288) /* a command, or an answer of AUTH (RFC 4954 4) */
#define SUBMISSION_USER_MAX     FIXED(255)
#define SUBMISSION_PASSWORD_MAX FIXED(1024)
#define SUBMISSION_REPLIES_MAX                                                                               \
    BOUND(16384, 512) /* bytes waiting to be sent before a client's next command is read */
#define SUBMISSION_INPUT_MAX                                                                                 \
    BOUND(1024 * 1024, 16384)               /* bytes kept of a client that sends ahead; more ends it */
#define SUBMISSION_RCPTS_MAX   FIXED(50000) /* of one message */
#define SUBMISSION_RETURNS_MAX FIXED(100)   /* the same to return domains: each of them reads it anew */
#define SUBMISSION_RECEIVED_MAX                                                                              \
    FIXED(100) /* Received fields of one; with more it goes in circles (RFC 5321 6.3) */
#define SUBMISSION_BYTES_MAX                                                                                 \
    BOUND(UINT64_C(256) << 20, 65536)                   /* of all messages under way, before others wait */
#define SUBMISSION_RESERVE_MIN  BOUND(6144, 64)         /* room for a message before it comes: so much, */
#define SUBMISSION_RESERVE_MAX  BOUND(65536, 1024)      /* and up to so much with the SIZE announced */
#define SUBMISSION_QUICK_BYTES  BOUND(256 * 1024, 1024) /* a larger message is read on the desk */
#define SUBMISSION_DESK_THREADS BOUND(2, 1)
#define SUBMISSION_SEATS        FIXED(4096) /* counters of connections by address; some addresses share one */
#define SUBMISSION_LOGINS_MAX   BOUND(200, 16)         /* waiting to be checked; one more is put off (454) */
#define SUBMISSION_DOORS_MAX    FIXED(256)             /* workers that let clients in */
#define SUBMISSION_USERS_BYTES  FIXED(4 * 1024 * 1024) /* a file of users */
#define SUBMISSION_KNOWN_MAX    BOUND(1024, 2)         /* logins that were right lately, */
#define SUBMISSION_KNOWN_MS     600000                 /* for so long */

/* HTTP. */
#define HTTP_CONNECTIONS_MAX BOUND(512, 32)          /* a listener; more wait in its backlog */
#define HTTP_MEMORY_MAX      BOUND(16 * 1024, 8192)  /* a connection's header and a piece of its body */
#define HTTP_BODY_MAX        FIXED(64 * 1024)        /* of a handler's request; uploads have no limit */
#define HTTP_LARGE_MAX       FIXED(256 * 1024)       /* of one that says so */
#define HTTP_PLAIN_HEAD_MAX  BOUND(2048, 256)        /* of an upload's request that needs no library, */
#define HTTP_PLAIN_BODY_MAX  BOUND(128 * 1024, 1024) /* and its body */
#define HTTP_PLAIN_FIELDS    BOUND(24, 6)            /* lines of that head */
#define HTTP_SEGMENTS_MAX    FIXED(8)                /* of a path */
#define HTTP_PARAMETERS_MAX  FIXED(16)               /* of a query */
#define HTTP_IDLE_S          60                      /* a client that neither sends nor takes anything */
#define HTTP_STOP_MS         5000
#define HTTP_DESK_THREADS    BOUND(4, 1)
#define HTTP_ANSWER_MAX      FIXED(64 * 1024 * 1024)
#define HTTP_STREAM_MAX      BOUND(4 * 1024 * 1024, 65536) /* what one fill may append */

/* Messages. */
#define TEXT_LINE_MAX      FIXED(998) /* octets in a line without its CRLF, RFC 5322 2.1.1 */
#define MIME_DEPTH_MAX     FIXED(16)  /* multiparts and messages inside one another */
#define MIME_PARTS_MAX     FIXED(1000)
#define MIME_FIELDS_MAX    FIXED(2000)             /* of one header */
#define MIME_NAME_MAX      FIXED(200)              /* of a field; a longer one is no field */
#define MIME_BOUNDARY_MAX  FIXED(200)              /* RFC 2046 says 70 */
#define TEMPLATE_NAMES_MAX FIXED(512)              /* different variables in one message */
#define VARS_COUNT_MAX     FIXED(512)              /* variables of one recipient */
#define RENDITION_MAX      FIXED(64 * 1024 * 1024) /* bytes that one recipient's variables may become */

/* What comes back by mail: see inbound/notice.h. */
#define NOTICE_MESSAGE_MAX     HTTP_LARGE_MAX /* read of one; what matters stands in front */
#define NOTICE_PARTS_MAX       BOUND(100, 8)
#define NOTICE_RCPTS_MAX       BOUND(100, 4)
#define NOTICE_TO_MAX          BOUND(16, 4)      /* addresses to which it, or what it returns, went */
#define NOTICE_TRACES_MAX      BOUND(24, 4)      /* fields that may name a recipient of ours */
#define NOTICE_FIELD_MAX       BOUND(4096, 1024) /* bytes of such a field */
#define INBOUND_CANDIDATES_MAX BOUND(16, 4)      /* recipients of ours that one may mean */
#define INBOUND_JOBS_MAX       BOUND(1024, 16)   /* newest jobs among which an envelope id is looked for, */
#define INBOUND_PAGES_MAX      BOUND(100, 50)    /* and pages of READ_ROWS_MAX of its recipients */
#define INBOUND_WAIT_MS        5000 /* for the delivery that a bounce speaks of to be written down */

/* DKIM. */
#define DKIM_RSA_BITS_MIN  FIXED(1024) /* RFC 8301 3.2 */
#define DKIM_RSA_BITS_GOOD FIXED(2048)
#define DKIM_SIGNATURE_MAX FIXED(2048)  /* bytes: RSA of 16,384 bits */
#define SIGNERS_MAX        BOUND(64, 1) /* threads */

/* SMTP. */
#define REPLY_LINE_MAX     BOUND(2048, 512) /* RFC 5321 says 512; servers send more */
#define REPLY_TEXT_MAX     BOUND(1024, 640) /* kept of a joined multi-line reply */
#define REPLY_LINES_MAX    BOUND(128, 32)
#define STORED_REPLY_MAX   BOUND(512, 200) /* of it, what goes into rows and events */
#define TXN_RCPTS_MAX      FIXED(1000)
#define MX_HOSTS_MAX       BOUND(32, 4)
#define HOST_ADDRESSES_MAX BOUND(32, 4)

/* `postrider probe`: addresses that it asks, of one host and of all. */
#define PROBE_HOST_TALKS_MAX BOUND(8, 3)
#define PROBE_TALKS_MAX      FIXED(64)

#define COMMAND_MAX          FIXED(1024)                  /* one command with all its parameters */
#define COMMANDS_MAX         BOUND(4096, 2 * COMMAND_MAX) /* bytes of commands ahead of their replies */
#define SESSION_IOV_MAX      BOUND(1024, 4) /* pieces of a message in one send; with more it takes several */
#define SESSION_IOV_KEPT     BOUND(16, 2)   /* for so many a session has always room */
#define SEND_PIECE_MAX       BOUND(256 * 1024, 20480)  /* bytes in one send, each of which has a time-out */
#define CHUNK_MAX            BOUND(1024 * 1024, 20480) /* bytes of a message in one BDAT */
#define CHUNK_AHEAD_MAX      SEND_PIECE_MAX            /* a larger message waits for the replies to RCPT */
#define AUTH_LINE_MAX        FIXED(12288)              /* RFC 4954 4: one line of an exchange */
#define LOGIN_SECRET_MAX     FIXED(8192)               /* a password or token */
#define SCRAM_ITERATIONS_MAX FIXED(100000)             /* some 50 ms of a worker, once a salt */
#define LIMIT_DOMAINS        BOUND(6, 2)  /* that a session tells apart; a larger RCPTDOMAINMAX is this */
#define REFUSALS_MAX         BOUND(32, 2) /* transactions a session refuses in one go before it yields */
#define WAIT_NAMED_MAX_S     86400        /* "try again in …": longer is not believed */

/* Reply rules. */
#define RULE_MATCH_MAX     FIXED(10000)                     /* steps of one expression over one reply */
#define RULE_HEAP_MAX      FIXED(256 * 1024)                /* and its memory, where PCRE2 has no JIT */
#define RULE_MATCH_BYTES   FIXED(1000)                      /* of an expression */
#define RULE_TEXT_MAX      FIXED(2048)                      /* of what is said of one */
#define RULE_NAME_MADE_MAX FIXED(24)                        /* "replies.3" */
#define PLACE_MAX          FIXED(4200)                      /* "FILE:LINE" */
#define REACTION_MS_MAX    (INT64_C(30) * 24 * 3600 * 1000) /* a pause */
#define REACTION_COUNT_MAX FIXED(10000)

/* TLS. */
#define TLS_HANDSHAKES_STEP BOUND(8, 1) /* pieces of handshakes worked on in one step of a worker, */
#define TLS_TURN_NS         700000      /* each of so long; a longer one counts for several */
#define TLS_WAITING_MAX     BOUND(64 * 1024, 16384) /* of a handshake, waiting for its turn */
#define TLS_RESUME_MAX      BOUND(1024, 3)          /* sessions kept a worker, some KiB each */
#define TLS_RECORD_MAX      FIXED(16384)
#define TLS_FEED_MAX        BOUND(16384, IO_BUFFER_BYTES)
#define TLS_PLAIN_MAX       BOUND(4 * TLS_RECORD_MAX, TLS_FEED_MAX + 2 * TLS_RECORD_MAX)
#define TLS_PIECE_MAX       BOUND(64 * 1024, 20480)      /* of a message, encrypted and sent at once */
#define TLS_OUT_MAX         BOUND(128 * 1024, 24 * 1024) /* ciphertext waiting to be sent */
#define TLS_TEXTS_MAX       FIXED(256)                   /* of version, cipher suite and how it was checked */
#define TLS_TRUSTS_MAX      BOUND(256, 8) /* different sets of authorities and client certificates */

#define TLSA_RECORDS_MAX BOUND(16, 4)      /* of one host */
#define TLSA_BYTES_MAX   BOUND(4096, 2048) /* of their data together */
#define TLSA_TEXT_MAX    FIXED(8224)

/* MTA-STS, RFC 8461. */
#define STS_ID_MAX        FIXED(32)
#define STS_MX_MAX        BOUND(64, 4)    /* patterns of one policy */
#define STS_MAX_AGE_S     31557600        /* 3.2 */
#define STS_AGE_MIN_MS    60000           /* however little the policy says */
#define STS_BODY_MAX      FIXED(65536)    /* 3.3 */
#define STS_ADDRESSES_MAX FIXED(256)      /* of a policy host, as text */
#define STS_FETCHES_MAX   BOUND(16, 1)    /* at once */
#define STS_RETRY_MS      300000          /* after a failed fetch, 3.3 */
#define STS_REFRESH_MS    86400000        /* a policy is looked at again so often, however long it holds */
#define STS_POLICIES_MAX  BOUND(50000, 2) /* known: some 20 MB */

/* Reports about TLS, RFC 8460. */
#define RPT_TARGETS_MAX BOUND(8, 2)       /* of one domain */
#define RPT_ROWS_MAX    BOUND(50000, 8)   /* counts kept: beyond them only what is known already is counted */
#define RPT_WAITING_MAX BOUND(10000, 200) /* events that are not counted yet: some 20 MB */
#define RPT_LINES_MAX   BOUND(1000, 4)    /* of one report */
#define RPT_TEXT_MAX    FIXED(1500)       /* of the policy it is about, as it was seen */
#define RPT_JSON_MAX    BOUND(2097152, 65536) /* and packed, at most as much again */
#define RPT_FLUSH_MS    5000                  /* how often counts are written down */
#define RPT_POST_MS     30000                 /* a report by HTTPS */
#define RPT_ASKS_MAX    BOUND(256, 2) /* domains without a policy whose record is looked for at once */
#define RPT_WANTED_SLOTS                                                                                     \
    BOUND(65536, 16)        /* of such domains, what is known of their records: half a megabyte */
#define RPT_TRIES FIXED(24) /* and how often it, and its record, is tried within a period */

/* Consumers of the event log. */
#define CONSUMERS_MAX       FIXED(64)
#define CONSUMER_BATCH_MAX  FIXED(10000)                  /* events sent at once */
#define CONSUMER_BYTES_MAX  BOUND(8 * 1024 * 1024, 32768) /* of them, gathered; a batch ends there */
#define CONSUMER_ANSWER_MAX BOUND(4096, 256) /* kept of what a webhook answers, for the last error */
#define CONSUMER_STOP_MS    2000             /* what is under way may take when the daemon stops */
#define URL_MAX             FIXED(2000)

/* Connections not accepted yet, a listening socket. Of a burst above it the kernel may forget one that the
   client takes for made, and whoever waits to be greeted then waits for ever. The kernel caps it
   (net.core.somaxconn, 4096 unless set), and keeps no memory for those that don't come. */
#define LISTEN_BACKLOG BOUND(4096, 64)

/* Network, a worker. */
#define IO_SQ_MAX          BOUND(4096, 8)   /* submissions queued before the kernel is asked to take them */
#define IO_CQ_MAX          BOUND(65536, 64) /* completions it may post before we look: 1 MiB */
#define IO_BATCH_MAX       BOUND(1024, 8)   /* of them, run in one step */
#define IO_BUFFERS_MAX     BOUND(1024, 2)   /* shared receive buffers, a power of two */
#define IO_BUFFER_BYTES    BOUND(4096, 512)
#define IO_GATHERS_MAX     BOUND(256, 1)    /* small sends of several pieces under way, copied together, */
#define IO_GATHER_BYTES    BOUND(8192, 512) /* each up to so many bytes */
#define IO_WAIT_MAX_MS     1000             /* in one step */
#define IO_DRAIN_STEPS_MAX FIXED(1000)      /* steps at the end until nothing is pending */

/* DNS, a worker. */
#define DNS_UNDER_WAY_MAX BOUND(500, 4) /* questions with the resolver at once; the rest wait their turn */
#define DNS_STARTS_MAX                                                                                       \
    BOUND(100, 2) /* of them, begun in one step: a burst of more overflows socket buffers */
#define DNS_SOCKET_BYTES       FIXED(4 * 1024 * 1024) /* receive buffer asked for; the kernel may give less */
#define DNS_CNAMES_MAX         FIXED(16)              /* of a chain within one answer */
#define DNS_ALIASES_MAX        FIXED(8)               /* answers that only lead to another name, in a row */
#define DNS_TTL_MIN_S          5                      /* whatever the record says */
#define DNS_TTL_MAX_S          86400
#define DNS_NEGATIVE_TTL_MAX_S 3600         /* RFC 2308 5 */
#define DNS_FAILED_TTL_S       5            /* so that a dead resolver is not hammered */
#define DNS_HALF_TTL_MAX_S     60           /* of A without AAAA, or the reverse, when the other failed */
#define DNS_EDNS_BYTES         FIXED(1232)  /* no fragments */
#define DNS_RECORDS_MAX        BOUND(32, 8) /* of one name, where their data is asked for, */
#define DNS_RECORDS_BYTES      BOUND(8192, 4096) /* and its size together */

_Static_assert(DNS_STARTS_MAX <= DNS_UNDER_WAY_MAX, "a burst is a part of what is under way");
_Static_assert(DNS_FAILED_TTL_S >= DNS_TTL_MIN_S && DNS_NEGATIVE_TTL_MAX_S <= DNS_TTL_MAX_S, "TTLs in order");

/* Scheduling, a worker. */
#define LANE_TAKE_MAX          BOUND(256, 8)     /* recipients granted to a lane at once, */
#define LANE_TAKE_FIRST        BOUND(32, 1)      /* and at first; doubled with each full answer */
#define WORKER_TAKEN_MAX       BOUND(50000, 128) /* recipients in a worker's memory */
#define WORKER_TAKEN_RESERVE   BOUND(10000, 16)  /* and besides, of transactional mail alone */
#define PATH_TAKEN_MAX         BOUND(4096, 16)   /* of them, on one path */
#define PATH_TAKEN_PART        FIXED(8)          /* and at most this part of what room is left */
#define HOSTS_REMEMBERED_MAX   BOUND(20000, 64)  /* addresses of mail hosts with a past */
#define HOST_PLAIN_MS          3600000  /* how long a host whose TLS failed is spoken to in the clear */
#define HOST_BY_DATA_MS        86400000 /* and one whose replies are not in step by BDAT, by DATA */
#define SHORT_WAIT_MS          1000     /* without descriptors or memory none is begun for so long, */
#define SHORT_TOLD_MS          60000    /* which is said as often */
#define BROKEN_TOLD_MS         1000     /* how often at most a line says that a message cannot be made */
#define HOST_LOST_AGAIN_MS     1000     /* sessions lost within it are one loss, */
#define HOST_LOSSES_MAX        FIXED(3) /* but so many one after the other are enough */
#define SESSIONS_MAX           BOUND(65536, 64) /* of all workers together */
#define DNS_CACHE_MAX          BOUND(50000, 8)  /* answers kept by one worker: some 30 MB */
#define BULK_SHARE             FIXED(10)        /* one bulk message at least for so many transactional ones */
#define LEND_LOOK_MS           100              /* how often a worker looks whether lending pays */
#define LEND_BUSY_MIN          FIXED(700)     /* thousandths of its time awake from which it is saturated, */
#define LEND_BUSY_LOOKS        FIXED(2)       /* so often in a row */
#define LEND_BUSY_MAX          FIXED(500)     /* up to which another has time to spare */
#define LEND_SPARE_LOOKS       FIXED(10)      /* so often in a row the lender itself has: the loan ends */
#define LEND_BACKLOG           BOUND(64, 2)   /* recipients that a pool must have waiting */
#define LOANS_MAX              BOUND(256, 2)  /* lent by one worker */
#define LOAN_LEAST             BOUND(8, 2)    /* recipients handed over at once, at least */
#define LOAN_TAKE_MAX          BOUND(1024, 8) /* and at most */
#define LOAN_AHEAD_MS          200            /* of a path with a rate, what goes in so long */
#define LOAN_IDLE_MS           500            /* after which a loan without recipients ends */
#define LOAN_WAIT_MS           20   /* how often who waits for a connection lent elsewhere looks again */
#define LOAN_LOOK_MS           1000 /* the same, who waits for a rate of a path that is borrowed */
#define RECALL_MS              1000 /* after which what was suppressed is looked for in memory */
#define TURN_RCPTS             BOUND(16, 1) /* recipients a turn of a tenant of weight 1 */
#define TURN_MESSAGES          FIXED(20) /* that a connection carries before it makes room for another pool */
#define LINE_LOOK_MS           200       /* how often who waits for any session looks whether one is free */
#define REQUEUE_MAX            FIXED(3)  /* times that a lost connection gives a recipient back at once */
#define WINDOW_START           FIXED(8)  /* connections that a new path may open before it knows more */
#define WINDOW_CEILING_MS      5000L /* how long a receiver's own limit of connections is believed at first */
#define WINDOW_CEILING_DOUBLED FIXED(6) /* and how often that doubles */
#define SLOW_LEAST_MS          60000    /* between messages of a path, however often it is slowed */
#define SLOW_UNKNOWN_MS        10000    /* the same, where it is not known how fast it was */
#define SLOW_OVER              FIXED(4) /* times what it was: then a slowed path is at full rate again */
#define SENDER_RATES_MAX       BOUND(1000, 8) /* sender domains at sites that a worker knows to be slowed; */
#define SENDER_TAKEN_MAX       BOUND(256, 4)  /* recipients of one in memory, */
#define ASIDE_TAKEN            BOUND(32, 2)   /* and in one lane; beyond, they stay in the store; */
#define SET_ASIDE_MAX          BOUND(16384, 32) /* of all in a worker's memory, */
#define SET_ASIDE_PART         FIXED(8)         /* of which one has at most this part of what is left */
#define SPLIT_MS               3600000          /* how long fewer recipients share a transaction, */
#define MESSAGES_MS            86400000         /* fewer messages a connection, */
#define TLS_ONLY_MS            86400000         /* and TLS is a must, after a reply that asked for it */
#define RECONNECT_MS           60000 /* the first back-off of a path whose connections end unused */
#define HOLDS_MAX              BOUND(10000, 64) /* of mail: fix, job, suspensions */
#define HOLDS_ASKED            BOUND(64, 2) /* of jobs: so many are asked for at once whether they are over */
#define HOLDS_FULL_TOLD_MS     3600000      /* how often at most an alert says that no more can be held */
#define LANES_HELD_MAX         BOUND(20000, 64) /* of a worker's, kept to be seen while they are held */
#define TRACES_MAX             BOUND(4, 2)      /* sites watched at once, */
#define TRACE_SESSIONS_MAX     BOUND(8, 2)      /* sessions of each, */
#define TRACE_BYTES_MAX        BOUND(256 * 1024, 8192) /* lines that wait for whoever watches, */
#define TRACE_LINE_MAX         BOUND(16 * 1024, 4096)  /* and one of them, as JSON */
#define PARK_MS                60000      /* a pause that lasts longer has its lanes forgotten meanwhile */
#define JOB_HOLD_REPLIES       FIXED(5)   /* about its content at one site, and at least */
#define JOB_HOLD_SHARE         FIXED(4)   /* one in so many of its last */
#define JOB_HOLD_WINDOW        FIXED(200) /* replies there: then a job is held */
#define HEAP_BLOCK_MAX         BOUND(1 << 20, 1 << 18) /* larger blocks go back to the system when freed, */
#define HEAP_FREE_MAX          BOUND(4 << 20, 1 << 18) /* and what is free at an arena's end above this */
#define EVIDENCE_MAX           BOUND(4096, 16)         /* jobs at sites with such replies, */
#define EVIDENCE_MS            86400000                /* forgotten that long after the last */
#define REFUSING_ALL           FIXED(65536) /* all transactions of a path in vain; about its last */
#define REFUSING_LAST          FIXED(16)    /* count, */
#define REFUSING_OFTEN         FIXED(16384) /* and above a quarter the message waits for a recipient */
#define LEARNT_WRITE_MS        1000         /* how often what a path has learnt is written at most */
#define POOL_LINGER_MS         60000        /* how long what is known of a pool's hosts is used */
#define CONTENT_LIVE_MAX       BOUND(64 * 1024 * 1024, 4096) /* bytes of messages for taken recipients */
#define LANES_KEPT_MAX                                                                                       \
    BOUND(4096, 2)           /* of a worker's, with nothing to do, kept with their hosts and pools, */
#define LANE_KEPT_MS   10000 /* so long */
#define LANES_LIVE_MAX BOUND(20000, 64) /* lanes announced to workers and not yet found empty */

_Static_assert(READ_ROWS_MAX >= 2 * LANE_TAKE_MAX, "a look that takes what is due leaves rows for the rest");
_Static_assert(TURN_RCPTS < LANE_TAKE_MAX, "a turn does not empty a lane");
_Static_assert(LANE_TAKE_FIRST <= LANE_TAKE_MAX, "a lane's first helping");

#endif
