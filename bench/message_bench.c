/* message_bench.c - what rendering and signing cost: messages made for each recipient, and DKIM beside the
 * bare private key operation of OpenSSL in the same run, as signers.c has it done. The ratio is of time that
 * the threads had a core (as `openssl speed` counts), so that it holds on a busy machine too.
 *
 * usage: message_bench [SECONDS [KIB]]   (of each measurement, of a message; default 2 and 20). Keys are made
 * anew; one thread renders, as many as there are cores sign. */
#include "engine/base/clock.h"
#include "engine/route/opened.h"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define THREADS_MAX 64

static int64_t span_ns;
static size_t body_bytes;
static struct buf record;
static struct template template;
static struct dkim *dkim;
static struct opened *opened;

/* Where in the body a variable stands first: it is hashed for each recipient from there on. */
enum place { TOP, END, HEADER, PLACES };
static const char *const place_names[] = {"at the top", "at the end", "in the header alone"};

static void die(const char *what)
{
    fprintf(stderr, "message_bench: %s\n", what);
    exit(1);
}

/* Of a newsletter: in ASCII, and where base64 is shorter. */
static const char ascii_line[] = "A line of the newsletter, as long as such lines are, to read at leisure.\n",
                  base64_line[] =
                      "\xe6\x9c\xac\xe6\x9c\x9f\xe9\x80\x9a\xe8\xae\xaf\xe7\x9a\x84\xe4\xb8\x80\xe8"
                      "\xa1\x8c, \xe4\xbb\x8e\xe5\xae\xb9\xe9\x98\x85\xe8\xaf\xbb.\n";

/* A text with up to three variables, and in the header two. */
static void make_message(const char *line, enum place place)
{
    struct buf text;
    struct err err;
    buf_init(&text, CONTENT_MAX);
    buf_clear(&record);
    buf_add_z(&text, place == TOP ? "Dear {{name}},\n" : "Dear reader,\n");
    while (text.len < body_bytes)
        buf_add_z(&text, line);
    buf_add_z(&text, place == HEADER ? "" : "https://x.example/u/{{rid}} {{name}}\n");
    const struct message_spec spec = {.from = STR("News <n@x.example>"),
                                      .subject = STR("News for {{name}}"),
                                      .to = STR("{{name}} <{{to}}>"),
                                      .text = buf_str(&text),
                                      .id_domain = STR("x.example"),
                                      .job = STR("1")};
    if (!template_compile(&spec, &record, &err) || !template_open(record.data, record.len, &template, &err))
        die(err.text);
    buf_free(&text);
}

static void render(const struct vars_builder *vars, struct rendition *r)
{
    struct err err;
    const struct render_args args = {.vars = vars_blob(vars),
                                     .to = STR("ada@example.com"),
                                     .rid = STR("1-2-3"),
                                     .id = STR("4"),
                                     .job = STR("1")};
    if (!template_render(&template, &args, r, &err))
        die(err.text);
}

static void make_vars(struct vars_builder *vars)
{
    struct err err;
    vars_builder_init(vars);
    if (!vars_add(vars, STR("name"), STR("Ada Lovelace"), &err))
        die(err.text);
}

static void bench_render(const char *encoding)
{
    static struct vars_builder vars;
    struct rendition r = {0};
    uint64_t messages = 0, bytes = 0;
    make_vars(&vars);
    int64_t begun = clock_now().mono_ns, took;
    do
        for (int i = 0; i < 1000; i++, messages++) {
            render(&vars, &r);
            bytes += r.size;
        }
    while ((took = clock_now().mono_ns - begun) < span_ns);
    printf("rendering %s, 1 thread: %.2f us a message of %.1f KiB, %.1f GB/s\n", encoding,
           (double)took / 1e3 / (double)messages, (double)bytes / (double)messages / 1024,
           (double)bytes / (double)took);
    rendition_free(&r);
    vars_builder_free(&vars);
}

/* ---- signing ---- */

struct hand {
    pthread_t thread;
    bool bare;
    const char *path;
    uint64_t count;
    int64_t cpu_ns;
};

struct rates {
    double wall, core; /* a second; and a second of one core */
};

static int64_t cpu_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

static void sign_bare(struct hand *hand)
{
    uint8_t digest[DIGEST_SIZE] = {1};
    struct buf out;
    struct err err;
    struct dkim_key *key = dkim_key_read(hand->path, &err);
    buf_init(&out, 4096);
    hand->cpu_ns = -cpu_now_ns();
    for (int64_t end = clock_now().mono_ns + span_ns; clock_now().mono_ns < end; hand->count++) {
        buf_clear(&out);
        if (key == NULL || !dkim_key_sign(key, digest, &out, &err))
            die(err.text);
    }
    hand->cpu_ns += cpu_now_ns();
    dkim_key_free(key);
    buf_free(&out);
}

static void *sign(void *user)
{
    struct hand *hand = user;
    if (hand->bare) {
        sign_bare(hand);
        return NULL;
    }
    struct vars_builder *vars = calloc(1, sizeof *vars);
    struct rendition r = {0};
    struct buf out;
    struct err err;
    if (vars == NULL)
        die("no memory");
    make_vars(vars);
    buf_init(&out, 65536);
    struct dkim_signer *signer = dkim_signer_create(dkim);
    struct taken taken = {.rid = {1, 2, 3}, .to = STR("ada@example.com"), .id = STR("4")};
    taken.vars = vars_blob(vars);
    hand->cpu_ns = -cpu_now_ns();
    for (int64_t end = clock_now().mono_ns + span_ns; clock_now().mono_ns < end; hand->count++) {
        if (signer == NULL || !opened_sign(opened, &taken, dkim, signer, &r, &out, 0, &err))
            die("it could not be signed");
        free(taken.signature);
        taken.signature = NULL;
    }
    hand->cpu_ns += cpu_now_ns();
    dkim_signer_destroy(signer);
    buf_free(&out);
    rendition_free(&r);
    vars_builder_free(vars);
    free(vars);
    return NULL;
}

static struct rates run(bool bare, const char *path, unsigned threads)
{
    struct hand hands[THREADS_MAX] = {0};
    uint64_t count = 0;
    int64_t cpu_ns = 0;
    for (unsigned i = 0; i < threads; i++) {
        hands[i].bare = bare;
        hands[i].path = path;
        if (pthread_create(&hands[i].thread, NULL, sign, &hands[i]) != 0)
            die("no thread");
    }
    for (unsigned i = 0; i < threads; i++) {
        pthread_join(hands[i].thread, NULL);
        count += hands[i].count;
        cpu_ns += hands[i].cpu_ns;
    }
    return (struct rates){(double)count / (double)span_ns * 1e9, (double)count / (double)cpu_ns * 1e9};
}

static void write_key(const char *path, EVP_PKEY *key)
{
    FILE *file = fopen(path, "we");
    if (key == NULL || file == NULL || !PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) ||
        fclose(file) != 0)
        die("cannot make a key");
    EVP_PKEY_free(key);
}

static void bench_sign(const char *name, EVP_PKEY *key, unsigned threads)
{
    char path[64];
    struct err err;
    snprintf(path, sizeof path, "/tmp/message_bench.%d.pem", (int)getpid());
    write_key(path, key);
    struct config_dkim one = {"x.example", "s", path};
    const struct config config = {.dkim = &one, .dkim_count = 1};
    dkim = dkim_create(&config, &err);
    if (dkim == NULL)
        die(err.text);
    for (enum place place = TOP; place < PLACES; place++) {
        make_message(ascii_line, place);
        struct store_job job = {.id = 1, .content = record.data, .content_size = record.len};
        opened = opened_get(&job, dkim, &err);
        if (opened == NULL)
            die(err.text);
        struct rates bare = run(true, path, threads), whole = run(false, path, threads);
        printf("%s, %u threads, variables %s: %.0f signatures/s bare, %.0f messages/s rendered, hashed and "
               "signed; a core-second %.0f and %.0f: %.0f%%\n",
               name, threads, place_names[place], bare.wall, whole.wall, bare.core, whole.core,
               100 * whole.core / bare.core);
        opened_close(opened);
    }
    dkim_destroy(dkim);
    unlink(path);
}

int main(int argc, char **argv)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned threads = cores < 1 ? 1 : cores > THREADS_MAX ? THREADS_MAX : (unsigned)cores;
    span_ns = (int64_t)((argc > 1 ? strtod(argv[1], NULL) : 2) * 1e9);
    body_bytes = (size_t)((argc > 2 ? strtod(argv[2], NULL) : 20) * 1024);
    buf_init(&record, CONTENT_MAX);
    make_message(base64_line, TOP);
    bench_render("base64");
    make_message(ascii_line, TOP);
    bench_render("quoted-printable");
    bench_sign("rsa-sha256, 2048 bits", EVP_RSA_gen(2048), threads);
    bench_sign("ed25519-sha256", EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), threads);
    buf_free(&record);
    return 0;
}
