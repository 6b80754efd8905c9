/* store_model.h - what the store must do, said as plainly as possible: arrays in memory, no index, no batch,
 * no disk. test_store_model.c runs random operations against it and the store and compares.
 *
 * The model is told what was asked of the store and when; it never looks at the store. A recipient is named
 * by (job, number), number being its line in the upload and its `id` there; the store's rid is learnt once
 * from a listing (model_name) and must stay. Time is wall milliseconds. Memory failure ends the test. */
#ifndef POSTRIDER_TESTS_STORE_MODEL_H
#define POSTRIDER_TESTS_STORE_MODEL_H

#include "queue/query.h"

#define MODEL_TEXT           96
#define MODEL_LIMBO_MS       (61 * MS_PER_S)
#define MODEL_SUPPRESSED_MAX 64

/* One event of a recipient's life, in order. */
struct model_event {
    enum event_type type;
    int64_t next_ms;
    struct status status;
    uint16_t code;
    uint32_t attempt;
};

struct model_rcpt {
    uint32_t number;
    struct rid rid; /* job 0 until named */
    char to[MODEL_TEXT], domain[MODEL_TEXT];
    uint32_t vars_size; /* bytes of vars, all equal to model_vars_byte */
    uint8_t notify;
    enum rcpt_state state;
    bool claimed;
    /* It was with a worker as its job was closed, and then the claim was lost: the store ends it within
     * MODEL_LIMBO_MS; model_adopt tells when. */
    bool limbo;
    int64_t limbo_ms;
    uint32_t attempts;
    int64_t first_ms, last_ms, next_ms;
    uint16_t code;
    struct status status;
    char source[MODEL_TEXT], reply[MODEL_TEXT];
    struct model_event *events;
    size_t event_count, event_room;
    struct model_dsn { /* what waits to be reported of it, by kind */
        bool pending;
        int64_t since_ms;
        uint32_t attempts; /* as it was then */
        uint16_t code;
        struct status status;
    } dsn[DSN_KINDS];
    size_t seen, seen_events, seen_again; /* of whoever compares */
};

struct model_job {
    uint64_t id;
    enum job_state state;
    enum job_class class_;
    enum job_bounces bounces;
    bool is_dsn, verp;
    uint8_t notify;
    char tenant[MODEL_TEXT], campaign[MODEL_TEXT], pool[MODEL_TEXT], from[MODEL_TEXT];
    int64_t created_ms, not_before_ms, expires_ms, ended_ms;
    bool started; /* not_before has passed */
    bool warned;  /* who was open then has been said to be delayed */
    struct model_rcpt *rcpts;
    size_t count, room;
    size_t *by_rid; /* indexes of rcpts in order of rid, once all are named */
};

/* Ends so far by lane; they outlive the jobs. What waits is counted from the recipients. */
struct model_lane {
    enum job_class class_;
    char tenant[MODEL_TEXT], pool[MODEL_TEXT], domain[MODEL_TEXT];
    uint64_t ended[RCPT_STATES];
};

struct model {
    struct model_job **jobs; /* visible ones, in order of id */
    size_t count, room;
    int64_t retain_ms, delay_warning_ms;
    struct model_lane *lanes;
    size_t lane_count, lane_room;
    /* Since the directory was made; a purged job stays counted. */
    uint64_t accepted, ended[RCPT_STATES];
    struct {
        char scope[MODEL_TEXT], address[MODEL_TEXT]; /* in lower case */
    } suppressed[MODEL_SUPPRESSED_MAX];
    size_t suppressed_count;
};

void model_init(struct model *model, int64_t retain_ms, int64_t delay_warning_ms);
void model_free(struct model *model);
struct model *model_copy(const struct model *model);
void model_destroy(struct model *copy);

/* ---- what happens ---- */

/* A job not yet known to the model: fill it with model_add_rcpt, then model_admit makes it visible. */
struct model_job *model_job_new(uint64_t id, const struct job_spec *spec, int64_t created_ms,
                                int64_t lifetime_ms);
void model_job_free(struct model_job *job);
void model_add_rcpt(struct model_job *job, const struct rcpt_spec *rcpt, uint32_t vars_size);
void model_admit(struct model *model, struct model_job *job);

/* Whoever is in a job that comes later begins as suppressed; of who is queued already, the store says when
 * it has found out: model_settle. True: it was not there before; false too where there is no more room. */
bool model_suppress(struct model *model, const char *scope, const char *address);
bool model_unsuppress(struct model *model, const char *scope, const char *address);
bool model_suppressed(const struct model *model, const char *tenant, const char *address);

/* What became of a claimed recipient, as given to store_settle. */
struct model_settle {
    struct rid rid;
    enum outcome outcome;
    uint16_t code;
    struct status status;
    bool attempt_free, peer_reports;
    int64_t next_ms, at_ms;
    const char *source, *reply;
};
void model_claim(struct model *model, struct rid rid);
void model_settle(struct model *model, const struct model_settle *settle);
/* An operation that ran at now_ms to its end. */
struct model_progress {
    bool found;
    uint64_t matched, changed, in_flight;
};
struct model_progress model_operate(struct model *model, enum op_kind kind, const struct store_filter *filter,
                                    int64_t now_ms);
/* A bounce reached this one too, for its claim was lost in a crash meanwhile. */
void model_bounce(struct model *model, struct rid rid, int64_t now_ms);
/* The clock says now_ms: jobs start, recipients expire, old jobs go. */
void model_time(struct model *model, int64_t now_ms);
/* The claims are lost. */
void model_crash(struct model *model, int64_t now_ms);
/* It ends so, with its event. */
void model_end(struct model *model, struct model_job *job, struct model_rcpt *rcpt, enum rcpt_state state,
               int64_t at_ms);
/* One in limbo has ended in the store. */
void model_adopt(struct model *model, struct rid rid, int64_t now_ms);
/* The first recipients that wait for this report are reported. */
void model_consume_dsn(struct model *model, const struct dsn_due *due);

/* ---- what is ---- */

struct model_job *model_job(const struct model *model, uint64_t id);
struct model_rcpt *model_rcpt(const struct model *model, struct rid rid);
/* Learns the rid of recipient `number`; false if it has another one or another recipient has it. */
void model_name(struct model_job *job, uint32_t number, struct rid rid);
bool model_named(struct model_job *job);

/* The lane a recipient belongs to; made when the job is admitted. */
struct model_lane *model_lane(const struct model *model, const struct model_job *job,
                              const struct model_rcpt *rcpt);
bool model_ended(enum rcpt_state state);
/* May a worker get it now? */
bool model_takeable(const struct model_job *job, const struct model_rcpt *rcpt, int64_t now_ms);
bool model_job_matches(const struct model_job *job, const struct store_filter *filter);
bool model_matches(const struct model_job *job, const struct model_rcpt *rcpt,
                   const struct store_filter *filter);
/* The envelope sender with {{rid}} replaced; what a report goes to. */
void model_return_path(const struct model_job *job, const struct model_rcpt *rcpt, char path[MODEL_TEXT]);
void model_text(char text[MODEL_TEXT], struct str s);
/* Adds what the recipient is now to its events. */
void model_event_add(struct model_rcpt *rcpt, enum event_type type);
char model_vars_byte(uint64_t job, uint32_t number);

#endif
