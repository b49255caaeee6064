/* Transactions: what was aborted is not seen, what was committed is, and a second instance fences the first. */
#include "check.h"

static void send_one(ottla_handle producer, const char *value, uint64_t number) {
    struct ottla_record record = record_of("t", value);
    OK(ottla_producer_send(producer, &record, 1, number, PATIENCE));
}

int main(void) {
    ottla_handle broker, producer, second, consumer;
    OK(ottla_broker_start(NULL, NULL, &broker));
    char *servers = bootstrap_of(broker);
    const char *configs[] = {"bootstrap.servers", servers, "transactional.id", "tx", NULL};
    OK(ottla_producer_open(configs, &producer));
    FAILS(ottla_producer_begin_transaction(producer), INVALID, "");
    OK(ottla_producer_init_transactions(producer, PATIENCE));
    OK(ottla_producer_begin_transaction(producer));
    send_one(producer, "never", 0);
    OK(ottla_producer_abort_transaction(producer, PATIENCE));
    OK(ottla_producer_begin_transaction(producer));
    send_one(producer, "seen", 1);
    OK(ottla_producer_commit_transaction(producer, PATIENCE));

    const char *reading[] = {"bootstrap.servers", servers, "isolation.level", "read_committed", NULL};
    OK(ottla_consumer_open(reading, &consumer));
    struct ottla_partition partition = {"t", 0, -2};
    OK(ottla_consumer_assign(consumer, &partition, 1));
    struct ottla_records *polled = NULL;
    OK(ottla_consumer_poll(consumer, PATIENCE, &polled));
    CHECK(ottla_records_count(polled) == 1);
    struct ottla_received record;
    CHECK(ottla_records_get(polled, 0, &record) && record.value_length == 4 && memcmp(record.value, "seen", 4) == 0);
    ottla_records_free(polled);

    OK(ottla_producer_begin_transaction(producer));
    send_one(producer, "fenced", 2);
    OK(ottla_producer_flush(producer, PATIENCE));
    OK(ottla_producer_open(configs, &second));
    OK(ottla_producer_init_transactions(second, PATIENCE));
    struct ottla_error *error = ottla_producer_commit_transaction(producer, PATIENCE);
    CHECK(error != NULL && ottla_error_kind(error) == OTTLA_KIND_FENCED && ottla_error_is_fatal(error));
    ottla_error_free(error);
    OK(ottla_close(producer));
    OK(ottla_close(second));
    OK(ottla_close(consumer));
    OK(ottla_close(broker));
    ottla_text_free(servers);
    return 0;
}
