/* upload_job.h - one job of a body: its line, its recipients, its idempotency key, its answer.
 *
 * Life: upload_job_begin, upload_job_open, upload_job_rcpt for each further line, upload_job_finish, then
 * upload_job_hand_over, which leaves what the job's answer needs, or upload_job_close. What fails fills a
 * `struct upload_failure`, after which only upload_job_close may follow: nothing of the job is left. Posting
 * windows, committing and waiting is upload.c's. One thread. */
#ifndef POSTRIDER_INTAKE_UPLOAD_JOB_H
#define POSTRIDER_INTAKE_UPLOAD_JOB_H

#include "engine/intake/job_line.h"
#include "engine/intake/keys.h"
#include "engine/intake/rcpt_scan.h"

struct upload_failure {
    unsigned status; /* of HTTP; 0: none */
    const char *code;
    uint64_t line; /* 0: none to name */
    struct err err;
};

/* What all jobs of a body share. */
struct upload_scope {
    struct store *store;
    struct keys *keys;
    struct job_rules rules;
    struct str key; /* the request's Idempotency-Key, or empty */
    bool dry_run;
    const char *place; /* how a rejected recipient's number is called: "line" or "index" */
};

struct upload_job {
    bool open; /* there is one: upload_job_begin was called */
    bool opened;
    uint64_t line_number;
    struct job_line line;
    struct admit *admit; /* NULL in a dry run or a replay */
    uint64_t accepted, rejected;
    struct buf rejected_list; /* JSON objects with commas between */
    struct err first_rejected;
    uint64_t first_rejected_line;
    /* Idempotency. */
    bool has_key, replay, entered;
    uint8_t key_hash[DIGEST_SIZE], kept_digest[DIGEST_SIZE];
    struct digest *digest;
    struct buf answer; /* of this job; what a replay found */
    struct admit_key admit_key;
};

/* Will it have a key, so that its line's digest is needed? */
bool upload_job_keyed(const struct upload_scope *scope, const json_t *root);
/* Takes over root. */
bool upload_job_begin(struct upload_job *job, const struct upload_scope *scope, json_t *root,
                      uint64_t line_number, struct now now, struct upload_failure *failure);
/* number: of the job in the body, from 1; line_digest: of its line, for the key. UPLOAD_JOB_BUSY: another is
 * under way with the same key, perhaps one of the same body: call it again when that is over, or give up
 * (failure is filled). */
enum upload_job_opened { UPLOAD_JOB_OPEN, UPLOAD_JOB_BUSY, UPLOAD_JOB_FAILED };
enum upload_job_opened upload_job_open(struct upload_job *job, const struct upload_scope *scope,
                                       unsigned number, const uint8_t line_digest[DIGEST_SIZE],
                                       struct now now, struct upload_failure *failure);
/* Any further line of the job, for the digest. */
void upload_job_line(struct upload_job *job, struct str line);
/* A recipient that was read well; one that the message or the store can't take is put on the list of the
 * rejected. False: failure. */
bool upload_job_add(struct upload_job *job, const struct upload_scope *scope, const struct rcpt_spec *rcpt,
                    uint64_t line_number, struct upload_failure *failure);
/* A recipient to be read; a bad one is put on that list too. False: failure. */
bool upload_job_rcpt(struct upload_job *job, const struct upload_scope *scope, struct rcpt_reader *reader,
                     const json_t *object, uint64_t line_number, struct upload_failure *failure);
/* Puts a line on that list; to may be empty. */
void upload_job_reject(struct upload_job *job, const struct upload_scope *scope, uint64_t line_number,
                       struct str to, const struct err *err);
/* The last line has been. True: the answer is made, and if job->admit is there it must be committed, with
 * admit_key if has_key. */
bool upload_job_finish(struct upload_job *job, const struct upload_scope *scope,
                       struct upload_failure *failure);
void upload_job_close(struct upload_job *job, const struct upload_scope *scope);

/* What is left of a finished job until it is committed and answered. */
struct upload_done {
    struct admit *admit;
    struct buf answer;
    uint64_t line_number, accepted, rejected;
    bool entered;
    uint8_t key_hash[DIGEST_SIZE];
};

/* Instead of upload_job_close; views into the answer stay good. */
void upload_job_hand_over(struct upload_job *job, struct upload_done *done);
void upload_done_free(struct upload_done *done, struct keys *keys);

#endif
