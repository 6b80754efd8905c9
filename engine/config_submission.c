/* config_submission.c - what concerns several options of a listener; reports through the reading. */
#include "engine/config_table.h"
#include "engine/config_yaml.h"

#include <stdio.h>

/* A path beside the file that names it. */
static void settle_path(struct config_reading *reading, const struct config_item *item, const char **path)
{
    const char *slash = strrchr(item->file, '/');
    struct buf text;
    if ((*path)[0] == '\0' || (*path)[0] == '/' || slash == NULL)
        return;
    buf_init(&text, PLACE_MAX);
    buf_printf(&text, "%.*s/%s", (int)(slash - item->file), item->file, *path);
    const char *settled = text.failed ? NULL : config_copy(reading->config, buf_str(&text));
    reading->out_of_memory |= settled == NULL;
    if (settled != NULL)
        *path = settled;
    buf_free(&text);
}

static bool is_unix(const struct config_submission *listener)
{
    return listener->address_len == 0;
}

static void check_tls(struct config_reading *reading, const struct config_submission *listener,
                      const struct config_item *item)
{
    bool has_tls = listener->tls_certificate[0] != '\0' && listener->tls_key[0] != '\0';
    if (!has_tls && listener->tls_certificate[0] + listener->tls_key[0] != 0)
        yaml_report(reading->yaml,
                    config_item_node(item, listener->tls_key[0] ? "tls_key" : "tls_certificate"),
                    "tls_certificate and tls_key go together");
    if (!has_tls && (listener->implicit_tls || listener->require_tls))
        yaml_report(reading->yaml,
                    config_item_node(item, listener->implicit_tls ? "implicit_tls" : "require_tls"),
                    "there is no TLS without tls_certificate and tls_key");
    if (!has_tls && listener->users_file[0] != '\0' && !listener->plaintext_auth && !is_unix(listener))
        yaml_report(
            reading->yaml, config_item_node(item, "users_file"),
            "passwords are not taken in the clear: give tls_certificate and tls_key, or, where nobody "
            "can listen in, plaintext_auth: yes");
}

/* `networks` is for addresses, mode and group for files. */
static void check_kind(struct config_reading *reading, const struct config_submission *listener,
                       const struct config_item *item)
{
    if (is_unix(listener) && listener->networks.count > 0)
        yaml_report(
            reading->yaml, config_item_node(item, "networks"),
            "a Unix socket is for those who can open its file (mode, group): networks has no meaning");
    if (!is_unix(listener) && listener->group[0] != '\0')
        yaml_report(reading->yaml, config_item_node(item, "group"), "group is for a Unix socket");
    if (listener->require_auth && listener->users_file[0] == '\0')
        yaml_report(reading->yaml, config_item_node(item, "require_auth"),
                    "nobody can log in without users_file");
}

void config_submissions(struct config_reading *reading)
{
    struct config *config = reading->config;
    const struct config_list *list = config_list_of(reading, "submission");
    for (size_t i = 0; i < config->submission_count; i++) {
        struct config_submission *listener = &config->submission[i];
        const struct config_item *item = &list->items[i];
        struct value_error error;
        if (!value_listen(str_of(listener->listen), &listener->address, &listener->address_len, &error))
            continue; /* reported where it was read */
        settle_path(reading, item, &listener->tls_certificate);
        settle_path(reading, item, &listener->tls_key);
        settle_path(reading, item, &listener->users_file);
        check_tls(reading, listener, item);
        check_kind(reading, listener, item);
        for (size_t j = 0; j < i; j++)
            if (strcmp(listener->listen, config->submission[j].listen) == 0)
                yaml_report(reading->yaml, config_item_node(item, "listen"),
                            "'%s' stands twice in submission, first in %s:%d", listener->listen,
                            list->items[j].file, yaml_line(config_item_node(&list->items[j], "listen")));
    }
}
