/* upload_parts.h - the insides of an upload, shared by upload.c and upload_answer.c. */
#ifndef POSTRIDER_ADMIN_UPLOAD_PARTS_H
#define POSTRIDER_ADMIN_UPLOAD_PARTS_H

#include "engine/admin/upload.h"
#include "engine/intake/gate.h"
#include "engine/intake/ndjson.h"
#include "engine/intake/upload_job.h"

#include <stdatomic.h>

struct intake {
    struct store *store;
    const struct config *config;
    struct keys *keys;
    struct gate gate;
    atomic_ullong jobs, recipients, rejected, failed;
};

enum waiting { WAIT_NOTHING, WAIT_PLACE, WAIT_WINDOW, WAIT_COMMIT };

struct upload {
    struct gate_waiter waiter; /* first: the gate hands it back */
    struct intake *intake;
    struct http_request *request;
    struct upload_scope scope;
    char key[IDEMPOTENCY_KEY_MAX + 1];
    uint8_t key_hash[DIGEST_SIZE];
    bool entered; /* key_hash is in the set of those under way */
    bool json;    /* application/json: one job with its recipients inside */
    bool has_place, answered;
    enum waiting waiting;
    enum admit_result result; /* of what was waited for */
    struct ndjson lines;
    struct rcpt_reader reader;
    struct upload_job job;
    unsigned jobs;   /* begun */
    struct buf done; /* the answers of those committed, with commas between */
    /* What follows the commit under way. */
    json_t *next;
    uint64_t next_line;
    uint8_t next_digest[DIGEST_SIZE];
    struct upload_failure failure;
    /* The JSON form. */
    struct buf whole;
    json_t *recipients;
    size_t at;
};

/* Gives the place for large bodies to the next one, if it has one. */
void upload_leave_place(struct upload *upload);
/* That, and the request's key. Before the answer is sent: whoever has read it may come again at once. */
void upload_leave_all(struct upload *upload);
/* Each answers the request, once. upload_answer_failure: with upload->failure; what is open of a job goes. */
void upload_answer_failure(struct upload *upload);
void upload_fail(struct upload *upload, unsigned status, const char *code, uint64_t line, const char *format,
                 ...) __attribute__((format(printf, 5, 6)));
void upload_answer_done(struct upload *upload);
/* The store took it; else false, and answered why not. */
bool upload_check_result(struct upload *upload);

#endif
