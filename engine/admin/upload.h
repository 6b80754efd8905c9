/* upload.h - POST /v1/jobs: a body of jobs and recipients to the store, as it comes.
 *
 * Runs on HTTP's threads and never blocks: while a window of recipients is being written, and until a job is
 * committed, the client is held back. The answer says what was committed; a body that is cut short leaves
 * nothing of the job it was cut in. Memory a body: a line, a window (ADMIT_WINDOW_MAX), the compiled message;
 * bodies with lines over INTAKE_LARGE_BYTES wait for one of INTAKE_LARGE_MAX places. */
#ifndef POSTRIDER_ADMIN_UPLOAD_H
#define POSTRIDER_ADMIN_UPLOAD_H

#include "engine/admin/http.h"
#include "engine/config.h"
#include "queue/store.h"

struct intake;

/* Both outlive it. NULL: no memory. */
struct setups;
struct intake *intake_create(struct store *store, struct setups *setups);
/* Those who wait for a place are let in; call when http_stopping is already true. */
void intake_stop(struct intake *intake);
/* After the last upload. */
void intake_destroy(struct intake *intake);

struct intake_figures {
    uint64_t jobs, recipients, rejected; /* accepted jobs, their recipients, and what was rejected in them */
    uint64_t failed;                     /* requests answered with an error */
};
void intake_figures(struct intake *intake, struct intake_figures *figures);

/* The functions of http_upload_ops; begin's tenant is the one the peer is bound to, or empty. */
void *upload_begin(struct intake *intake, struct http_request *request, struct str tenant, struct now now);
void upload_data(void *upload, struct str *data, struct now now);
void upload_end(void *upload, struct now now);
void upload_release(void *upload);

#endif
