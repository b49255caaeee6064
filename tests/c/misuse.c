/* What a program can do wrong ends in an error with a sentence, never in a crash. */
#define _GNU_SOURCE
#include "check.h"
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

static void *wake(void *consumer) {
    usleep(50000);
    OK(ottla_consumer_wakeup(*(ottla_handle *)consumer));
    return NULL;
}

static void *close_it(void *consumer) {
    usleep(50000);
    OK(ottla_close(*(ottla_handle *)consumer));
    return NULL;
}

int main(void) {
    ottla_handle broker = 0, producer = 0, consumer = 0, other = 0;
    const char *wrong[] = {"num.partitions", "many", NULL};
    FAILS(ottla_broker_start(wrong, NULL, &broker), INVALID, "num.partitions");
    FAILS(ottla_broker_start(NULL, NULL, NULL), INVALID, "NULL");
    FAILS(ottla_broker_start(NULL, "/proc/nothing/here", &broker), BROKER, "/proc/nothing/here");
    const char *half[] = {"num.partitions", NULL};
    FAILS(ottla_broker_start(half, NULL, &broker), INVALID, "num.partitions");
    const char *not_utf8[] = {"num.partitions", "\xff\xfe", NULL};
    FAILS(ottla_broker_start(not_utf8, NULL, &broker), INVALID, "UTF-8");
    FAILS(ottla_producer_open(NULL, &producer), INVALID, "bootstrap.servers");

    OK(ottla_broker_start(NULL, NULL, &broker));
    char *servers = bootstrap_of(broker);
    const char *configs[] = {"bootstrap.servers", servers, NULL};
    OK(ottla_producer_open(configs, &producer));
    OK(ottla_consumer_open(configs, &consumer));

    /* Handles of another kind, and no handles. */
    struct ottla_record record = record_of("t", "x");
    FAILS(ottla_producer_send(broker, &record, 1, 0, 0), INVALID, "not of a producer");
    FAILS(ottla_producer_flush(0, 0), CLOSED, "");
    FAILS(ottla_producer_flush(123456789, 0), CLOSED, "");
    FAILS(ottla_consumer_commit(producer, NULL, 0, 0), INVALID, "no method");

    /* Pointers that are not there. */
    FAILS(ottla_producer_send(producer, NULL, 3, 0, 0), INVALID, "NULL");
    record.topic = NULL;
    FAILS(ottla_producer_send(producer, &record, 1, 0, 0), INVALID, "topic");
    FAILS(ottla_consumer_seek(consumer, NULL), INVALID, "NULL");
    FAILS(ottla_consumer_poll(consumer, 0, NULL), INVALID, "");
    FAILS(ottla_call_json(producer, NULL, NULL, 0, NULL), INVALID, "method");
    FAILS(ottla_call_json(producer, "metrics", "{not json", 0, NULL), INVALID, "JSON");
    FAILS(ottla_call_json(producer, "fly", "{}", 0, NULL), INVALID, "fly");
    ottla_error_free(NULL);
    ottla_records_free(NULL);
    ottla_deliveries_free(NULL);
    ottla_text_free(NULL);
    CHECK(ottla_records_count(NULL) == 0 && ottla_deliveries_count(NULL) == 0 && ottla_error_kind(NULL) == 0);

    /* A record that cannot be sent comes back with its reason. */
    record = record_of("t", "x");
    record.partition = 5;
    const char *hasty[] = {"bootstrap.servers", servers, "max.block.ms", "200", NULL};
    OK(ottla_producer_open(hasty, &other));
    OK(ottla_producer_send(other, &record, 1, 77, 0));
    struct ottla_deliveries *deliveries = NULL;
    OK(ottla_producer_poll(other, PATIENCE, &deliveries));
    CHECK(ottla_deliveries_count(deliveries) == 1);
    const struct ottla_delivery *delivery = ottla_deliveries_get(deliveries, 0);
    CHECK(delivery->number == 77 && delivery->error != NULL && delivery->offset == -1);
    CHECK(strlen(ottla_error_message(delivery->error)) > 0);
    ottla_deliveries_free(deliveries);
    OK(ottla_close(other));

    /* Waking and closing from another thread. */
    struct ottla_partition partition = {"t", 0, -2};
    OK(ottla_consumer_assign(consumer, &partition, 1));
    pthread_t thread;
    struct ottla_records *polled = NULL;
    CHECK(pthread_create(&thread, NULL, wake, &consumer) == 0);
    FAILS(ottla_consumer_poll(consumer, PATIENCE, &polled), WAKEUP, "");
    pthread_join(thread, NULL);
    CHECK(pthread_create(&thread, NULL, close_it, &consumer) == 0);
    FAILS(ottla_consumer_poll(consumer, PATIENCE, &polled), CLOSED, "");
    pthread_join(thread, NULL);

    /* Use after close, and closing twice. */
    FAILS(ottla_consumer_poll(consumer, 0, &polled), CLOSED, "");
    OK(ottla_close(consumer));
    FAILS(ottla_consumer_close(consumer, 0), CLOSED, "");

    /* A bug in the library is an error, and the library goes on. */
    FAILS(ottla_call_json(producer, "panic", NULL, SECOND, NULL), INTERNAL, "as the test asked");

    /* A child has nothing of its parent's, and can have its own. */
    fflush(NULL);
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0) {
        record = record_of("t", "x");
        FAILS(ottla_producer_send(producer, &record, 1, 0, 0), FORKED, "fork");
        FAILS(ottla_broker_close(broker, 0), FORKED, "fork");
        ottla_handle own = 0;
        OK(ottla_broker_start(NULL, NULL, &own));
        OK(ottla_broker_close(own, PATIENCE));
        exit(0);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);

    /* The parent's still work. */
    record = record_of("t", "x");
    OK(ottla_producer_send(producer, &record, 1, 0, PATIENCE));
    OK(ottla_producer_flush(producer, PATIENCE));
    ottla_text_free(servers);
    /* And a program may end with all of it open. */
    return 0;
}
