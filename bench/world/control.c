/* control.c - see control.h. */
#include "bench/world/control.h"

#include "bench/world/report.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

struct client {
    struct watch watch;
    struct client *next, **back;
    struct control *control;
    struct buf in, out;
};

struct control {
    struct watch watch;
    struct world *world;
    struct client *clients;
    uint32_t clients_now;
    char *path;
};

static struct str take_word(struct str *line)
{
    *line = str_trim(*line);
    size_t space = str_find(*line, ' ', 0);
    struct str word = str_make(line->p, space == SIZE_MAX ? line->n : space);
    *line = str_trim(str_make(line->p + word.n, line->n - word.n));
    return word;
}

static json_t *failure(const char *text)
{
    return json_pack("{ss}", "error", text);
}

static json_t *change_host(struct world *world, struct str line)
{
    struct err err;
    struct str name = take_word(&line), key = take_word(&line);
    uint32_t changed = 0;
    if (line.n == 0)
        return failure("usage: host NAME KEY VALUE");
    if (!scenario_change_host(&world->scenario, name, key, line, &changed, &err))
        return failure(err.text);
    for (uint32_t i = 0; i < world->scenario.hosts_used; i++)
        if (!host_listen(&world->scenario.hosts[i], &err))
            return failure(err.text);
    return json_pack("{si}", "ok", (int)changed);
}

static json_t *change_domain(struct world *world, struct str line)
{
    struct err err;
    struct str name = take_word(&line);
    if (line.n == 0)
        return failure("usage: domain NAME {KEY: VALUE, …}");
    if (!scenario_change_domain(&world->scenario, name, line, &err))
        return failure(err.text);
    return json_pack("{sb}", "ok", 1);
}

static json_t *change_record(struct world *world, struct str line)
{
    struct err err;
    struct str name = take_word(&line);
    uint64_t slots = 0;
    bool off = str_eq(name, STR("off"));
    if (off ? line.n > 0 : !str_u64(line, WORLD_RECORD_SLOTS_MAX, &slots))
        return failure("usage: record FILE SLOTS, or record off");
    if (off) {
        recorder_close(&world->recorder);
        return json_pack("{sb}", "ok", 1);
    }
    char *path = str_dup(name);
    bool ok = path && recorder_open(&world->recorder, path, slots, &err);
    json_t *json = ok ? json_pack("{sb}", "ok", 1) : failure(path ? err.text : "out of memory");
    free(path);
    return json;
}

static json_t *answer(struct world *world, struct str line)
{
    struct str verb = take_word(&line);
    if (str_eq(verb, STR("stats"))) {
        delivery_log_flush(&world->log);
        return report_stats(world);
    }
    if (str_eq(verb, STR("totals")))
        return report_totals(world);
    if (str_eq(verb, STR("ports")))
        return report_ports(world);
    if (str_eq(verb, STR("host")))
        return change_host(world, line);
    if (str_eq(verb, STR("domain")))
        return change_domain(world, line);
    if (str_eq(verb, STR("record")))
        return change_record(world, line);
    if (str_eq(verb, STR("reset"))) {
        report_reset(world);
        memory_clear(&world->memory);
        return json_pack("{sb}", "ok", 1);
    }
    if (str_eq(verb, STR("quit"))) {
        world->loop.stop = true;
        return json_pack("{sb}", "ok", 1);
    }
    return failure("unknown command; known are stats, totals, ports, reset, host, domain, record, quit");
}

static void client_free(struct client *client)
{
    client->control->clients_now--;
    *client->back = client->next;
    if (client->next)
        client->next->back = client->back;
    close(client->watch.fd);
    buf_free(&client->in);
    buf_free(&client->out);
    free(client);
}

/* False once freed. */
static bool client_flush(struct client *client)
{
    while (client->out.len > 0) {
        ssize_t n = send(client->watch.fd, client->out.data, client->out.len, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            return true; /* the edge of EPOLLOUT brings us back */
        if (n < 0) {
            client_free(client);
            return false;
        }
        buf_shift(&client->out, (size_t)n);
    }
    return true;
}

static void take_lines(struct client *client)
{
    size_t end;
    while ((end = str_find(buf_str(&client->in), '\n', 0)) != SIZE_MAX) {
        json_t *json = answer(client->control->world, str_make(client->in.data, end));
        char *text = json ? json_dumps(json, JSON_COMPACT) : NULL;
        buf_add_z(&client->out, text ? text : "{\"error\":\"out of memory\"}");
        buf_add_char(&client->out, '\n');
        free(text);
        json_decref(json);
        buf_shift(&client->in, end + 1);
    }
}

static void client_ready(struct watch *watch, uint32_t events)
{
    struct client *client = OWNER_OF(watch, struct client, watch);
    (void)events;
    for (;;) {
        char *room = buf_room(&client->in, 4096);
        ssize_t n = room ? read(watch->fd, room, 4096) : 0;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n <= 0) {
            client_free(client);
            return;
        }
        client->in.len += (size_t)n;
        take_lines(client);
    }
    client_flush(client);
}

static void control_ready(struct watch *watch, uint32_t events)
{
    struct control *control = OWNER_OF(watch, struct control, watch);
    struct err ignored;
    (void)events;
    int fd = net_accept(watch->fd, NULL);
    if (fd < 0)
        return;
    struct client *client = control->clients_now < WORLD_CONTROL_CLIENTS ? calloc(1, sizeof *client) : NULL;
    if (client == NULL) {
        close(fd);
        return;
    }
    control->clients_now++;
    client->watch = (struct watch){.fd = fd, .ready = client_ready};
    client->control = control;
    buf_init(&client->in, WORLD_CONTROL_LINE_MAX);
    buf_init(&client->out, WORLD_CONTROL_ANSWER_MAX);
    client->next = control->clients;
    client->back = &control->clients;
    if (client->next)
        client->next->back = &client->next;
    control->clients = client;
    if (!loop_add(&control->world->loop, &client->watch, EPOLLIN | EPOLLOUT | EPOLLET, &ignored))
        client_free(client);
}

struct control *control_create(struct world *world, const char *path, struct err *err)
{
    struct control *control = calloc(1, sizeof *control);
    if (control == NULL || (control->path = str_dup(str_of(path))) == NULL) {
        free(control);
        err_set(err, ENOMEM, "out of memory");
        return NULL;
    }
    control->world = world;
    control->watch = (struct watch){.fd = net_listen_unix(path, err), .ready = control_ready};
    if (control->watch.fd >= 0 && loop_add(&world->loop, &control->watch, EPOLLIN, err))
        return control;
    control_free(control);
    return NULL;
}

void control_free(struct control *control)
{
    if (control == NULL)
        return;
    while (control->clients) {
        if (client_flush(control->clients))
            client_free(control->clients);
    }
    if (control->watch.fd >= 0) {
        close(control->watch.fd);
        unlink(control->path);
    }
    free(control->path);
    free(control);
}
