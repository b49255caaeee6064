//! What the Rust client's admin offers beyond what every driver has: ACLs, quotas, SCRAM users, delegation tokens,
//! elections, moves, log directories, producers and transactions, features, share groups, configs of every kind.
//!
//! These speak to the Rust client directly: other languages have it through the same bindings, and their drivers need not
//! know some fifty commands more.

use super::scenarios;
use crate::context::{Context, Outcome, Wrong};
use crate::{check, same};
use ottla::client::admin::*;
use ottla::client::{Admin, Client, ClientOptions, Error};
use ottla::client::{
    ConfigAlteration, ConfigResource, Configs, ErrorCode, ErrorKind, IsolationLevel, NewTopic, OffsetAndMetadata,
    Producer, ProducerRecord, Scope, TopicPartition, Uuid,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

scenarios! { "cluster_admin":
    @calm acls_come_and_go [Acls];
    @calm quotas_are_set_and_removed [Quotas];
    @calm scram_users_log_in [ScramCredentials, Sasl];
    @calm delegation_tokens_stand_for_their_owner [DelegationTokens, Sasl];
    @calm leaders_are_elected_and_replicas_moved [ElectLeaders, Reassignments];
    @calm directories_tell_what_is_in_them [LogDirs];
    @calm open_transactions_are_seen_and_ended [ProducerAdmin, Transactions];
    @calm every_transaction_has_its_own_epoch [ProducerAdmin, TransactionsV2];
    @calm pushed_metrics_have_a_sender [Telemetry];
    @calm features_and_the_quorum [Features];
    @calm share_groups_have_offsets [Features];
    @calm configs_of_every_kind [Features];
    @calm a_held_up_group_is_explained [ProducerAdmin, Transactions, Acls];
}

impl From<Error> for Wrong {
    fn from(error: Error) -> Wrong {
        Wrong(format!("unexpected error: {error}"))
    }
}

fn client(cx: &Context, protocol: &str, configs: &[(&str, &str)]) -> Outcome<Client> {
    let address = cx.addresses().get(protocol).cloned().ok_or(format!("there is no {protocol} listener"))?;
    let mut all = vec![("bootstrap.servers", address.as_str()), ("security.protocol", protocol)];
    all.extend_from_slice(configs);
    let (configs, _) = Configs::parse(Scope::Admin, all).map_err(|error| error.to_string())?;
    Ok(Client::new(cx.env().clone(), ClientOptions::from_configs(&configs))?)
}

fn admin(cx: &Context) -> Outcome<Admin> {
    Ok(client(cx, "PLAINTEXT", &[])?.admin().timeout(Duration::from_secs(30)))
}

async fn topic(cx: &Context, admin: &Admin, partitions: i32) -> Outcome<String> {
    let name = cx.name("topic");
    admin.create_topics(&[NewTopic::new(name.as_str(), partitions)], false).await?.remove(0)?;
    Ok(name)
}

/// The result of one key.
fn one<K: Ord + std::fmt::Debug, V>(results: &mut PerKey<K, V>, key: &K) -> Outcome<V> {
    let result = results.remove(key).ok_or(format!("{key:?} has no result"))?;
    Ok(result?)
}

fn code<K: Ord + std::fmt::Debug, V>(results: &PerKey<K, V>, key: &K) -> Option<ErrorCode> {
    results.get(key).and_then(|result| result.as_ref().err()).and_then(Error::code)
}

async fn acls_come_and_go(cx: Context) -> Outcome {
    let admin = admin(&cx)?;
    let principal = format!("User:{}", cx.name("user"));
    let acl = AclBinding {
        resource_type: AclResourceType::Topic,
        resource_name: cx.name(""),
        pattern_type: PatternType::Prefixed,
        principal: principal.clone(),
        host: "*".to_owned(),
        operation: AclOperation::Read,
        permission_type: AclPermissionType::Allow,
    };
    let wrong = AclBinding { resource_type: AclResourceType::Cluster, ..acl.clone() };
    let mut created = admin.create_acls(&[acl.clone(), wrong.clone()]).await;
    one(&mut created, &acl)?;
    same!(code(&created, &wrong), Some(ErrorCode::InvalidRequest), "an ACL on a cluster of another name");
    let mine = AclBindingFilter { principal: Some(principal), ..AclBindingFilter::default() };
    let matching =
        AclBindingFilter { resource_name: Some(cx.name("anything")), pattern_type: PatternType::Match, ..mine.clone() };
    let none = AclBindingFilter { operation: AclOperation::Write, ..mine.clone() };
    cx.eventually("the ACL is in force", || async {
        let found = admin.describe_acls(&mine).await?;
        Ok(Some(()).filter(|()| !found.is_empty()))
    })
    .await?;
    same!(admin.describe_acls(&matching).await?, vec![acl.clone()], "what applies to a name");
    same!(admin.describe_acls(&none).await?, vec![], "what nothing matches");
    let mut deleted = admin.delete_acls(&[mine.clone(), none.clone()]).await;
    let gone = one(&mut deleted, &mine)?;
    same!(gone.iter().map(|(acl, _)| acl.clone()).collect::<Vec<_>>(), vec![acl], "what was deleted");
    check!(one(&mut deleted, &none)?.is_empty(), "a filter without a match deletes nothing");
    Ok(())
}

async fn quotas_are_set_and_removed(cx: Context) -> Outcome {
    let admin = admin(&cx)?;
    let user = cx.name("user");
    let entity: ClientQuotaEntity =
        BTreeMap::from([("user".to_owned(), Some(user.clone())), ("client-id".to_owned(), None)]);
    let unknown: ClientQuotaEntity = BTreeMap::from([("planet".to_owned(), Some("mars".to_owned()))]);
    let set = |rate: Option<f64>| BTreeMap::from([("producer_byte_rate".to_owned(), rate)]);
    let changes = BTreeMap::from([(entity.clone(), set(Some(1024.0))), (unknown.clone(), set(Some(1.0)))]);
    let checked = admin.alter_client_quotas(&BTreeMap::from([(entity.clone(), set(Some(5.0)))]), true).await;
    check!(checked.values().all(Result::is_ok), "only checked: {checked:?}");
    let mut altered = admin.alter_client_quotas(&changes, false).await;
    one(&mut altered, &entity)?;
    same!(code(&altered, &unknown), Some(ErrorCode::InvalidRequest), "an entity of no known type");
    let filter = BTreeMap::from([("user".to_owned(), QuotaMatch::Exact(user.clone()))]);
    let expected = BTreeMap::from([("producer_byte_rate".to_owned(), 1024.0)]);
    cx.eventually("the quota", || async {
        let found = admin.describe_client_quotas(&filter, false).await?;
        Ok(Some(()).filter(|()| found.get(&entity) == Some(&expected)))
    })
    .await?;
    check!(admin.describe_client_quotas(&filter, true).await?.is_empty(), "it has a client id besides");
    let both =
        BTreeMap::from([("user".to_owned(), QuotaMatch::Exact(user)), ("client-id".to_owned(), QuotaMatch::Default)]);
    same!(admin.describe_client_quotas(&both, true).await?.len(), 1, "user and default client id");
    let removed = admin.alter_client_quotas(&BTreeMap::from([(entity.clone(), set(None))]), false).await;
    check!(removed.values().all(Result::is_ok), "removed: {removed:?}");
    cx.eventually("no quota", || async {
        let found = admin.describe_client_quotas(&both, true).await?;
        Ok(Some(()).filter(|()| found.is_empty()))
    })
    .await
}

/// A client that logs in with SCRAM.
fn login(cx: &Context, mechanism: ScramMechanism, user: &str, password: &str, more: &str) -> Outcome<Client> {
    let jaas = format!(
        "org.apache.kafka.common.security.scram.ScramLoginModule required username=\"{user}\" password=\"{password}\"{more};"
    );
    client(cx, "SASL_PLAINTEXT", &[("sasl.mechanism", mechanism.name()), ("sasl.jaas.config", &jaas)])
}

async fn scram_users_log_in(cx: Context) -> Outcome {
    let admin = admin(&cx)?;
    let user = cx.name("user");
    let unknown = cx.name("nobody");
    let upsert = |mechanism| ScramAlteration::upsert(user.as_str(), mechanism, "pass, = word");
    let alterations = [
        upsert(ScramMechanism::Sha256),
        upsert(ScramMechanism::Sha512),
        ScramAlteration::Delete { user: unknown.clone(), mechanism: ScramMechanism::Sha256 },
    ];
    let mut altered = admin.alter_user_scram_credentials(&alterations).await;
    one(&mut altered, &user)?;
    same!(code(&altered, &unknown), Some(ErrorCode::ResourceNotFound), "nothing to delete");
    let names = [user.clone(), unknown.clone()];
    let mut described = cx
        .eventually("the user is described", || async {
            let described = admin.describe_user_scram_credentials(&names).await?;
            Ok(Some(described).filter(|described| described[&user].as_ref().is_ok_and(|infos| infos.len() == 2)))
        })
        .await?;
    let mut infos = one(&mut described, &user)?;
    // In no particular order.
    infos.sort_by_key(|info| info.mechanism.name());
    let expected = [ScramMechanism::Sha256, ScramMechanism::Sha512]
        .map(|mechanism| ScramCredentialInfo { mechanism, iterations: 4096 });
    same!(infos, expected.to_vec(), "the credentials");
    same!(code(&described, &unknown), Some(ErrorCode::ResourceNotFound), "one without credentials");
    for mechanism in [ScramMechanism::Sha256, ScramMechanism::Sha512] {
        let client = login(&cx, mechanism, &user, "pass, = word", "")?;
        client.admin().list_topics().await?;
        client.close();
        let wrong = login(&cx, mechanism, &user, "other", "")?;
        let refused = wrong.admin().timeout(Duration::from_secs(10)).list_topics().await;
        same!(refused.err().map(|error| error.kind()), Some(ErrorKind::Auth), "a wrong password");
        wrong.close();
    }
    let delete = ScramAlteration::Delete { user: user.clone(), mechanism: ScramMechanism::Sha256 };
    one(&mut admin.alter_user_scram_credentials(&[delete]).await, &user)?;
    cx.eventually("one is left", || async {
        let mut described = admin.describe_user_scram_credentials(std::slice::from_ref(&user)).await?;
        Ok(Some(()).filter(|()| one(&mut described, &user).is_ok_and(|infos| infos.len() == 1)))
    })
    .await
}

async fn delegation_tokens_stand_for_their_owner(cx: Context) -> Outcome {
    let anonymous = admin(&cx)?.create_delegation_token(&[], None, None).await;
    same!(
        anonymous.err().and_then(|error| error.code()),
        Some(ErrorCode::DelegationTokenRequestNotAllowed),
        "without authentication"
    );
    let jaas = "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"admin\" password=\"admin-secret\";";
    let owner = client(&cx, "SASL_PLAINTEXT", &[("sasl.mechanism", "PLAIN"), ("sasl.jaas.config", jaas)])?;
    let admin = owner.admin().timeout(Duration::from_secs(30));
    let renewer = KafkaPrincipal::user("alice");
    let hour = Duration::from_secs(3600);
    let token = admin.create_delegation_token(std::slice::from_ref(&renewer), Some(hour), None).await?;
    same!(token.owner, KafkaPrincipal::user("admin"), "the owner");
    same!(token.max_timestamp - token.issue_timestamp, 3_600_000, "its lifetime");
    check!(!format!("{token:?}").contains("hmac"), "the secret is not printed");
    let told = cx
        .eventually("the token is described", || async {
            let tokens = admin.describe_delegation_token(Some(&[KafkaPrincipal::user("admin")])).await?;
            Ok(tokens.into_iter().find(|other| other.token_id == token.token_id))
        })
        .await?;
    same!(told, token, "the token as it is described");
    // Its id and secret log in, as its owner, but may make no further token.
    let secret = base64(&token.hmac);
    let by_token = login(&cx, ScramMechanism::Sha256, &token.token_id, &secret, " tokenauth=\"true\"")?.admin();
    by_token.list_topics().await?;
    let refused = by_token.create_delegation_token(&[], None, None).await;
    same!(
        refused.err().and_then(|error| error.code()),
        Some(ErrorCode::DelegationTokenRequestNotAllowed),
        "a token for a token"
    );
    let renewed = admin.renew_delegation_token(&token.hmac, Some(Duration::from_secs(600))).await?;
    check!(renewed <= token.max_timestamp, "renewed until {renewed}, beyond {}", token.max_timestamp);
    let expires = admin.expire_delegation_token(&token.hmac, None).await?;
    check!(expires <= cx.env().now_ms() + 60_000, "it expires now, not at {expires}");
    cx.eventually("the token is gone", || async {
        let tokens = admin.describe_delegation_token(None).await?;
        Ok(Some(()).filter(|()| tokens.iter().all(|other| other.token_id != token.token_id)))
    })
    .await
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().chain(&[0; 2]).take(3).fold(0u32, |word, byte| word << 8 | u32::from(*byte));
        for place in 0..4 {
            match place <= chunk.len() {
                true => text.push(LETTERS[(word >> (18 - 6 * place) & 63) as usize] as char),
                false => text.push('='),
            }
        }
    }
    text
}

async fn leaders_are_elected_and_replicas_moved(cx: Context) -> Outcome {
    let admin = admin(&cx)?;
    let topic = topic(&cx, &admin, 2).await?;
    let (first, second) = (TopicPartition::new(topic.as_str(), 0), TopicPartition::new(topic.as_str(), 1));
    let nowhere = TopicPartition::new(cx.name("no"), 0);
    let some = BTreeSet::from([first.clone(), nowhere.clone()]);
    let elected = admin.elect_leaders(ElectionType::Preferred, Some(&some)).await?;
    same!(code(&elected, &first), Some(ErrorCode::ElectionNotNeeded), "the preferred one leads");
    same!(code(&elected, &nowhere), Some(ErrorCode::UnknownTopicOrPartition), "no such topic");
    let all = admin.elect_leaders(ElectionType::Preferred, None).await?;
    check!(all.values().all(Result::is_ok), "of all partitions only those that needed it: {all:?}");
    let here = admin.describe_cluster().await?.brokers[0].id;
    let moves = BTreeMap::from([
        (first.clone(), Some(vec![here])),
        (second.clone(), Some(vec![here + 1000])),
        (nowhere.clone(), None),
    ]);
    let mut moved = admin.alter_partition_reassignments(&moves).await;
    one(&mut moved, &first)?;
    same!(code(&moved, &second), Some(ErrorCode::InvalidReplicaAssignment), "no such broker");
    same!(code(&moved, &nowhere), Some(ErrorCode::UnknownTopicOrPartition), "no such topic");
    let cancel = BTreeMap::from([(first.clone(), None)]);
    let cancelled = admin.alter_partition_reassignments_keeping_replication_factor(&cancel).await;
    same!(code(&cancelled, &first), Some(ErrorCode::NoReassignmentInProgress), "nothing to cancel");
    let mine = BTreeSet::from([first, second]);
    check!(admin.list_partition_reassignments(Some(&mine)).await?.is_empty(), "nothing moves");
    Ok(())
}

async fn directories_tell_what_is_in_them(cx: Context) -> Outcome {
    let admin = admin(&cx)?;
    let topic = topic(&cx, &admin, 1).await?;
    let partition = TopicPartition::new(topic.as_str(), 0);
    let here = admin.describe_cluster().await?.brokers[0].id;
    let dirs = admin.describe_log_dirs(&[here, here + 1000]).await;
    check!(dirs[&(here + 1000)].is_err(), "no such broker");
    let dirs = cx
        .eventually("the replica is there", || async {
            let dirs = one(&mut admin.describe_log_dirs(&[here]).await, &here)?;
            Ok(Some(dirs).filter(|dirs| dirs.values().any(|dir| dir.replicas.contains_key(&partition))))
        })
        .await?;
    let (path, dir) = dirs.iter().find(|(_, dir)| dir.replicas.contains_key(&partition)).ok_or("nobody has it")?;
    check!(dir.error.is_none() && !dir.replicas[&partition].future, "a sound directory: {dir:?}");
    check!(dir.total_bytes >= dir.usable_bytes && dir.usable_bytes.is_some(), "sizes: {dir:?}");
    let replica = TopicPartitionReplica { partition, broker_id: here };
    let mut found = admin.describe_replica_log_dirs(&BTreeSet::from([replica.clone()])).await;
    let info = one(&mut found, &replica)?;
    same!(info.current_log_dir.as_ref(), Some(path), "where the replica is");
    same!(info.future_log_dir, None, "it does not move");
    one(&mut admin.alter_replica_log_dirs(&BTreeMap::from([(replica.clone(), path.clone())])).await, &replica)?;
    let nowhere = BTreeMap::from([(replica.clone(), "/nowhere".to_owned())]);
    let refused = admin.alter_replica_log_dirs(&nowhere).await;
    same!(code(&refused, &replica), Some(ErrorCode::LogDirNotFound), "no such directory");
    Ok(())
}

/// A producer with an open transaction that has written to the partition.
async fn open_transaction(cx: &Context, id: &str, partition: &TopicPartition) -> Outcome<Producer> {
    let address = cx.addresses().get("PLAINTEXT").cloned().ok_or("there is no PLAINTEXT listener")?;
    let configs = [("bootstrap.servers", address.as_str()), ("transactional.id", id)];
    let producer = Producer::from_configs(cx.env().clone(), configs)?;
    producer.init_transactions().await?;
    producer.begin_transaction()?;
    let record = ProducerRecord::new(&partition.topic, None, Some(b"held"));
    producer.send(ProducerRecord { partition: Some(partition.partition), ..record }).await?.wait().await?;
    Ok(producer)
}

async fn open_transactions_are_seen_and_ended(cx: Context) -> Outcome {
    let admin = admin(&cx)?;
    let topic = topic(&cx, &admin, 1).await?;
    let partition = TopicPartition::new(topic.as_str(), 0);
    let id = cx.name("tx");
    let producer = open_transaction(&cx, &id, &partition).await?;
    let partitions = BTreeSet::from([partition.clone()]);
    let states = one(&mut admin.describe_producers(&partitions, None).await, &partition)?;
    let [state] = &states[..] else { return Err(format!("one producer was expected: {states:?}").into()) };
    same!(state.current_transaction_start_offset, Some(0), "where the transaction begins");
    let here = admin.describe_cluster().await?.brokers[0].id;
    let there = one(&mut admin.describe_producers(&partitions, Some(here)).await, &partition)?;
    same!(there.len(), 1, "the same broker by its id");
    let unknown = cx.name("no");
    let mut described = admin.describe_transactions(&[id.clone(), unknown.clone()]).await;
    same!(code(&described, &unknown), Some(ErrorCode::TransactionalIdNotFound), "no such id");
    let description = one(&mut described, &id)?;
    same!(description.state, TransactionState::Ongoing, "the state");
    same!(description.topic_partitions, partitions, "the partitions");
    same!(description.coordinator_id, Some(here), "the coordinator");
    check!(description.transaction_start_time_ms.is_some(), "when it began: {description:?}");
    let listed = async |options: ListTransactionsOptions| -> Outcome<Vec<TransactionListing>> {
        let mut all = Vec::new();
        for (_, found) in admin.list_transactions(&options).await? {
            all.extend(found?.into_iter().filter(|found| found.transactional_id == id));
        }
        Ok(all)
    };
    let ongoing = BTreeSet::from([TransactionState::Ongoing]);
    same!(listed(ListTransactionsOptions { states: ongoing, ..Default::default() }).await?.len(), 1, "by state");
    let ids = BTreeSet::from([state.producer_id]);
    let by_id = listed(ListTransactionsOptions { producer_ids: ids, ..Default::default() }).await?;
    same!(by_id.len(), 1, "by producer");
    let day = Some(Duration::from_secs(86_400));
    check!(
        listed(ListTransactionsOptions { running_longer_than: day, ..Default::default() }).await?.is_empty(),
        "none is a day old"
    );
    let pattern = Some(format!("{id}.*"));
    let by_pattern = listed(ListTransactionsOptions { transactional_id_pattern: pattern, ..Default::default() });
    same!(by_pattern.await?.len(), 1, "by pattern");

    admin.force_terminate_transaction(&id).await?;
    let spec = BTreeMap::from([(partition.clone(), OffsetSpec::Latest)]);
    cx.eventually("the partition is free", || async {
        let end = one(&mut admin.list_offsets(&spec, IsolationLevel::ReadUncommitted).await, &partition)?;
        let stable = one(&mut admin.list_offsets(&spec, IsolationLevel::ReadCommitted).await, &partition)?;
        Ok(Some(()).filter(|()| end.offset == stable.offset && end.offset == Some(2)))
    })
    .await?;
    let fenced = producer.commit_transaction().await;
    check!(fenced.is_err(), "the producer was fenced");
    let again = one(&mut admin.fence_producers(std::slice::from_ref(&id)).await, &id)?;
    check!(again.producer_epoch > 0 || again.producer_id != state.producer_id, "a newer epoch: {again:?}");
    // One that nobody ends any more, as its coordinator has forgotten it: here it is only not asked.
    let _other = open_transaction(&cx, &cx.name("other"), &partition).await?;
    let states = one(&mut admin.describe_producers(&partitions, None).await, &partition)?;
    let open = states.iter().find(|state| state.current_transaction_start_offset.is_some()).ok_or("none is open")?;
    let spec = AbortTransactionSpec {
        partition: partition.clone(),
        producer_id: open.producer_id,
        producer_epoch: i16::try_from(open.producer_epoch).map_err(|error| error.to_string())?,
        coordinator_epoch: open.coordinator_epoch.unwrap_or(0),
    };
    admin.abort_transaction(&spec).await?;
    let states = one(&mut admin.describe_producers(&partitions, None).await, &partition)?;
    check!(states.iter().all(|state| state.current_transaction_start_offset.is_none()), "all ended: {states:?}");
    Ok(())
}

async fn features_and_the_quorum(cx: Context) -> Outcome {
    let admin = admin(&cx)?;
    let features = admin.describe_features(None).await?;
    let metadata = features.finalized.get("metadata.version").ok_or("metadata.version is not finalized")?;
    check!(features.supported["metadata.version"].max >= metadata.max, "what is finalized is supported");
    check!(features.finalized_epoch.is_some_and(|epoch| epoch >= 0), "an epoch: {features:?}");
    let down = FeatureUpdate { max_version_level: 1, upgrade_type: UpgradeType::Upgrade };
    let updates = BTreeMap::from([("metadata.version".to_owned(), down)]);
    let refused = admin.update_features(&updates, true).await;
    same!(code(&refused, &"metadata.version".to_owned()), Some(ErrorCode::InvalidUpdateVersion), "no way back");
    let quorum = admin.describe_metadata_quorum().await?;
    check!(quorum.voters.iter().any(|voter| voter.replica_id == quorum.leader_id), "the leader votes: {quorum:?}");
    check!(quorum.high_watermark > 0 && quorum.nodes.contains_key(&quorum.leader_id), "{quorum:?}");
    let endpoint = RaftVoterEndpoint { name: "CONTROLLER".to_owned(), host: "localhost".to_owned(), port: 1 };
    let added = admin.add_raft_voter(77, Uuid([7; 16]), &[endpoint], None).await;
    same!(added.err().and_then(|error| error.code()), Some(ErrorCode::UnsupportedVersion), "a fixed quorum");
    let removed = admin.remove_raft_voter(77, Uuid([7; 16]), None).await;
    same!(removed.err().and_then(|error| error.code()), Some(ErrorCode::UnsupportedVersion), "a fixed quorum");
    let gone = admin.unregister_broker(7777).await;
    same!(gone.err().and_then(|error| error.code()), Some(ErrorCode::BrokerIdNotRegistered), "no such broker");
    let gone = admin.unregister_controller(7777).await;
    same!(gone.err().and_then(|error| error.code()), Some(ErrorCode::ControllerIdNotRegistered), "no such controller");
    let options = DescribeClusterOptions {
        include_authorized_operations: true,
        include_fenced_brokers: true,
        ..DescribeClusterOptions::default()
    };
    let cluster = admin.describe_cluster_with(&options).await?;
    check!(cluster.authorized_operations.is_some_and(|some| some.contains(&AclOperation::Alter)), "a super user");
    Ok(())
}

async fn share_groups_have_offsets(cx: Context) -> Outcome {
    let admin = admin(&cx)?;
    let topic = topic(&cx, &admin, 1).await?;
    let (partition, missing) = (TopicPartition::new(topic.as_str(), 0), TopicPartition::new(cx.name("no"), 0));
    let group = cx.name("shares");
    let starts = BTreeMap::from([(partition.clone(), 0), (missing.clone(), 0)]);
    let altered = cx
        .eventually("the coordinator knows the topic", || async {
            let altered = admin.alter_share_group_offsets(&group, &starts).await;
            Ok(Some(altered).filter(|altered| altered[&partition].is_ok()))
        })
        .await?;
    same!(code(&altered, &missing), Some(ErrorCode::UnknownTopicOrPartition), "no such topic");
    let mut offsets = admin.share_group_offsets(&group, None).await?;
    let offset = one(&mut offsets, &partition)?.ok_or("no offset")?;
    same!(offset.start_offset, 0, "where it goes on");
    let ids = [group.clone(), cx.name("nobody")];
    let mut described = admin.describe_share_groups(&ids, true).await;
    same!(code(&described, &ids[1]), Some(ErrorCode::GroupIdNotFound), "no such group");
    let description = one(&mut described, &group)?;
    same!((description.state, description.members.len()), (GroupState::Empty, 0), "an empty group");
    let listed = admin.list_groups(&ListGroupsOptions::for_share_groups()).await?;
    check!(listed.groups.iter().any(|listed| listed.group_id == group), "it is listed: {listed:?}");
    let streams = admin.describe_streams_groups(&ids[..1], &DescribeStreamsGroupsOptions::default()).await;
    same!(code(&streams, &group), Some(ErrorCode::GroupIdNotFound), "it is no streams group");
    let options = ExplainOptions { duration: Duration::ZERO, ..ExplainOptions::default() };
    let explained = admin.explain_group(&group, &options).await;
    same!(explained.findings[0].cause, Cause::OtherKind, "it is no group of consumers");
    one(&mut admin.delete_share_group_offsets(&group, &BTreeSet::from([topic.clone()])).await, &topic)?;
    one(&mut admin.delete_share_groups(std::slice::from_ref(&group)).await, &group)
}

async fn configs_of_every_kind(cx: Context) -> Outcome {
    let admin = admin(&cx)?;
    let here = admin.describe_cluster().await?.brokers[0].id;
    let metrics = ConfigResource::ClientMetrics(cx.name("metrics"));
    let group = ConfigResource::Group(cx.name("group"));
    let logger = ConfigResource::BrokerLogger(here);
    let changes = BTreeMap::from([
        (metrics.clone(), vec![ConfigAlteration::set("interval.ms", "5000")]),
        (group.clone(), vec![ConfigAlteration::set("consumer.session.timeout.ms", "50000")]),
        (logger.clone(), vec![ConfigAlteration::set("kafka.no.such.logger", "DEBUG")]),
    ]);
    let mut altered = admin.incremental_alter_configs(&changes, false).await;
    one(&mut altered, &metrics)?;
    one(&mut altered, &group)?;
    check!(altered[&logger].is_err(), "no such logger");
    cx.eventually("the configs are there", || async {
        let kinds = BTreeSet::from([ConfigResourceType::ClientMetrics, ConfigResourceType::Group]);
        let listed = admin.list_config_resources(&kinds).await?;
        Ok(Some(()).filter(|()| listed.contains(&metrics) && listed.contains(&group)))
    })
    .await?;
    check!(admin.list_client_metrics_resources().await?.contains(&metrics.name()), "the subscription is listed");
    let broker = ConfigResource::Broker(Some(here));
    let all = [metrics.clone(), group.clone(), logger.clone(), broker.clone()];
    let mut described = admin.describe_configs_of(&all, &DescribeConfigsOptions::default()).await;
    let value = |entries: Vec<ConfigEntry>, name: &str| {
        entries.into_iter().find(|entry| entry.name == name).and_then(|entry| Some((entry.value?, entry.source)))
    };
    let set = value(one(&mut described, &metrics)?, "interval.ms");
    same!(set, Some(("5000".to_owned(), ConfigSource::ClientMetrics)), "of client metrics");
    let set = value(one(&mut described, &group)?, "consumer.session.timeout.ms");
    same!(set, Some(("50000".to_owned(), ConfigSource::Group)), "of a group");
    check!(
        one(&mut described, &logger)?.iter().any(|entry| entry.source == ConfigSource::DynamicBrokerLogger),
        "levels"
    );
    check!(one(&mut described, &broker)?.iter().any(|entry| entry.sensitive && entry.value.is_none()), "secrets");
    for resource in [metrics, group] {
        let name =
            if resource.kind() == ConfigResourceType::Group { "consumer.session.timeout.ms" } else { "interval.ms" };
        admin.alter_configs(&resource, &[ConfigAlteration::delete(name)]).await?;
    }
    Ok(())
}

/// KIP-890: whatever a late request of an earlier transaction does, it cannot become part of a later one.
async fn every_transaction_has_its_own_epoch(cx: Context) -> Outcome {
    let admin = admin(&cx)?;
    let topic = topic(&cx, &admin, 1).await?;
    let partition = TopicPartition::new(topic.as_str(), 0);
    let id = cx.name("tx");
    let producer = open_transaction(&cx, &id, &partition).await?;
    let mut epochs = Vec::new();
    for end in 0..3 {
        if end > 0 {
            producer.begin_transaction()?;
            let record = ProducerRecord { partition: Some(0), ..ProducerRecord::new(&topic, None, Some(b"v")) };
            producer.send(record).await?.wait().await?;
        }
        let mut described = admin.describe_transactions(std::slice::from_ref(&id)).await;
        epochs.push(one(&mut described, &id)?.producer_epoch);
        match end {
            1 => producer.abort_transaction().await?,
            _ => producer.commit_transaction().await?,
        }
    }
    check!(epochs.windows(2).all(|pair| pair[0] < pair[1]), "the epochs of three transactions: {epochs:?}");
    Ok(())
}

/// KIP-714: who takes part is told an id by the cluster. What arrives is looked at in tests/security.
async fn pushed_metrics_have_a_sender(cx: Context) -> Outcome {
    let admin = admin(&cx)?;
    let (subscription, id) = (cx.name("metrics"), cx.name("pushes"));
    let resource = ConfigResource::ClientMetrics(subscription);
    let settings = [
        ConfigAlteration::set("interval.ms", "500"),
        ConfigAlteration::set("metrics", "org.apache.kafka.admin.client."),
        ConfigAlteration::set("match", format!("client_id={id}")),
    ];
    admin.alter_configs(&resource, &settings).await?;
    let limit = Duration::from_secs(20);
    let pushing = [("client.id", id.as_str()), ("enable.metrics.push", "true")];
    let (first, second) = (client(&cx, "PLAINTEXT", &pushing)?, client(&cx, "PLAINTEXT", &pushing)?);
    let (one, other) = (first.client_instance_id(limit).await?, second.client_instance_id(limit).await?);
    check!(one != other && one != Uuid::ZERO, "two clients with the ids {one} and {other}");
    same!(first.client_instance_id(limit).await?, one, "the id, asked for again");
    let silent = client(&cx, "PLAINTEXT", &[("enable.metrics.push", "false")])?;
    let refused = silent.client_instance_id(limit).await;
    same!(refused.err().map(|error| error.kind()), Some(ErrorKind::Invalid), "the id of one that pushes nothing");
    first.shutdown().await;
    second.shutdown().await;
    let none = ["interval.ms", "metrics", "match"].map(ConfigAlteration::delete);
    Ok(admin.alter_configs(&resource, &none).await?)
}

async fn a_held_up_group_is_explained(cx: Context) -> Outcome {
    let admin = admin(&cx)?;
    let topic = topic(&cx, &admin, 1).await?;
    let partition = TopicPartition::new(topic.as_str(), 0);
    let (group, id) = (cx.name("readers"), cx.name("tx"));
    let producer = open_transaction(&cx, &id, &partition).await?;
    let offsets = BTreeMap::from([(partition.clone(), OffsetAndMetadata::from(0))]);
    one(&mut admin.alter_consumer_group_offsets(&group, &offsets).await, &partition)?;
    let options = ExplainOptions { duration: Duration::from_millis(200), ..ExplainOptions::default() };
    let explained = admin.explain_group(&group, &options).await;
    let held = explained.findings.iter().find(|finding| finding.cause == Cause::OpenTransaction);
    let held = held.ok_or(format!("the transaction is not told: {explained:?}"))?;
    check!(held.evidence.iter().any(|line| line.contains(&id)), "by its id: {held:?}");
    producer.abort_transaction().await?;
    let acl = AclBinding {
        resource_type: AclResourceType::Group,
        resource_name: group.clone(),
        pattern_type: PatternType::Literal,
        principal: format!("User:{}", cx.name("user")),
        host: "*".to_owned(),
        operation: AclOperation::Read,
        permission_type: AclPermissionType::Deny,
    };
    one(&mut admin.create_acls(std::slice::from_ref(&acl)).await, &acl)?;
    cx.eventually("the rule is told", || async {
        let explained = admin.explain_group(&group, &options).await;
        Ok(Some(()).filter(|()| explained.findings[0].cause == Cause::Denied))
    })
    .await
}
