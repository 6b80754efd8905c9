/* What signers do for a job: the digest of a body that goes on from a beginning shared by all is that of the
 * whole. That signatures verify: test_dkim.py. */
#include "tests/unit/message_help.h"

#include "engine/route/opened.h"
#include "tests/unit/temporary.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <unistd.h>

static struct made *m;
static struct dkim *dkim;
static struct dkim_signer *signer;
static struct rendition message;
static struct buf text, signature;

static int setup(void **state)
{
    (void)state;
    char path[TEMPORARY_PATH];
    struct err err;
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    FILE *file = fdopen(temporary_file(path), "w");
    assert_true(file != NULL && PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL));
    fclose(file);
    EVP_PKEY_free(key);
    struct config_dkim one = {"x.example", "s", path};
    const struct config config = {.dkim = &one, .dkim_count = 1};
    dkim = dkim_create(&config, &err);
    unlink(path);
    signer = dkim_signer_create(dkim);
    assert_non_null(signer);
    m = made_new();
    buf_init(&text, CONTENT_MAX);
    buf_init(&signature, 65536);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    dkim_signer_destroy(signer);
    dkim_destroy(dkim);
    made_free(m);
    rendition_free(&message);
    buf_free(&text);
    buf_free(&signature);
    return 0;
}

/* bh= of the signature, as text. */
static struct str body_hash_of(struct str fields)
{
    const char *at = memmem(fields.p, fields.n, "bh=", 3);
    assert_non_null(at);
    return str_make(at + 3, 44); /* base64 of 32 bytes */
}

/* Signs for three recipients and compares with the digest of each whole message. */
static void sign_and_compare(struct message_spec spec, bool begun)
{
    char value[] = "Ada 0", whole[64];
    struct err err;
    uint8_t hash[DIGEST_SIZE];
    spec.from = STR("n@x.example");
    if (!made_compile(m, spec))
        fail_msg("%s", m->err.text);
    struct store_job job = {.id = 1, .content = m->record.data, .content_size = m->record.len};
    struct opened *opened = opened_get(&job, dkim, &err);
    assert_non_null(opened);
    for (uint16_t slot = 0; slot < 3; slot++) {
        struct taken taken = {.job = &job, .rid = {1, 0, slot}, .to = STR("ada@example.com")};
        value[4] = (char)('0' + slot);
        vars_builder_clear(&m->vars);
        made_set(m, "name", str_of(value));
        taken.vars = vars_blob(&m->vars);
        assert_true(opened_sign(opened, &taken, dkim, signer, &message, &signature, 0, &err));
        struct rendition alone = {0};
        char rid[RID_TEXT_MAX];
        struct render_args args = opened_args(&taken, rid);
        args.unstuffed = true;
        assert_true(template_render(&opened->template, &args, &alone, &err));
        assert_true(dkim_body_hash(&alone, NULL, hash, &err));
        rendition_free(&alone);
        EVP_EncodeBlock((unsigned char *)whole, hash, DIGEST_SIZE);
        assert_true(str_eq(body_hash_of(opened_signature(opened, &taken)), str_of(whole)));
        free(taken.signature);
    }
    assert_int_equal(opened->body_begun != NULL, begun);
    opened_close(opened);
}

static void add_lines(size_t n, const char *line)
{
    for (size_t i = 0; i < n; i++)
        buf_add_z(&text, line);
}

static void test_beginnings(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "A line of a newsletter.\n", ".\n..  two\n\n",      /* dots to be doubled, and blanks */
        "\xe5\xa2\xa8\xe5\xa2\xa8\xe5\xa2\xa8\xe5\xa2\xa8", /* base64 */
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        for (size_t n = 0; n < 400; n = 2 * n + 97) {
            buf_clear(&text);
            add_lines(n, lines[i]);
            buf_add_z(&text, "Bye, {{name}}.\n");
            add_lines(3, lines[i]);
            sign_and_compare((struct message_spec){.text = buf_str(&text)}, n > 0);
            buf_clear(&text);
            buf_add_z(&text, "Dear {{name}},\n");
            add_lines(n, lines[i]);
            sign_and_compare((struct message_spec){.text = buf_str(&text)}, false);
        }
}

static void test_same_body(void **state)
{
    (void)state;
    add_lines(100, "A line of a newsletter.\n");
    sign_and_compare((struct message_spec){.text = buf_str(&text), .subject = STR("{{name}}")}, false);
    sign_and_compare((struct message_spec){.text = buf_str(&text), .to = STR("all@x.example")}, false);
}

/* What is the same for all is signed anew with other keys; the old signature may still be on its way. */
static void test_other_keys(void **state)
{
    (void)state;
    struct err err;
    assert_true(made_compile(m, (struct message_spec){.from = STR("n@x.example"),
                                                      .to = STR("all@x.example"),
                                                      .text = STR("The same for all.")}));
    struct store_job job = {.id = 1, .content = m->record.data, .content_size = m->record.len};
    struct taken taken = {.job = &job, .rid = {1, 0, 0}, .to = STR("ada@example.com")};
    struct opened *opened = opened_get(&job, dkim, &err);
    assert_false(opened_is_signed(opened, &taken, dkim));
    assert_true(opened_sign(opened, &taken, dkim, signer, &message, &signature, 0, &err));
    assert_true(opened_is_signed(opened, &taken, dkim) && taken.signature == NULL);
    struct str first = opened_signature(opened, &taken);
    char *copy = str_dup(first);
    const struct config none = {.dkim_count = 0};
    struct dkim *later = dkim_create(&none, &err);
    assert_false(opened_is_signed(opened, &taken, later));
    assert_true(opened_sign(opened, &taken, later, signer, &message, &signature, 0, &err));
    assert_true(opened_is_signed(opened, &taken, later) && opened_is_signed(opened, &taken, dkim));
    assert_true(opened_signature(opened, &taken).p != NULL && opened_signature(opened, &taken).n == 0);
    assert_true(str_eq(first, str_of(copy)));
    free(copy);
    opened_close(opened);
    dkim_destroy(later);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_beginnings, setup, teardown),
        cmocka_unit_test_setup_teardown(test_same_body, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_keys, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
