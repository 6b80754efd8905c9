/* auth.c - see auth.h.
 *
 *   SCRAM    n,,n=U,r=C            -> r=CS,s=SALT,i=N  -> c=biws,r=CS,p=PROOF -> v=SIGNATURE -> (empty)
 *   XOAUTH2  user=U^Aauth=Bearer T^A^A  (-> an error -> (empty))
 *   PLAIN    \0U\0PASSWORD
 *   LOGIN    (nothing)             -> whatever         -> U -> whatever       -> PASSWORD */
#include "engine/smtp/auth.h"

#include "engine/base/secret.h"
#include "engine/message/decode.h"
#include "engine/message/encode.h"

#include <errno.h>
#include <stdlib.h>

struct auth {
    enum auth_mechanism mechanism;
    unsigned step;
    bool complete;
    struct auth_keys *keys;
    struct str user, secret, nonce; /* in memory */
    struct buf said;                /* SCRAM: what the signature is over */
    uint8_t signature[DIGEST_SIZE];
    char memory[];
};

static const char *const names[AUTH_MECHANISMS] = {
    [AUTH_SCRAM_SHA_256] = "SCRAM-SHA-256",
    [AUTH_XOAUTH2] = "XOAUTH2",
    [AUTH_PLAIN] = "PLAIN",
    [AUTH_LOGIN] = "LOGIN",
};

unsigned auth_mechanisms(struct str text)
{
    unsigned bits = 0;
    while (text.n > 0) {
        size_t end = str_find(text, ' ', 0);
        if (end == SIZE_MAX)
            end = text.n;
        for (unsigned i = 0; i < AUTH_MECHANISMS; i++)
            bits |= str_eq_nocase(str_make(text.p, end), str_of(names[i])) ? 1u << i : 0;
        text = str_trim(str_make(text.p + end, text.n - end));
    }
    return bits;
}

enum auth_mechanism auth_choose(unsigned offered, unsigned allowed)
{
    unsigned mechanism = 0;
    while (mechanism < AUTH_MECHANISMS && !(offered & allowed & 1u << mechanism))
        mechanism++;
    return (enum auth_mechanism)mechanism;
}

/* ---- lines ---- */

static void add_base64(struct buf *line, struct str bytes)
{
    char *room = buf_room(line, 4 * (bytes.n / 3 + 1));
    if (room != NULL)
        line->len += (size_t)(base64_encode(room, bytes) - room);
}

/* RFC 5802 5.1: no comma and no equals sign in a name. */
static void add_name(struct buf *out, struct str user)
{
    for (size_t i = 0; i < user.n; i++)
        if (user.p[i] == ',' || user.p[i] == '=')
            buf_add_z(out, user.p[i] == ',' ? "=2C" : "=3D");
        else
            buf_add_char(out, user.p[i]);
}

/* What the client says first; empty where it waits to be asked. */
static void add_first(struct auth *auth, struct buf *text)
{
    switch (auth->mechanism) {
    case AUTH_SCRAM_SHA_256:
        buf_add_z(&auth->said, "n=");
        add_name(&auth->said, auth->user);
        buf_add_z(&auth->said, ",r=");
        buf_add_str(&auth->said, auth->nonce);
        buf_add_z(text, "n,,");
        buf_add_str(text, buf_str(&auth->said));
        break;
    case AUTH_XOAUTH2:
        buf_add_z(text, "user=");
        buf_add_str(text, auth->user);
        buf_add_z(text, "\001auth=Bearer ");
        buf_add_str(text, auth->secret);
        buf_add_z(text, "\001\001");
        break;
    case AUTH_PLAIN:
        buf_add_char(text, '\0');
        buf_add_str(text, auth->user);
        buf_add_char(text, '\0');
        buf_add_str(text, auth->secret);
        break;
    default:
        break;
    }
}

struct auth *auth_begin(enum auth_mechanism mechanism, struct str user, struct str secret, struct str nonce,
                        struct auth_keys *keys, struct buf *line)
{
    struct auth *auth = calloc(1, sizeof *auth + user.n + secret.n + nonce.n);
    if (auth == NULL)
        return NULL;
    auth->mechanism = mechanism;
    auth->keys = keys;
    memcpy(auth->memory, user.p, user.n);
    memcpy(auth->memory + user.n, secret.p, secret.n);
    auth->user = str_make(auth->memory, user.n);
    auth->secret = str_make(auth->memory + user.n, secret.n);
    memcpy(auth->memory + user.n + secret.n, nonce.p, nonce.n);
    auth->nonce = str_make(auth->memory + user.n + secret.n, nonce.n);
    buf_init(&auth->said, AUTH_LINE_MAX);
    struct buf text;
    buf_init(&text, AUTH_LINE_MAX);
    add_first(auth, &text);
    buf_add_z(line, "AUTH ");
    buf_add_z(line, names[mechanism]);
    if (text.len > 0) {
        buf_add_char(line, ' ');
        add_base64(line, buf_str(&text));
    }
    buf_add_z(line, "\r\n");
    line->failed |= text.failed || auth->said.failed;
    secret_free(&text);
    auth->complete = mechanism == AUTH_PLAIN || mechanism == AUTH_XOAUTH2;
    return auth;
}

void auth_free(struct auth *auth)
{
    if (auth == NULL)
        return;
    secret_free(&auth->said);
    explicit_bzero(auth, sizeof *auth + auth->user.n + auth->secret.n + auth->nonce.n);
    free(auth);
}

bool auth_is_complete(const struct auth *auth)
{
    return auth->complete;
}

/* ---- SCRAM ---- */

/* The value of the attribute at the front of *text, up to the next comma; taken off. */
static bool take_attribute(struct str *text, char name, struct str *value)
{
    if (text->n < 2 || text->p[0] != name || text->p[1] != '=')
        return false;
    size_t end = str_find(*text, ',', 2);
    *value = str_make(text->p + 2, (end == SIZE_MAX ? text->n : end) - 2);
    *text = end == SIZE_MAX ? STR("") : str_make(text->p + end + 1, text->n - end - 1);
    return true;
}

static void hmac(const uint8_t key[DIGEST_SIZE], struct str text, uint8_t out[DIGEST_SIZE])
{
    struct digest_piece piece = {text.p, text.n};
    digest_hmac(key, DIGEST_SIZE, &piece, 1, out);
}

static void salt_password(const struct auth *auth, struct str salt, unsigned iterations,
                          uint8_t salted[DIGEST_SIZE])
{
    uint8_t of[DIGEST_SIZE];
    struct digest_piece pieces[] = {{salt.p, salt.n}, {&iterations, sizeof iterations}};
    digest_hmac(auth->secret.p, auth->secret.n, pieces, 2, of);
    struct auth_keys *keys = auth->keys;
    if (keys != NULL && keys->there && digest_equal(keys->of, of)) {
        memcpy(salted, keys->salted, DIGEST_SIZE);
        return;
    }
    digest_pbkdf2(auth->secret.p, auth->secret.n, salt.p, salt.n, iterations, salted);
    if (keys == NULL)
        return;
    memcpy(keys->of, of, DIGEST_SIZE);
    memcpy(keys->salted, salted, DIGEST_SIZE);
    keys->there = true;
}

/* RFC 5802 3: the proof, and what the host's signature must be. */
static void prove(struct auth *auth, struct str salt, unsigned iterations, uint8_t proof[DIGEST_SIZE])
{
    uint8_t salted[DIGEST_SIZE], key[DIGEST_SIZE], stored[DIGEST_SIZE];
    salt_password(auth, salt, iterations, salted);
    hmac(salted, STR("Server Key"), key);
    hmac(key, buf_str(&auth->said), auth->signature);
    hmac(salted, STR("Client Key"), key);
    digest_of(key, sizeof key, stored);
    hmac(stored, buf_str(&auth->said), proof);
    for (size_t i = 0; i < DIGEST_SIZE; i++)
        proof[i] ^= key[i];
    explicit_bzero(salted, sizeof salted);
    explicit_bzero(key, sizeof key);
    explicit_bzero(stored, sizeof stored);
}

static bool scram_prove(struct auth *auth, struct str text, struct buf *out, struct err *err)
{
    struct str whole = text, nonce, encoded, count;
    struct buf salt;
    uint64_t iterations;
    uint8_t proof[DIGEST_SIZE];
    buf_init(&salt, AUTH_LINE_MAX);
    bool good = take_attribute(&text, 'r', &nonce) && take_attribute(&text, 's', &encoded) &&
                take_attribute(&text, 'i', &count) && base64_decode(encoded, &salt) && salt.len > 0 &&
                str_u64(count, UINT64_MAX, &iterations) && iterations > 0 && nonce.n > auth->nonce.n &&
                str_starts(nonce, auth->nonce);
    if (!good)
        err_set(err, EPROTO, "its challenge is none of SCRAM-SHA-256");
    else if (iterations > SCRAM_ITERATIONS_MAX)
        good = err_set(err, EPROTO, "it asks for %llu iterations, more than %d",
                       (unsigned long long)iterations, SCRAM_ITERATIONS_MAX);
    if (good) {
        buf_add_char(&auth->said, ',');
        buf_add_str(&auth->said, whole);
        buf_add_z(&auth->said, ",c=biws,r=");
        buf_add_str(&auth->said, nonce);
        prove(auth, buf_str(&salt), (unsigned)iterations, proof);
        buf_add_z(out, "c=biws,r=");
        buf_add_str(out, nonce);
        buf_add_z(out, ",p=");
        add_base64(out, str_make((const char *)proof, sizeof proof));
        good = !auth->said.failed || err_set(err, ENOMEM, "no memory to log in");
    }
    buf_free(&salt);
    return good;
}

static bool scram_verify(struct auth *auth, struct str text, struct err *err)
{
    struct str value;
    struct buf signature;
    buf_init(&signature, AUTH_LINE_MAX);
    bool good = take_attribute(&text, 'v', &value) && base64_decode(value, &signature) &&
                signature.len == DIGEST_SIZE &&
                digest_equal((const uint8_t *)signature.data, auth->signature);
    buf_free(&signature);
    auth->complete = good;
    return good || err_set(err, EPROTO, "it could not show that it knows the password");
}

/* ---- answers ---- */

/* In clear text; false: there is none. */
static bool reply_to(struct auth *auth, struct str challenge, struct buf *out, struct err *err)
{
    unsigned step = auth->step++;
    switch (auth->mechanism) {
    case AUTH_SCRAM_SHA_256:
        if (step < 2)
            return step == 0 ? scram_prove(auth, challenge, out, err) : scram_verify(auth, challenge, err);
        break;
    case AUTH_XOAUTH2: /* the challenge is an error; the reply to what we answer says more */
        if (step == 0)
            return true;
        break;
    case AUTH_LOGIN:
        auth->complete = step == 1;
        if (step < 2)
            return buf_add_str(out, step == 0 ? auth->user : auth->secret) ||
                   err_set(err, ENOMEM, "no memory to log in");
        break;
    default:
        break;
    }
    return err_set(err, EPROTO, "it asks more than AUTH %s has", names[auth->mechanism]);
}

bool auth_answer(struct auth *auth, struct str challenge, struct buf *line, struct err *err)
{
    struct buf in, out;
    buf_init(&in, AUTH_LINE_MAX);
    buf_init(&out, AUTH_LINE_MAX);
    bool good = base64_decode(str_trim(challenge), &in) || err_set(err, ENOMEM, "no memory to log in");
    good = good && reply_to(auth, buf_str(&in), &out, err);
    if (good) {
        add_base64(line, buf_str(&out));
        buf_add_z(line, "\r\n");
    }
    secret_free(&in);
    secret_free(&out);
    return good;
}
