/* Two members of a group share a topic, commit, and another goes on where they were; a broker on a directory keeps it all. */
#define _GNU_SOURCE
#include "check.h"

#define COUNT 400

static int read_all(ottla_handle *members, int count, int expected) {
    int seen = 0;
    for (int idle = 0; seen < expected && idle < 100;) {
        int before = seen;
        for (int i = 0; i < count; i++) {
            struct ottla_records *polled = NULL;
            OK(ottla_consumer_poll(members[i], 100, &polled));
            seen += (int)ottla_records_count(polled);
            ottla_records_free(polled);
        }
        idle = seen == before ? idle + 1 : 0;
    }
    return seen;
}

static void send_some(ottla_handle producer, uint64_t first) {
    for (int i = 0; i < COUNT; i++) {
        char value[16];
        snprintf(value, sizeof value, "%d", i);
        struct ottla_record record = record_of("t", value);
        record.partition = i % 4;
        OK(ottla_producer_send(producer, &record, 1, first + (uint64_t)i, PATIENCE));
    }
    OK(ottla_producer_flush(producer, PATIENCE));
}

int main(void) {
    char directory[] = "/tmp/ottla-c-XXXXXX";
    CHECK(mkdtemp(directory) != NULL);
    ottla_handle broker, admin, producer, members[2];
    const char *topics[] = {"t"};
    for (int round = 0; round < 2; round++) {
        OK(ottla_broker_start(NULL, directory, &broker));
        char *servers = bootstrap_of(broker);
        CHECK(strncmp(servers, "ottla-inproc:", 13) == 0); /* no port was asked for */
        const char *plain[] = {"bootstrap.servers", servers, NULL};
        const char *grouped[] = {"bootstrap.servers", servers, "group.id", "g", "auto.offset.reset", "earliest", NULL};
        OK(ottla_admin_open(plain, &admin));
        OK(ottla_producer_open(plain, &producer));
        if (round == 0) {
            OK(ottla_admin_create_topic(admin, "t", 4, -1, NULL, PATIENCE));
        }
        send_some(producer, 0);
        int count = round == 0 ? 2 : 1;
        for (int i = 0; i < count; i++) {
            OK(ottla_consumer_open(grouped, &members[i]));
            OK(ottla_consumer_subscribe(members[i], topics, 1));
        }
        /* What the first round has committed does not come again. */
        CHECK(read_all(members, count, COUNT) == COUNT);
        for (int i = 0; i < count; i++) {
            if (round == 0) {
                OK(ottla_consumer_commit(members[i], NULL, 0, PATIENCE));
            }
            OK(ottla_consumer_close(members[i], PATIENCE));
        }
        char *json = NULL;
        OK(ottla_call_json(admin, "list_consumer_group_offsets", "{\"group\": \"g\"}", PATIENCE, &json));
        CHECK(strstr(json, round == 0 ? "\"offset\":100" : "\"offset\":200") != NULL);
        ottla_text_free(json);
        OK(ottla_close(producer));
        OK(ottla_close(admin));
        OK(ottla_broker_close(broker, PATIENCE));
        ottla_text_free(servers);
    }
    char line[64];
    snprintf(line, sizeof line, "rm -rf %s", directory);
    CHECK(system(line) == 0);
    return 0;
}
