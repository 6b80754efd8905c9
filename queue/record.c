/* record.c - see record.h. Numbers that change in place have fixed widths, so that an update is a copy; the
 * rest are varints. */
#include "queue/record.h"

static bool add_u8(struct buf *out, unsigned v)
{
    return buf_add_char(out, (char)v);
}

static bool add_be32(struct buf *out, uint32_t v)
{
    uint8_t bytes[4];
    put_be32(bytes, v);
    return buf_add(out, bytes, sizeof bytes);
}

static bool add_be64(struct buf *out, uint64_t v)
{
    uint8_t bytes[8];
    put_be64(bytes, v);
    return buf_add(out, bytes, sizeof bytes);
}

static uint32_t read_be32(struct reader *r)
{
    struct str s = read_bytes(r, 4);
    return s.n == 4 ? get_be32((const uint8_t *)s.p) : 0;
}

static uint64_t read_be64(struct reader *r)
{
    struct str s = read_bytes(r, 8);
    return s.n == 8 ? get_be64((const uint8_t *)s.p) : 0;
}

static int64_t read_time(struct reader *r)
{
    return (int64_t)read_be64(r);
}

static bool read_bool(struct reader *r)
{
    uint8_t v = read_u8(r);
    if (v > 1)
        r->bad = true;
    return v == 1;
}

/* An enum stored in a byte. */
static unsigned read_enum(struct reader *r, unsigned count)
{
    uint8_t v = read_u8(r);
    if (v >= count) {
        r->bad = true;
        return 0;
    }
    return v;
}

static uint32_t read_varint32(struct reader *r)
{
    uint64_t v = read_varint(r);
    if (v > UINT32_MAX) {
        r->bad = true;
        return 0;
    }
    return (uint32_t)v;
}

static uint16_t read_varint16(struct reader *r)
{
    uint64_t v = read_varint(r);
    if (v > UINT16_MAX) {
        r->bad = true;
        return 0;
    }
    return (uint16_t)v;
}

static bool add_status(struct buf *out, struct status status)
{
    return buf_add_varint(out, status_number(status));
}

static struct status read_status(struct reader *r)
{
    return status_of_number(read_varint32(r));
}

static void read_version(struct reader *r)
{
    if (read_u8(r) != ROW_VERSION)
        r->bad = true;
}

static struct reader row_begin(struct str row)
{
    struct reader r = reader_of(row.p, row.n);
    read_version(&r);
    return r;
}

static bool row_end(const struct reader *r)
{
    return !r->bad && r->at == r->end;
}

bool meta_encode(const struct meta *meta, struct buf *out)
{
    add_u8(out, ROW_VERSION);
    add_be32(out, meta->schema);
    add_be32(out, meta->next_lane);
    add_be64(out, meta->next_job);
    add_be64(out, meta->next_op);
    add_be64(out, meta->last_seq);
    add_be64(out, meta->accepted);
    for (unsigned n = 0; n < RCPT_STATES; n++)
        add_be64(out, meta->ended[n]);
    add_be64(out, meta->deferred);
    add_be64(out, meta->jobs);
    add_be64(out, meta->fresh_seq);
    return !out->failed;
}

/* The schema's number alone is read first: the rest is of another form when it differs. */
bool meta_decode(struct str row, struct meta *meta)
{
    struct reader r = row_begin(row);
    *meta = (struct meta){.schema = read_be32(&r)};
    if (r.bad || meta->schema < 1 || meta->schema > SCHEMA_VERSION)
        return !r.bad;
    meta->next_lane = read_be32(&r);
    meta->next_job = read_be64(&r);
    meta->next_op = read_be64(&r);
    meta->last_seq = read_be64(&r);
    meta->accepted = read_be64(&r);
    for (unsigned n = 0; n < RCPT_STATES; n++)
        meta->ended[n] = read_be64(&r);
    meta->deferred = read_be64(&r);
    meta->jobs = read_be64(&r);
    if (meta->schema > 1)
        meta->fresh_seq = read_be64(&r);
    return row_end(&r);
}

enum {
    JOB_EXPIRED = 1,
    JOB_UPLOADED = 2,
    JOB_SAME = 4,
    JOB_TLS = 8,
    JOB_DSN = 16,
    JOB_OWN = 32,
    JOB_WARNED = 64, /* the row goes on with `warned` */
    JOB_BEGUN = 128
};

bool job_row_encode(const struct job_row *job, struct buf *out)
{
    unsigned flags = (job->expired ? JOB_EXPIRED : 0U) | (job->uploaded ? JOB_UPLOADED : 0U) |
                     (job->same_for_all ? JOB_SAME : 0U) | (job->require_tls ? JOB_TLS : 0U) |
                     (job->is_dsn ? JOB_DSN : 0U) | (job->own_content ? JOB_OWN : 0U) |
                     (job->warned > 0 ? JOB_WARNED : 0U) | (job->begun ? JOB_BEGUN : 0U);
    add_u8(out, ROW_VERSION);
    add_u8(out, job->state);
    add_u8(out, flags);
    add_u8(out, job->class_);
    add_u8(out, job->bounces);
    add_u8(out, job->ret);
    add_u8(out, job->notify);
    add_be32(out, job->batches);
    add_be64(out, (uint64_t)job->created_ms);
    add_be64(out, (uint64_t)job->not_before_ms);
    add_be64(out, (uint64_t)job->expires_ms);
    add_be64(out, (uint64_t)job->ended_ms);
    add_be64(out, job->accepted_seq);
    add_be64(out, job->total);
    for (unsigned n = 0; n < RCPT_STATES; n++)
        add_be64(out, job->by_state[n]);
    buf_add_varint(out, job->message_size);
    buf_add_varint(out, job->content_size);
    buf_add(out, job->content_hash, sizeof job->content_hash);
    buf_add_field(out, job->tenant);
    buf_add_field(out, job->campaign);
    buf_add_field(out, job->pool);
    buf_add_field(out, job->from);
    buf_add_field(out, job->envid);
    buf_add_field(out, job->metadata);
    if (job->warned > 0)
        add_be32(out, job->warned);
    if (job->delay_warning_ms > 0) /* told by there being more */
        add_be64(out, (uint64_t)job->delay_warning_ms);
    return !out->failed;
}

bool job_row_decode(struct str row, struct job_row *job)
{
    struct reader r = row_begin(row);
    *job = (struct job_row){.state = (enum job_state)read_enum(&r, JOB_ENDED + 1)};
    unsigned flags = read_u8(&r);
    job->expired = flags & JOB_EXPIRED;
    job->uploaded = flags & JOB_UPLOADED;
    job->same_for_all = flags & JOB_SAME;
    job->require_tls = flags & JOB_TLS;
    job->is_dsn = flags & JOB_DSN;
    job->own_content = flags & JOB_OWN;
    job->begun = flags & JOB_BEGUN;
    job->class_ = (enum job_class)read_enum(&r, CLASS_TRANSACTIONAL + 1);
    job->bounces = (enum job_bounces)read_enum(&r, BOUNCES_NONE + 1);
    job->ret = (enum dsn_ret)read_enum(&r, RET_FULL + 1);
    job->notify = read_u8(&r);
    job->batches = read_be32(&r);
    job->created_ms = read_time(&r);
    job->not_before_ms = read_time(&r);
    job->expires_ms = read_time(&r);
    job->ended_ms = read_time(&r);
    job->accepted_seq = read_be64(&r);
    job->total = read_be64(&r);
    for (unsigned n = 0; n < RCPT_STATES; n++)
        job->by_state[n] = read_be64(&r);
    job->message_size = read_varint(&r);
    job->content_size = read_varint(&r);
    struct str hash = read_bytes(&r, sizeof job->content_hash);
    if (hash.n == sizeof job->content_hash)
        memcpy(job->content_hash, hash.p, hash.n);
    job->tenant = read_field(&r);
    job->campaign = read_field(&r);
    job->pool = read_field(&r);
    job->from = read_field(&r);
    job->envid = read_field(&r);
    job->metadata = read_field(&r);
    job->warned = flags & JOB_WARNED ? read_be32(&r) : 0;
    job->delay_warning_ms = r.at < r.end ? read_time(&r) : 0;
    return row_end(&r);
}

void job_content_key(const struct job_row *job, uint64_t id, uint8_t name[32])
{
    content_key(job->content_hash, job->own_content, id, name);
}

void content_key(const uint8_t hash[32], bool own, uint64_t id, uint8_t name[32])
{
    memcpy(name, hash, 32);
    if (own) { /* no digest begins with 24 zero bytes */
        memset(name, 0, 24);
        put_be64(name + 24, id);
    }
}

bool content_row_encode(const struct content_row *content, struct buf *out)
{
    add_u8(out, ROW_VERSION);
    add_u8(out, content->complete);
    add_be32(out, content->references);
    return add_be64(out, content->size);
}

bool content_row_decode(struct str row, struct content_row *content)
{
    struct reader r = row_begin(row);
    content->complete = read_bool(&r);
    content->references = read_be32(&r);
    content->size = read_be64(&r);
    return row_end(&r);
}

void ready_row_encode(struct ready_row ready, uint8_t row[READY_ROW_SIZE])
{
    put_be16(row, ready.first);
    put_be16(row + 2, ready.count);
}

bool ready_row_decode(struct str row, struct ready_row *ready)
{
    if (row.n != READY_ROW_SIZE)
        return false;
    const uint8_t *p = (const uint8_t *)row.p;
    *ready = (struct ready_row){get_be16(p), get_be16(p + 2)};
    return ready->count > 0 && (unsigned)ready->first + ready->count <= BATCH_SLOTS_MAX;
}

bool lane_row_encode(const struct lane_row *lane, struct buf *out)
{
    add_u8(out, ROW_VERSION);
    add_be64(out, (uint64_t)lane->wake_ms);
    for (unsigned n = 0; n < RCPT_STATES; n++)
        add_be64(out, lane->by_state[n]);
    return lane_name_encode(lane->class_, lane->tenant, lane->pool, lane->domain, out);
}

bool lane_row_decode(struct str row, struct lane_row *lane)
{
    struct reader r = row_begin(row);
    lane->wake_ms = read_time(&r);
    for (unsigned n = 0; n < RCPT_STATES; n++)
        lane->by_state[n] = read_be64(&r);
    return !r.bad && lane_name_decode(str_make((const char *)r.at, (size_t)(r.end - r.at)), &lane->class_,
                                      &lane->tenant, &lane->pool, &lane->domain);
}

void lane_name_hashes(enum job_class class_, struct str tenant, struct str pool, struct str domain,
                      uint64_t *domain_hash, uint64_t *rest_hash)
{
    uint8_t bytes[1 + 2 * (NAME_MAX_BYTES + 1)];
    size_t tenant_n = tenant.n < NAME_MAX_BYTES ? tenant.n : NAME_MAX_BYTES;
    size_t pool_n = pool.n < NAME_MAX_BYTES ? pool.n : NAME_MAX_BYTES;
    bytes[0] = (uint8_t)class_;
    memcpy(bytes + 1, tenant.p ? tenant.p : "", tenant_n);
    bytes[1 + tenant_n] = 0;
    memcpy(bytes + 2 + tenant_n, pool.p ? pool.p : "", pool_n);
    *domain_hash = str_hash(domain);
    *rest_hash = str_hash(str_make((const char *)bytes, 2 + tenant_n + pool_n));
}

bool lane_name_encode(enum job_class class_, struct str tenant, struct str pool, struct str domain,
                      struct buf *out)
{
    add_u8(out, ROW_VERSION);
    add_u8(out, class_);
    buf_add_field(out, tenant);
    buf_add_field(out, pool);
    return buf_add_field(out, domain);
}

bool lane_name_decode(struct str row, enum job_class *class_, struct str *tenant, struct str *pool,
                      struct str *domain)
{
    struct reader r = row_begin(row);
    *class_ = (enum job_class)read_enum(&r, CLASS_TRANSACTIONAL + 1);
    *tenant = read_field(&r);
    *pool = read_field(&r);
    *domain = read_field(&r);
    if (tenant->n > NAME_MAX_BYTES || pool->n > NAME_MAX_BYTES || domain->n > DOMAIN_MAX)
        return false; /* callers copy them into fields of these sizes */
    return row_end(&r);
}

bool fate_encode(const struct fate *fate, struct buf *out)
{
    add_u8(out, ROW_VERSION);
    buf_add_varint(out, fate->lane);
    buf_add_varint(out, fate->attempts);
    add_be64(out, (uint64_t)fate->first_ms);
    add_be64(out, (uint64_t)fate->last_ms);
    add_be64(out, (uint64_t)fate->next_ms);
    buf_add_varint(out, fate->code);
    add_status(out, fate->status);
    buf_add_field(out, fate->reply);
    buf_add_field(out, fate->mx);
    buf_add_field(out, fate->source);
    return buf_add_field(out, fate->site);
}

bool fate_decode(struct str row, struct fate *fate)
{
    struct reader r = row_begin(row);
    fate->lane = read_varint32(&r);
    fate->attempts = read_varint32(&r);
    fate->first_ms = read_time(&r);
    fate->last_ms = read_time(&r);
    fate->next_ms = read_time(&r);
    fate->code = read_varint16(&r);
    fate->status = read_status(&r);
    fate->reply = read_field(&r);
    fate->mx = read_field(&r);
    fate->source = read_field(&r);
    fate->site = read_field(&r);
    return row_end(&r);
}

static bool add_part(struct buf *out, int part)
{
    return buf_add_varint(out, (uint64_t)(part + 1));
}

static int read_part(struct reader *r)
{
    return (int)read_varint16(r) - 1;
}

/* What an operation's filter has besides names. */
enum { OP_HAS_STATUS = 1, OP_HAS_TIMES = 2 };

bool op_row_encode(const struct op_row *op, struct buf *out)
{
    bool times = op->filter.accepted_after_ms != 0 || op->filter.accepted_before_ms != 0;
    add_u8(out, ROW_VERSION);
    add_u8(out, op->kind);
    add_u8(out, op->done);
    add_u8(out, op->phase);
    add_be64(out, (uint64_t)op->started_ms);
    add_be64(out, (uint64_t)op->ended_ms);
    add_be64(out, op->matched);
    add_be64(out, op->changed);
    add_be64(out, op->in_flight);
    add_be64(out, op->filter.job);
    add_u8(out, (op->filter.has_status ? OP_HAS_STATUS : 0) | (times ? OP_HAS_TIMES : 0));
    add_part(out, op->filter.has_status ? op->filter.status.class_ : -1);
    add_part(out, op->filter.has_status ? op->filter.status.subject : -1);
    add_part(out, op->filter.has_status ? op->filter.status.detail : -1);
    buf_add_field(out, op->filter.tenant);
    buf_add_field(out, op->filter.campaign);
    buf_add_field(out, op->filter.domain);
    add_be32(out, op->domains_size);
    if (times) {
        add_be64(out, (uint64_t)op->filter.accepted_after_ms);
        add_be64(out, (uint64_t)op->filter.accepted_before_ms);
    }
    return buf_add_field(out, op->cursor);
}

bool op_row_decode(struct str row, struct op_row *op)
{
    struct reader r = row_begin(row);
    *op = (struct op_row){.kind = (enum op_kind)read_enum(&r, OP_WAKE + 1)};
    op->done = read_bool(&r);
    op->phase = read_u8(&r);
    op->started_ms = read_time(&r);
    op->ended_ms = read_time(&r);
    op->matched = read_be64(&r);
    op->changed = read_be64(&r);
    op->in_flight = read_be64(&r);
    op->filter.job = read_be64(&r);
    unsigned has = read_enum(&r, (OP_HAS_STATUS | OP_HAS_TIMES) + 1);
    op->filter.has_status = (has & OP_HAS_STATUS) != 0;
    op->filter.status.class_ = read_part(&r);
    op->filter.status.subject = read_part(&r);
    op->filter.status.detail = read_part(&r);
    op->filter.tenant = read_field(&r);
    op->filter.campaign = read_field(&r);
    op->filter.domain = read_field(&r);
    op->domains_size = read_be32(&r);
    if (has & OP_HAS_TIMES) {
        op->filter.accepted_after_ms = read_time(&r);
        op->filter.accepted_before_ms = read_time(&r);
    }
    op->cursor = read_field(&r);
    return row_end(&r) && op->cursor.n <= KEY_MAX;
}

bool dsn_row_encode(const struct dsn_row *dsn, struct buf *out)
{
    add_u8(out, ROW_VERSION);
    add_be32(out, dsn->count);
    add_be64(out, (uint64_t)dsn->first_ms);
    add_be64(out, (uint64_t)dsn->last_ms);
    return add_be64(out, (uint64_t)dsn->due_ms);
}

bool dsn_row_decode(struct str row, struct dsn_row *dsn)
{
    struct reader r = row_begin(row);
    dsn->count = read_be32(&r);
    dsn->first_ms = read_time(&r);
    dsn->last_ms = read_time(&r);
    dsn->due_ms = read_time(&r);
    return row_end(&r);
}

bool key_row_encode(const struct key_row *key, struct buf *out)
{
    add_u8(out, ROW_VERSION);
    add_be64(out, key->job);
    add_be64(out, (uint64_t)key->expires_ms);
    buf_add(out, key->digest, sizeof key->digest);
    add_be32(out, key->answer_size);
    return buf_add_field(out, key->answer);
}

bool key_row_decode(struct str row, struct key_row *key)
{
    struct reader r = row_begin(row);
    *key = (struct key_row){.job = read_be64(&r)};
    key->expires_ms = read_time(&r);
    struct str digest = read_bytes(&r, sizeof key->digest);
    if (digest.n == sizeof key->digest)
        memcpy(key->digest, digest.p, digest.n);
    key->answer_size = read_be32(&r);
    key->answer = read_field(&r);
    return row_end(&r) && key->answer.n <= key->answer_size;
}
