/* dkim.c - see dkim.h.
 *
 * What is signed is the digest of the signed fields, canonical, and of the signature's own field with an
 * empty b=, which stands last in it. */
#include "engine/dkim/dkim.h"

#include "engine/base/log.h"
#include "engine/dkim/canon.h"
#include "engine/message/encode.h"
#include "engine/message/lines.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>

#define HEADER_MAX (4 * 1024 * 1024) /* bytes of a header, and of what is signed of it */
#define COLUMNS    76

static const struct str signed_names[] = {
    {"From", 4},
    {"Sender", 6},
    {"Reply-To", 8},
    {"To", 2},
    {"Cc", 2},
    {"Subject", 7},
    {"Date", 4},
    {"Message-ID", 10},
    {"In-Reply-To", 11},
    {"References", 10},
    {"MIME-Version", 12},
    {"Content-Type", 12},
    {"Content-Transfer-Encoding", 25},
    {"List-Id", 7},
    {"List-Help", 9},
    {"List-Unsubscribe", 16},
    {"List-Unsubscribe-Post", 21},
    {"List-Subscribe", 14},
    {"List-Post", 9},
    {"List-Owner", 10},
    {"List-Archive", 12},
    {"Feedback-ID", 11},
    {"Auto-Submitted", 14},
};
#define SIGNED_NAMES (sizeof signed_names / sizeof signed_names[0])

struct dkim {
    uint64_t number;
    struct dkim_identity *identities; /* sorted by domain */
    size_t count;
    struct dkim_domain *domains;
    size_t domain_count;
};

struct dkim_signer {
    const struct dkim *dkim;
    struct dkim_key **keys; /* by index of the identities */
    struct buf header;      /* of the message at hand */
    struct buf fields;      /* struct field, of those that are signed */
    struct buf canonical;   /* what is signed but for the signature's own field */
    struct buf own, bytes;
};

/* A signed field: where it stands in the header. */
struct field {
    size_t name; /* in signed_names */
    size_t at, n;
};

/* ---- keys ---- */

static int by_domain(const void *a, const void *b)
{
    return strcmp(((const struct dkim_identity *)a)->domain, ((const struct dkim_identity *)b)->domain);
}

static char *lower_copy(const char *text)
{
    char *copy = str_dup(str_of(text));
    for (char *p = copy; p != NULL && *p != '\0'; p++)
        *p = ascii_lower(*p);
    return copy;
}

static bool read_identity(struct dkim_identity *identity, const struct config_dkim *from, struct err *err)
{
    identity->domain = lower_copy(from->domain);
    identity->selector = lower_copy(from->selector);
    identity->path = str_dup(str_of(from->key));
    identity->key = dkim_key_read(from->key, err);
    if (identity->key == NULL)
        return err_prefix(err, "dkim: %s, selector %s", from->domain, from->selector);
    if (identity->domain == NULL || identity->selector == NULL || identity->path == NULL)
        return err_set(err, ENOMEM, "no memory for the DKIM keys");
    if (strcmp(dkim_key_algorithm(identity->key), "rsa-sha256") == 0 &&
        dkim_key_bits(identity->key) < DKIM_RSA_BITS_GOOD)
        log_warn("dkim: %s, selector %s: the key %s has %u bits; receivers want %d (RFC 8301)",
                 identity->domain, identity->selector, identity->path, dkim_key_bits(identity->key),
                 DKIM_RSA_BITS_GOOD);
    return true;
}

static void group_domains(struct dkim *dkim)
{
    for (size_t i = 0; i < dkim->count; i++) {
        struct dkim_domain *last = dkim->domain_count ? &dkim->domains[dkim->domain_count - 1] : NULL;
        if (last != NULL && strcmp(last->name, dkim->identities[i].domain) == 0)
            last->count++;
        else
            dkim->domains[dkim->domain_count++] = (struct dkim_domain){dkim->identities[i].domain, i, 1};
    }
}

struct dkim *dkim_create(const struct config *config, struct err *err)
{
    static atomic_uint_fast64_t made;
    struct dkim *dkim = calloc(1, sizeof *dkim);
    if (dkim == NULL ||
        (dkim->identities = calloc(config->dkim_count + 1, sizeof *dkim->identities)) == NULL ||
        (dkim->domains = calloc(config->dkim_count + 1, sizeof *dkim->domains)) == NULL) {
        err_set(err, ENOMEM, "no memory for the DKIM keys");
        dkim_destroy(dkim);
        return NULL;
    }
    dkim->number = atomic_fetch_add_explicit(&made, 1, memory_order_relaxed) + 1;
    for (dkim->count = 0; dkim->count < config->dkim_count; dkim->count++)
        if (!read_identity(&dkim->identities[dkim->count], &config->dkim[dkim->count], err)) {
            dkim->count++;
            dkim_destroy(dkim);
            return NULL;
        }
    qsort(dkim->identities, dkim->count, sizeof *dkim->identities, by_domain);
    group_domains(dkim);
    return dkim;
}

void dkim_destroy(struct dkim *dkim)
{
    if (dkim == NULL)
        return;
    for (size_t i = 0; i < dkim->count; i++) {
        dkim_key_free(dkim->identities[i].key);
        free((char *)(uintptr_t)dkim->identities[i].domain);
        free((char *)(uintptr_t)dkim->identities[i].selector);
        free((char *)(uintptr_t)dkim->identities[i].path);
    }
    free(dkim->identities);
    free(dkim->domains);
    free(dkim);
}

uint64_t dkim_number(const struct dkim *dkim)
{
    return dkim ? dkim->number : 0;
}

const struct dkim_identity *dkim_identity(const struct dkim *dkim, size_t index)
{
    return index < dkim->count ? &dkim->identities[index] : NULL;
}

const struct dkim_domain *dkim_find(const struct dkim *dkim, struct str domain)
{
    size_t low = 0, high = dkim ? dkim->domain_count : 0;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = str_cmp(str_of(dkim->domains[middle].name), domain);
        if (order == 0)
            return &dkim->domains[middle];
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

/* ---- signers ---- */

struct dkim_signer *dkim_signer_create(const struct dkim *dkim)
{
    struct dkim_signer *signer = calloc(1, sizeof *signer);
    if (signer == NULL || (signer->keys = calloc(dkim->count + 1, sizeof(struct dkim_key *))) == NULL) {
        free(signer);
        return NULL;
    }
    signer->dkim = dkim;
    buf_init(&signer->header, HEADER_MAX);
    buf_init(&signer->fields, HEADER_MAX);
    buf_init(&signer->canonical, HEADER_MAX);
    buf_init(&signer->own, HEADER_MAX);
    buf_init(&signer->bytes, HEADER_MAX);
    for (size_t i = 0; i < dkim->count; i++)
        if ((signer->keys[i] = dkim_key_copy(dkim->identities[i].key)) == NULL) {
            dkim_signer_destroy(signer);
            return NULL;
        }
    return signer;
}

void dkim_signer_destroy(struct dkim_signer *signer)
{
    if (signer == NULL)
        return;
    for (size_t i = 0; i < signer->dkim->count; i++)
        dkim_key_free(signer->keys[i]);
    free(signer->keys);
    buf_free(&signer->header);
    buf_free(&signer->fields);
    buf_free(&signer->canonical);
    buf_free(&signer->own);
    buf_free(&signer->bytes);
    free(signer);
}

/* ---- signing ---- */

#define BLANK_LINE 2 /* what follows the header begins with it, and it is of neither */

struct dkim_body {
    struct canon_body canon;
    size_t n;
};

static void add_body(struct canon_body *body, const struct rendition *message, size_t from, size_t to)
{
    canon_body_add(body, message->parts + message->header_count, message->count - message->header_count, from,
                   to);
}

struct dkim_body *dkim_body_begin(const struct rendition *message, size_t n)
{
    struct dkim_body *begun = malloc(sizeof *begun);
    if (begun == NULL || !canon_body_begin(&begun->canon)) {
        free(begun);
        return NULL;
    }
    begun->n = n;
    add_body(&begun->canon, message, BLANK_LINE, n);
    return begun;
}

void dkim_body_free(struct dkim_body *begun)
{
    if (begun != NULL)
        canon_body_end(&begun->canon, NULL);
    free(begun);
}

bool dkim_body_hash(const struct rendition *message, const struct dkim_body *begun, uint8_t out[DIGEST_SIZE],
                    struct err *err)
{
    struct canon_body body;
    if (!(begun ? canon_body_copy(&body, &begun->canon) : canon_body_begin(&body)))
        return err_set(err, ENOMEM, "no memory to sign a message");
    add_body(&body, message, begun ? begun->n : BLANK_LINE, SIZE_MAX);
    canon_body_end(&body, out);
    return true;
}

static size_t name_index(struct str field)
{
    size_t colon = str_find(field, ':', 0);
    struct str name = str_trim(str_make(field.p, colon == SIZE_MAX ? 0 : colon));
    for (size_t i = 0; i < SIGNED_NAMES; i++)
        if (name.n == signed_names[i].n && str_eq_nocase(name, signed_names[i]))
            return i;
    return SIGNED_NAMES;
}

/* Notes the fields of the header that are signed. */
static void find_fields(struct dkim_signer *s)
{
    struct str header = buf_str(&s->header), text;
    buf_clear(&s->fields);
    for (size_t at = 0; lines_field(header, &at, &text);) {
        struct field field = {name_index(text), at - text.n, text.n};
        if (field.name < SIGNED_NAMES)
            buf_add(&s->fields, &field, sizeof field);
    }
}

/* A name in h=, on a new line where it would not fit. */
static void put_name(struct buf *out, struct str name, size_t *col)
{
    if (*col + name.n + 1 > COLUMNS) {
        buf_add_z(out, "\r\n ");
        *col = 1;
    }
    buf_add_str(out, name);
    buf_add_char(out, ':');
    *col += name.n + 1;
}

/* h= without its last colon, and what is signed of the header, field by field: of several of one name the
 * last first (RFC 6376 5.4.2). */
static void collect(struct dkim_signer *s, struct buf *names)
{
    const struct field *fields = (const void *)s->fields.data;
    size_t count = s->fields.len / sizeof *fields, col = 5;
    buf_clear(&s->canonical);
    for (size_t name = 0; name < SIGNED_NAMES; name++) {
        for (size_t i = count; i-- > 0;) {
            if (fields[i].name != name)
                continue;
            put_name(names, signed_names[name], &col);
            canon_field(&s->canonical, str_make(s->header.data + fields[i].at, fields[i].n));
            buf_add_z(&s->canonical, "\r\n");
        }
        if (name == 0)
            put_name(names, signed_names[0], &col); /* one more than there are: no other may be added */
    }
    names->len -= names->len > 0;
}

static bool add_signature(struct dkim_signer *s, size_t index, const struct buf *names, struct str body_hash,
                          int64_t now_ms, struct buf *out, struct err *err)
{
    enum { LINE = 72 };
    const struct dkim_identity *identity = &s->dkim->identities[index];
    size_t begin = out->len, canonical = s->canonical.len;
    char text[4 * DKIM_SIGNATURE_MAX / 3 + 8];
    uint8_t digest[DIGEST_SIZE];
    buf_add_z(out, "DKIM-Signature: v=1; a="); /* printf would take 0.4 us */
    buf_add_z(out, dkim_key_algorithm(identity->key));
    buf_add_z(out, "; c=relaxed/relaxed;\r\n d=");
    buf_add_z(out, identity->domain);
    buf_add_z(out, "; s=");
    buf_add_z(out, identity->selector);
    buf_add_z(out, "; t=");
    buf_add_u64(out, (uint64_t)now_ms / 1000);
    buf_add_z(out, ";\r\n h=");
    buf_add_str(out, buf_str(names));
    buf_add_z(out, ";\r\n bh=");
    buf_add_str(out, body_hash);
    buf_add_z(out, ";\r\n b=");
    if (out->failed || !canon_field(&s->canonical, str_make(out->data + begin, out->len - begin)) ||
        s->canonical.failed)
        return err_set(err, ENOMEM, "the header is too large to be signed, or memory is out");
    digest_of(s->canonical.data, s->canonical.len, digest);
    s->canonical.len = canonical;
    buf_clear(&s->bytes);
    if (!dkim_key_sign(s->keys[index], digest, &s->bytes, err))
        return err_prefix(err, "dkim: %s, selector %s", identity->domain, identity->selector);
    struct str signature = str_make(text, (size_t)(base64_encode(text, buf_str(&s->bytes)) - text));
    for (size_t at = 0; at < signature.n; at += LINE) {
        buf_add_z(out, at > 0 ? "\r\n " : "");
        buf_add(out, signature.p + at, signature.n - at < LINE ? signature.n - at : LINE);
    }
    return buf_add_z(out, "\r\n") || err_set(err, ENOMEM, "no memory for a signature");
}

bool dkim_sign(struct dkim_signer *s, const struct dkim_domain *domain, const struct rendition *message,
               const uint8_t body_hash[DIGEST_SIZE], int64_t now_ms, struct buf *out, struct err *err)
{
    char hash[DIGEST_SIZE * 2];
    struct str hash_text =
        str_make(hash, (size_t)(base64_encode(hash, str_make((const char *)body_hash, DIGEST_SIZE)) - hash));
    buf_clear(&s->header);
    for (size_t i = 0; i < message->header_count; i++)
        buf_add(&s->header, message->parts[i].iov_base, message->parts[i].iov_len);
    find_fields(s);
    buf_clear(&s->own);
    collect(s, &s->own);
    if (s->header.failed || s->fields.failed || s->canonical.failed || s->own.failed)
        return err_set(err, ENOMEM, "the header is too large to be signed, or memory is out");
    for (size_t i = domain->first; i < domain->first + domain->count; i++)
        if (!add_signature(s, i, &s->own, hash_text, now_ms, out, err))
            return false;
    return true;
}
