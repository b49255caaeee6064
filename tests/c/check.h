/* What the test programs share: an expectation that ends the program with the line it stands on. */
#ifndef CHECK_H
#define CHECK_H

#include <ottla.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SECOND 1000u
#define PATIENCE (30 * SECOND)

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);                                    \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

/* It went well. */
#define OK(call)                                                                                                       \
    do {                                                                                                               \
        struct ottla_error *error_ = (call);                                                                           \
        if (error_ != NULL) {                                                                                          \
            fprintf(stderr, "%s:%d: %s: %s\n", __FILE__, __LINE__, #call, ottla_error_message(error_));                \
            exit(1);                                                                                                   \
        }                                                                                                              \
    } while (0)

/* It failed, for this reason and with this in its sentence. */
#define FAILS(call, kind, words)                                                                                       \
    do {                                                                                                               \
        struct ottla_error *error_ = (call);                                                                           \
        CHECK(error_ != NULL);                                                                                         \
        if (ottla_error_kind(error_) != (OTTLA_KIND_##kind) || strstr(ottla_error_message(error_), (words)) == NULL) {              \
            fprintf(stderr, "%s:%d: another error: kind %d, %s\n", __FILE__, __LINE__, ottla_error_kind(error_),       \
                    ottla_error_message(error_));                                                                      \
            exit(1);                                                                                                   \
        }                                                                                                              \
        ottla_error_free(error_);                                                                                      \
    } while (0)

/* A record for the topic, by default without key, headers and partition. */
static inline struct ottla_record record_of(const char *topic, const char *value) {
    struct ottla_record record;
    memset(&record, 0, sizeof record);
    record.topic = topic;
    record.partition = -1;
    record.timestamp = -1;
    record.value = (const uint8_t *)value;
    record.value_length = value == NULL ? 0 : strlen(value);
    return record;
}

static inline char *bootstrap_of(ottla_handle broker) {
    char *servers = NULL;
    OK(ottla_broker_bootstrap_servers(broker, &servers));
    CHECK(servers != NULL && strlen(servers) > 0);
    return servers;
}

#endif
