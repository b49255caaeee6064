/* Ottla: Kafka as a library.
 *
 * A broker inside this process, and a producer, a consumer and an admin client for it and for any Apache Kafka.
 *
 * Rules
 * - A function that can fail returns an ottla_error, NULL when all went well. It is the caller's: ottla_error_free().
 * - ottla_handle is a number. After ottla_close() it names nothing: using it is an error, never a crash. 0 is never one.
 * - Everything may be called from any thread. Calls that wait say so; they have a limit in milliseconds.
 * - What a function hands out as a pointer has a _free of its own name; NULL may be given to each of them.
 * - Text is UTF-8 that ends with NUL; keys and values are bytes with a length, and NULL for none.
 * - Configs are a list of names and values that ends with NULL: {"acks", "all", "linger.ms", "5", NULL}; NULL for none.
 *   The names are Apache Kafka's. A name that is not known is logged, a value that cannot be used is an error.
 * - After fork() the child has to open its own; what it got from its parent is refused with an error.
 */

#ifndef OTTLA_H
#define OTTLA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 What the caller does next; see ottla_error_kind().
 */
enum ottla_kind
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  /*
   A bug in Ottla or in the broker.
   */
  OTTLA_KIND_INTERNAL = 0,
  /*
   Trying again later may help.
   */
  OTTLA_KIND_RETRIABLE = 1,
  /*
   The transaction has to be aborted before going on.
   */
  OTTLA_KIND_ABORTABLE = 2,
  /*
   Another instance has taken over; close this one.
   */
  OTTLA_KIND_FENCED = 3,
  /*
   The call or a setting is wrong; trying again gives the same answer.
   */
  OTTLA_KIND_INVALID = 4,
  /*
   The credentials or permissions do not suffice.
   */
  OTTLA_KIND_AUTH = 5,
  /*
   The time limit passed; the outcome of a write is unknown.
   */
  OTTLA_KIND_TIMEOUT = 6,
  /*
   It was closed, or never was.
   */
  OTTLA_KIND_CLOSED = 7,
  /*
   ottla_consumer_wakeup() was called.
   */
  OTTLA_KIND_WAKEUP = 8,
  /*
   Bytes from the broker or the log are not what they should be.
   */
  OTTLA_KIND_DATA = 9,
  /*
   The call was taken back.
   */
  OTTLA_KIND_CANCELLED = 10,
  /*
   It was made in another process, before a fork().
   */
  OTTLA_KIND_FORKED = 11,
  /*
   The embedded broker could not start or close: a port, a directory, a disk.
   */
  OTTLA_KIND_BROKER = 12,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum ottla_kind ottla_kind;
#else
typedef int32_t ottla_kind;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

/*
 Deliveries that came together.
 */
struct ottla_deliveries;

/*
 Why a call failed.
 */
struct ottla_error;

/*
 What a poll returned.
 */
struct ottla_records;

/*
 A broker, producer, consumer or admin client.
 */
typedef uint64_t ottla_handle;

/*
 A partition, and an offset where there is one.
 */
struct ottla_partition {
  /*
   The topic.
   */
  const char *topic;
  /*
   The partition.
   */
  int32_t partition;
  /*
   An offset, where the function says what it is.
   */
  int64_t offset;
};

/*
 A record that was read. What it points to lives as long as the records it is of.
 */
struct ottla_received {
  /*
   Its topic.
   */
  const char *topic;
  /*
   Its partition.
   */
  int32_t partition;
  /*
   Its offset.
   */
  int64_t offset;
  /*
   ms since 1970; -1 for none.
   */
  int64_t timestamp;
  /*
   0: the producer's timestamp; 1: the broker's, of the append.
   */
  int32_t timestamp_type;
  /*
   The leader's epoch, -1 when it is not known.
   */
  int32_t leader_epoch;
  /*
   The key, NULL for none.
   */
  const uint8_t *key;
  /*
   The key's length.
   */
  uintptr_t key_length;
  /*
   The value, NULL for none.
   */
  const uint8_t *value;
  /*
   The value's length.
   */
  uintptr_t value_length;
  /*
   How many headers it has: ottla_records_header().
   */
  uintptr_t header_count;
};

/*
 A header of a record.
 */
struct ottla_header {
  /*
   Its name.
   */
  const char *name;
  /*
   Its value, NULL for none.
   */
  const uint8_t *value;
  /*
   The value's length.
   */
  uintptr_t value_length;
};

/*
 A record to send. Zero what you do not need, then set `partition` and `timestamp`: 0 is a value of both.
 */
struct ottla_record {
  /*
   The topic.
   */
  const char *topic;
  /*
   The partition, -1 for the one that the key's hash or the sticky partitioner says.
   */
  int32_t partition;
  /*
   ms since 1970, -1 for now.
   */
  int64_t timestamp;
  /*
   The key, NULL for none.
   */
  const uint8_t *key;
  /*
   The key's length.
   */
  uintptr_t key_length;
  /*
   The value, NULL for none (a tombstone in a compacted topic).
   */
  const uint8_t *value;
  /*
   The value's length.
   */
  uintptr_t value_length;
  /*
   The headers, NULL for none.
   */
  const struct ottla_header *headers;
  /*
   How many headers.
   */
  uintptr_t header_count;
};

/*
 What became of a record.
 */
struct ottla_delivery {
  /*
   The number that it was sent with.
   */
  uint64_t number;
  /*
   Its offset; -1 when the broker did not say (acks=0) or `error` is set.
   */
  int64_t offset;
  /*
   Its timestamp in the log, ms since 1970.
   */
  int64_t timestamp;
  /*
   Its topic.
   */
  const char *topic;
  /*
   Its partition; -1 when it never had one.
   */
  int32_t partition;
  /*
   Why it was given up, NULL when it was written. Lives as long as the deliveries.
   */
  const struct ottla_error *error;
};

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/*
 A number that changes when a program would have to be compiled anew for this library.
 */
uint32_t ottla_abi(void);

/*
 The library's version, "0.1.0". Never freed.
 */
const char *ottla_version(void);

/*
 Lets go of a broker or client at once. Records of a producer that are not yet acknowledged fail, a consumer leaves its group
 without a commit, a broker ends as in a crash: for a good end call the _close function of its kind before, after which this
 only takes the handle back. Closing what is closed is no error.
 */
struct ottla_error *ottla_close(ottla_handle handle);

/*
 Any method of the bridge, for what has no function of its own here: `arguments` is a JSON object or NULL, the answer, when it
 has one, is JSON that is freed with ottla_text_free(). Waits up to `timeout_ms`.

     ottla_call_json(admin, "describe_consumer_groups", "{\"groups\": [\"g\"]}", 30000, &json);
 */
struct ottla_error *ottla_call_json(ottla_handle handle,
                                    const char *method,
                                    const char *arguments,
                                    uint64_t timeout_ms,
                                    char **answer_json);

/*
 Frees text that a function here handed out.
 */
void ottla_text_free(char *text);

/*
 Opens an admin client. Nothing is dialled yet.
 */
struct ottla_error *ottla_admin_open(const char *const *configs, ottla_handle *admin);

/*
 Creates a topic. -1 takes the broker's default number of partitions or replicas.
 */
struct ottla_error *ottla_admin_create_topic(ottla_handle admin,
                                             const char *name,
                                             int32_t partitions,
                                             int16_t replication_factor,
                                             const char *const *configs,
                                             uint64_t timeout_ms);

/*
 Deletes a topic.
 */
struct ottla_error *ottla_admin_delete_topic(ottla_handle admin, const char *name, uint64_t timeout_ms);

/*
 Gives a topic more partitions; `count` is how many it has afterwards.
 */
struct ottla_error *ottla_admin_create_partitions(ottla_handle admin,
                                                  const char *topic,
                                                  int32_t count,
                                                  uint64_t timeout_ms);

/*
 Starts a broker inside this process. Without a directory it keeps everything in memory; in one its files are Apache Kafka's.
 It opens no port, clients of this process reach it by ottla_broker_bootstrap_servers(), unless the configs have listeners:
 {"listeners", "PLAINTEXT://127.0.0.1:0", NULL}. Waits until it serves.
 */
struct ottla_error *ottla_broker_start(const char *const *configs,
                                       const char *directory,
                                       ottla_handle *broker);

/*
 What its clients take as bootstrap.servers. Freed with ottla_text_free().
 */
struct ottla_error *ottla_broker_bootstrap_servers(ottla_handle broker, char **servers);

/*
 Closes cleanly: connections end, logs are flushed. Waits up to `timeout_ms`. The handle is taken back.
 */
struct ottla_error *ottla_broker_close(ottla_handle broker, uint64_t timeout_ms);

/*
 Opens a consumer. Nothing is dialled yet.
 */
struct ottla_error *ottla_consumer_open(const char *const *configs, ottla_handle *consumer);

/*
 Reads these topics as a member of the group (group.id), instead of those before.
 */
struct ottla_error *ottla_consumer_subscribe(ottla_handle consumer, const char *const *topics, uintptr_t count);

/*
 Reads all topics whose whole name matches the regular expression.
 */
struct ottla_error *ottla_consumer_subscribe_pattern(ottla_handle consumer, const char *pattern);

/*
 Reads these partitions, and no others from now on: each from `offset`, -2 for the first there is, -1 for the end, -3 for what the
 group has committed or auto.offset.reset says.
 */
struct ottla_error *ottla_consumer_assign(ottla_handle consumer,
                                          const struct ottla_partition *partitions,
                                          uintptr_t count);

/*
 Goes on from this offset of a partition that is assigned.
 */
struct ottla_error *ottla_consumer_seek(ottla_handle consumer, const struct ottla_partition *partition);

/*
 The next records, at most max.poll.records, waiting up to `timeout_ms` for some; `records` is NULL when none came. A member of a group
 has to poll at least every max.poll.interval.ms.
 */
struct ottla_error *ottla_consumer_poll(ottla_handle consumer,
                                        uint64_t timeout_ms,
                                        struct ottla_records **records);

/*
 How many.
 */
uintptr_t ottla_records_count(const struct ottla_records *records);

/*
 Writes the record of this index into `record`; false behind the last.
 */
bool ottla_records_get(const struct ottla_records *records, uintptr_t index, struct ottla_received *record);

/*
 A header of a record: its name, which does not end with NUL, and its value; false behind the last. They live as long as the records.
 */
bool ottla_records_header(const struct ottla_records *records,
                          uintptr_t index,
                          uintptr_t header,
                          const char **name,
                          uintptr_t *name_length,
                          const uint8_t **value,
                          uintptr_t *value_length);

/*
 Frees records.
 */
void ottla_records_free(struct ottla_records *records);

/*
 Commits offsets for the group: `offset` of each is that of the next record to read. Without any, all that was polled.
 */
struct ottla_error *ottla_consumer_commit(ottla_handle consumer,
                                          const struct ottla_partition *offsets,
                                          uintptr_t count,
                                          uint64_t timeout_ms);

/*
 The offset of the next record of a partition that is assigned, into its `offset`.
 */
struct ottla_error *ottla_consumer_position(ottla_handle consumer,
                                            struct ottla_partition *partition,
                                            uint64_t timeout_ms);

/*
 Ends the poll that waits, or the next one, with WAKEUP. From any thread.
 */
struct ottla_error *ottla_consumer_wakeup(ottla_handle consumer);

/*
 Commits if enable.auto.commit says so, leaves the group, and ends. The handle is taken back.
 */
struct ottla_error *ottla_consumer_close(ottla_handle consumer, uint64_t timeout_ms);

/*
 One of enum ottla_kind; one that the program does not know is to be taken for OTTLA_KIND_INTERNAL. 0 for NULL.
 */
int32_t ottla_error_kind(const struct ottla_error *error);

/*
 Apache Kafka's error code where a broker sent one, else 0.
 */
int16_t ottla_error_code(const struct ottla_error *error);

/*
 Apache Kafka's name of the code, "NONE" without one. Lives as long as the error.
 */
const char *ottla_error_name(const struct ottla_error *error);

/*
 A sentence that says what happened and, where it can be known, what to do. Lives as long as the error.
 */
const char *ottla_error_message(const struct ottla_error *error);

/*
 Whether the same call may succeed later.
 */
bool ottla_error_is_retriable(const struct ottla_error *error);

/*
 Whether the client it came from is of no use any more.
 */
bool ottla_error_is_fatal(const struct ottla_error *error);

/*
 Frees an error.
 */
void ottla_error_free(struct ottla_error *error);

/*
 Opens a producer. Nothing is dialled yet.
 */
struct ottla_error *ottla_producer_open(const char *const *configs, ottla_handle *producer);

/*
 Sends records; they are numbered `first_number`, `first_number` + 1, … for ottla_producer_poll(). They are copied, and may be freed
 when this returns. Returns at once, unless buffer.memory is full: then it waits up to `timeout_ms` and returns TIMEOUT, when none
 of them is sent. Records that nobody asks for with ottla_producer_poll() are kept, and about a million of them are as a full
 buffer.memory.
 */
struct ottla_error *ottla_producer_send(ottla_handle producer,
                                        const struct ottla_record *records,
                                        uintptr_t count,
                                        uint64_t first_number,
                                        uint64_t timeout_ms);

/*
 What became of records that were sent, waiting up to `timeout_ms` for some. `deliveries` is NULL when there are none yet.
 */
struct ottla_error *ottla_producer_poll(ottla_handle producer,
                                        uint64_t timeout_ms,
                                        struct ottla_deliveries **deliveries);

/*
 How many.
 */
uintptr_t ottla_deliveries_count(const struct ottla_deliveries *deliveries);

/*
 One of them; NULL behind the last. Lives as long as the deliveries.
 */
const struct ottla_delivery *ottla_deliveries_get(const struct ottla_deliveries *deliveries, uintptr_t index);

/*
 Frees deliveries.
 */
void ottla_deliveries_free(struct ottla_deliveries *deliveries);

/*
 Waits until all that was sent before is delivered or given up.
 */
struct ottla_error *ottla_producer_flush(ottla_handle producer, uint64_t timeout_ms);

/*
 Finishes what another instance of the same transactional.id left open, and fences it. Once, before the first transaction.
 */
struct ottla_error *ottla_producer_init_transactions(ottla_handle producer,
                                                     uint64_t timeout_ms);

/*
 Begins a transaction.
 */
struct ottla_error *ottla_producer_begin_transaction(ottla_handle producer);

/*
 Commits the transaction, after it has sent what is left of it.
 */
struct ottla_error *ottla_producer_commit_transaction(ottla_handle producer, uint64_t timeout_ms);

/*
 Aborts the transaction.
 */
struct ottla_error *ottla_producer_abort_transaction(ottla_handle producer, uint64_t timeout_ms);

/*
 Delivers what was sent, waiting up to `timeout_ms`, and ends. What is left after that has failed, and is told of as long as the
 handle is not closed: ottla_producer_poll(), then ottla_close().
 */
struct ottla_error *ottla_producer_close(ottla_handle producer,
                                         uint64_t timeout_ms);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* OTTLA_H */
