/* upload_parts.h - the insides of an upload, shared by upload.c and upload_answer.c. */
#ifndef POSTRIDER_ADMIN_UPLOAD_PARTS_H
#define POSTRIDER_ADMIN_UPLOAD_PARTS_H

#include "engine/admin/upload.h"
#include "engine/admin/upload_flight.h"
#include "engine/intake/gate.h"
#include "engine/intake/ndjson.h"

struct intake {
    struct store *store;
    struct setups *setups;
    struct keys *keys;
    struct gate gate;
    struct repeats repeats;
    atomic_ullong jobs, recipients, rejected, failed;
    atomic_uint flying; /* jobs that are with the store or not landed yet, of all uploads */
};

enum waiting { WAIT_NOTHING, WAIT_PLACE, WAIT_WINDOW, WAIT_FLIGHTS };

struct upload {
    struct gate_waiter waiter; /* first: the gate hands it back */
    struct intake *intake;
    struct setup *setup; /* by which its jobs are taken in, to its end */
    struct http_request *request;
    struct upload_scope scope;
    char key[IDEMPOTENCY_KEY_MAX + 1];
    uint8_t key_hash[DIGEST_SIZE];
    bool entered; /* key_hash is in the set of those under way */
    bool json;    /* application/json: one job with its recipients inside */
    bool has_place, answered;
    bool failing; /* answers with `failure` when nothing is with the store any more */
    bool lost;    /* the store did not take a job; `failure` says why */
    enum waiting waiting;
    enum admit_result result; /* of the window that was waited for */
    struct ndjson lines;
    struct upload_job job;
    size_t job_bytes; /* its lines since the last window */
    struct flights flights;
    unsigned jobs;          /* begun */
    struct buf done, later; /* the answers of those committed, and behind a lost one, with commas between */
    json_t *next;           /* a job line whose turn comes when there is room for its job */
    uint64_t next_line;
    uint8_t next_digest[DIGEST_SIZE];
    struct upload_failure failure;
    /* The JSON form. */
    struct buf whole;
    json_t *recipients;
    size_t at;
    struct rcpt_reader reader; /* the last: it is large, and makes itself ready */
};

/* Gives the place for large bodies to the next one, if it has one. */
void upload_leave_place(struct upload *upload);
/* That, and the request's key. Before the answer is sent: whoever has read it may come again at once. */
void upload_leave_all(struct upload *upload);
/* With upload->failure: answers, or suspends the request until nothing is with the store. */
void upload_give_up(struct upload *upload);
void upload_fail(struct upload *upload, unsigned status, const char *code, uint64_t line, const char *format,
                 ...) __attribute__((format(printf, 5, 6)));
void upload_answer_done(struct upload *upload);
/* The store did not take the job of that line: fills upload->failure. */
void upload_note_result(struct upload *upload, enum admit_result result, uint64_t line);
/* The end of upload_release, or of the last job that it left behind. */
void upload_free(struct upload *upload);

#endif
