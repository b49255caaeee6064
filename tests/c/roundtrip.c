/* The main job: a broker inside the program, a topic, records there and back, with keys, headers and tombstones. */
#include "check.h"

#define COUNT 20000

int main(void) {
    CHECK(ottla_abi() == 1);
    CHECK(strcmp(ottla_version(), "0.1.0") == 0);

    ottla_handle broker = 0;
    const char *broker_configs[] = {"listeners", "PLAINTEXT://127.0.0.1:0", "num.partitions", "1", NULL};
    OK(ottla_broker_start(broker_configs, NULL, &broker));
    char *servers = bootstrap_of(broker);
    CHECK(strncmp(servers, "127.0.0.1:", 10) == 0);
    const char *configs[] = {"bootstrap.servers", servers, "auto.offset.reset", "earliest", NULL};

    ottla_handle admin = 0;
    const char *admin_configs[] = {"bootstrap.servers", servers, NULL};
    OK(ottla_admin_open(admin_configs, &admin));
    const char *topic_configs[] = {"retention.ms", "3600000", NULL};
    OK(ottla_admin_create_topic(admin, "flights", 1, -1, topic_configs, PATIENCE));
    struct ottla_error *error = ottla_admin_create_topic(admin, "flights", 1, -1, NULL, PATIENCE);
    CHECK(error != NULL && ottla_error_code(error) == 36 && !ottla_error_is_retriable(error));
    CHECK(strcmp(ottla_error_name(error), "TOPIC_ALREADY_EXISTS") == 0);
    ottla_error_free(error);

    ottla_handle producer = 0;
    OK(ottla_producer_open(admin_configs, &producer));
    struct ottla_record *records = calloc(COUNT, sizeof *records);
    char (*values)[16] = calloc(COUNT, sizeof *values);
    struct ottla_header headers[] = {{"trace", (const uint8_t *)"abc", 3}, {"empty", NULL, 0}};
    for (int i = 0; i < COUNT; i++) {
        snprintf(values[i], sizeof values[i], "%d", i);
        records[i] = record_of("flights", values[i]);
        records[i].key = (const uint8_t *)"k\0y"; /* bytes, not text */
        records[i].key_length = 3;
        if (i % 3 == 0) {
            records[i].headers = headers;
            records[i].header_count = 2;
        }
        if (i % 5 == 0) {
            records[i].value = NULL;
            records[i].value_length = 0;
        }
    }
    for (int i = 0; i < COUNT; i += 1000) {
        OK(ottla_producer_send(producer, records + i, 1000, (uint64_t)i, PATIENCE));
    }
    OK(ottla_producer_flush(producer, PATIENCE));
    char *told = calloc(COUNT, 1);
    for (int seen = 0; seen < COUNT;) {
        struct ottla_deliveries *deliveries = NULL;
        OK(ottla_producer_poll(producer, PATIENCE, &deliveries));
        CHECK(deliveries != NULL);
        size_t count = ottla_deliveries_count(deliveries);
        for (size_t i = 0; i < count; i++) {
            const struct ottla_delivery *delivery = ottla_deliveries_get(deliveries, i);
            CHECK(delivery->error == NULL && delivery->number < COUNT && !told[delivery->number]);
            CHECK(delivery->offset == (int64_t)delivery->number && delivery->partition == 0);
            CHECK(strcmp(delivery->topic, "flights") == 0 && delivery->timestamp > 0);
            told[delivery->number] = 1;
        }
        CHECK(ottla_deliveries_get(deliveries, count) == NULL);
        ottla_deliveries_free(deliveries);
        seen += (int)count;
    }
    OK(ottla_producer_close(producer, PATIENCE));
    OK(ottla_close(producer));

    ottla_handle consumer = 0;
    OK(ottla_consumer_open(configs, &consumer));
    struct ottla_partition partition = {"flights", 0, -2};
    OK(ottla_consumer_assign(consumer, &partition, 1));
    for (int seen = 0; seen < COUNT;) {
        struct ottla_records *polled = NULL;
        OK(ottla_consumer_poll(consumer, PATIENCE, &polled));
        CHECK(polled != NULL);
        size_t count = ottla_records_count(polled);
        struct ottla_received record;
        for (size_t i = 0; i < count; i++, seen++) {
            CHECK(ottla_records_get(polled, i, &record));
            CHECK(record.offset == seen && record.partition == 0 && strcmp(record.topic, "flights") == 0);
            CHECK(record.key_length == 3 && memcmp(record.key, "k\0y", 3) == 0);
            if (seen % 5 == 0) {
                CHECK(record.value == NULL);
            } else {
                CHECK(record.value_length == strlen(values[seen]));
                CHECK(memcmp(record.value, values[seen], record.value_length) == 0);
            }
            CHECK(record.header_count == (seen % 3 == 0 ? 2u : 0u));
            if (record.header_count > 0) {
                const char *name;
                const uint8_t *value;
                size_t name_length, value_length;
                CHECK(ottla_records_header(polled, i, 0, &name, &name_length, &value, &value_length));
                CHECK(name_length == 5 && memcmp(name, "trace", 5) == 0);
                CHECK(value_length == 3 && memcmp(value, "abc", 3) == 0);
                CHECK(ottla_records_header(polled, i, 1, &name, &name_length, &value, &value_length));
                CHECK(name_length == 5 && memcmp(name, "empty", 5) == 0 && value == NULL);
                CHECK(!ottla_records_header(polled, i, 2, &name, &name_length, &value, &value_length));
            }
        }
        CHECK(!ottla_records_get(polled, count, &record));
        ottla_records_free(polled);
    }
    OK(ottla_consumer_position(consumer, &partition, PATIENCE));
    CHECK(partition.offset == COUNT);
    partition.offset = 7;
    OK(ottla_consumer_seek(consumer, &partition));
    struct ottla_records *polled = NULL;
    OK(ottla_consumer_poll(consumer, PATIENCE, &polled));
    struct ottla_received record;
    CHECK(ottla_records_get(polled, 0, &record) && record.offset == 7);
    ottla_records_free(polled);

    char *json = NULL;
    OK(ottla_call_json(admin, "list_topics", NULL, PATIENCE, &json));
    CHECK(strstr(json, "\"flights\"") != NULL);
    ottla_text_free(json);
    OK(ottla_admin_create_partitions(admin, "flights", 4, PATIENCE));
    OK(ottla_admin_delete_topic(admin, "flights", PATIENCE));
    OK(ottla_consumer_close(consumer, PATIENCE));
    OK(ottla_close(admin));
    OK(ottla_broker_close(broker, PATIENCE));
    ottla_text_free(servers);
    free(told);
    free(values);
    free(records);
    return 0;
}
