/* opened.c - see opened.h. */
#include "engine/route/opened.h"

#include <errno.h>
#include <stdlib.h>

void opened_close(void *user)
{
    struct opened *opened = user;
    if (opened == NULL)
        return;
    for (struct signature *signature = opened->signature, *before; signature != NULL; signature = before) {
        before = signature->before;
        free(signature);
    }
    free(opened->body_hash);
    dkim_body_free(opened->body_begun);
    free(opened);
}

static bool find_key(struct opened *opened, const struct dkim *dkim, struct err *err)
{
    char domain[DOMAIN_MAX + 1] = "";
    enum template_from from = template_from_domain(&opened->template, domain);
    bool any = dkim != NULL && dkim_identity(dkim, 0) != NULL;
    if (from == TEMPLATE_FROM_FIXED && dkim_find(dkim, str_of(domain)) != NULL)
        memcpy(opened->domain, domain, sizeof opened->domain);
    opened->wants_signature = any && (opened->domain[0] != '\0' || from == TEMPLATE_FROM_VARIES);
    if (!opened->template.info.require_dkim || opened->wants_signature)
        return true;
    return err_set(err, 0, "it must be signed (require_dkim) and there is no key for %s any more", domain);
}

static struct opened *open_job(const struct store_job *job, const struct dkim *dkim, struct err *err)
{
    struct opened *opened = calloc(1, sizeof *opened);
    if (opened == NULL) {
        err_set(err, ENOMEM, "no memory to open the message");
        return NULL;
    }
    if (template_open(job->content, job->content_size, &opened->template, err) && find_key(opened, dkim, err))
        return opened;
    free(opened);
    return NULL;
}

struct opened *opened_get(struct store_job *job, const struct dkim *dkim, struct err *err)
{
    struct opened *opened = __atomic_load_n((struct opened **)&job->opened, __ATOMIC_ACQUIRE);
    if (opened != NULL)
        return opened;
    opened = open_job(job, dkim, err);
    void *none = NULL;
    if (opened != NULL && !__atomic_compare_exchange_n(&job->opened, &none, (void *)opened, false,
                                                       __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        opened_close(opened); /* another thread was first */
        opened = none;
    }
    return opened;
}

struct render_args opened_args(const struct taken *taken, char rid[RID_TEXT_MAX])
{
    struct str text = str_make(rid, rid_format(taken->rid, rid)); /* begins with the job's id */
    return (struct render_args){.vars = taken->vars,
                                .to = taken->to,
                                .rid = text,
                                .id = taken->id,
                                .job = str_make(text.p, str_find(text, '-', 0))};
}

struct str opened_signature(const struct opened *opened, const struct taken *taken)
{
    const struct signature *of_all = atomic_load_explicit(&opened->signature, memory_order_acquire);
    const struct signature *signature = of_all ? of_all : taken->signature;
    return signature ? str_make(signature->text, signature->n) : (struct str){NULL, 0};
}

bool opened_is_signed(const struct opened *opened, const struct taken *taken, const struct dkim *dkim)
{
    const struct signature *of_all = atomic_load_explicit(&opened->signature, memory_order_acquire);
    return of_all ? of_all->keys >= dkim_number(dkim) : taken->signature != NULL;
}

const struct dkim_domain *opened_domain(const struct opened *opened, const struct dkim *dkim)
{
    return opened->domain[0] != '\0' ? dkim_find(dkim, str_of(opened->domain)) : NULL;
}

/* The digest of what bodies have in common before the first variable. NULL: too little of it to be worth a
 * copy, or no memory. */
static const struct dkim_body *begin_body(struct opened *opened, const struct rendition *message)
{
    enum { WORTH = 1024 }; /* octets: a copy takes as long as a third of them */
    struct dkim_body *begun = atomic_load_explicit(&opened->body_begun, memory_order_acquire), *none = NULL;
    if (begun != NULL || opened->template.info.same_begin < WORTH)
        return begun;
    begun = dkim_body_begin(message, opened->template.info.same_begin);
    if (begun == NULL || atomic_compare_exchange_strong(&opened->body_begun, &none, begun))
        return begun;
    dkim_body_free(begun); /* another signer was first */
    return none;
}

/* The digest of the message's body, of the job's where it is the same for all. */
static bool hash_body(struct opened *opened, const struct rendition *message, uint8_t hash[DIGEST_SIZE],
                      struct err *err)
{
    const uint8_t *kept = atomic_load_explicit(&opened->body_hash, memory_order_acquire);
    if (kept != NULL) {
        memcpy(hash, kept, DIGEST_SIZE);
        return true;
    }
    bool same = opened->template.info.same_body;
    if (!dkim_body_hash(message, same ? NULL : begin_body(opened, message), hash, err))
        return false;
    uint8_t *copy = same ? malloc(DIGEST_SIZE) : NULL;
    if (copy == NULL)
        return true;
    memcpy(copy, hash, DIGEST_SIZE);
    uint8_t *none = NULL;
    if (!atomic_compare_exchange_strong(&opened->body_hash, &none, copy))
        free(copy);
    return true;
}

static bool keep(struct opened *opened, struct taken *taken, const struct dkim *dkim, struct str text,
                 struct err *err)
{
    struct signature *signature = malloc(sizeof *signature + text.n);
    if (signature == NULL)
        return err_set(err, ENOMEM, "no memory for a signature");
    signature->before = NULL;
    signature->keys = dkim_number(dkim);
    signature->n = text.n;
    if (text.n > 0)
        memcpy(signature->text, text.p, text.n);
    if (!opened->template.info.same_for_all) {
        taken->signature = signature;
        return true;
    }
    signature->before = atomic_load(&opened->signature);
    if (opened_is_signed(opened, taken, dkim) ||
        !atomic_compare_exchange_strong(&opened->signature, &signature->before, signature))
        free(signature); /* another signer was first */
    return true;
}

bool opened_sign(struct opened *opened, struct taken *taken, const struct dkim *dkim,
                 struct dkim_signer *signer, struct rendition *message, struct buf *text, int64_t now_ms,
                 struct err *err)
{
    char rid[RID_TEXT_MAX], from[DOMAIN_MAX + 1];
    uint8_t hash[DIGEST_SIZE];
    const struct dkim_domain *domain = opened_domain(opened, dkim);
    if (opened_is_signed(opened, taken, dkim))
        return true; /* of all: another signer was faster */
    struct render_args args = opened_args(taken, rid);
    args.unstuffed = true;
    if (!template_render(&opened->template, &args, message, err))
        return false;
    if (domain == NULL && rendition_from_domain(message, from) == TEMPLATE_FROM_FIXED)
        domain = dkim_find(dkim, str_of(from));
    if (domain == NULL && opened->template.info.require_dkim)
        return err_set(err, 0, "it must be signed (require_dkim) and its author's domain has no key");
    buf_clear(text);
    return (domain == NULL || (hash_body(opened, message, hash, err) &&
                               dkim_sign(signer, domain, message, hash, now_ms, text, err))) &&
           keep(opened, taken, dkim, buf_str(text), err);
}
