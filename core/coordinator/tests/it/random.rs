//! Clients that do anything at any time. Whatever they do:
//! - every ticket is answered exactly once (the harness refuses a second answer, the end looks for missing ones);
//! - a generation has one leader, who knows every member that was told it is in it;
//! - members only get what the leader of their generation assigned;
//! - a broker that starts from the log knows every stable group as it was.

use std::collections::{BTreeMap, BTreeSet};

use ottla_coordinator::Ticket;
use ottla_coordinator::group::{GroupConfig, Reply};

use crate::harness::{GROUP, Harness, Member};

/// SplitMix64: enough for a test, and the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % below
    }
}

struct Client {
    member: Member,
    generation: i32,
    is_leader: bool,
    /// Members to assign to, when leading.
    members: Vec<String>,
    waits_for: Option<Ticket>,
}

#[derive(Default)]
struct Generation {
    leader: Option<String>,
    /// What the leader was told.
    known: BTreeSet<String>,
    /// Who was told that it is in this generation.
    told: BTreeSet<String>,
}

struct World {
    h: Harness,
    clients: Vec<Client>,
    generations: BTreeMap<i32, Generation>,
    open: BTreeSet<Ticket>,
}

impl World {
    fn collect(&mut self) {
        for (ticket, reply) in std::mem::take(&mut self.h.replies) {
            assert!(self.open.remove(&ticket), "{ticket:?} was not open");
            let client = self.clients.iter_mut().find(|client| client.waits_for == Some(ticket));
            match reply {
                Reply::Join(reply) => {
                    let Some(client) = client else { continue };
                    client.waits_for = None;
                    match reply.error_code {
                        0 => {
                            client.member.id = reply.member_id.to_string();
                            client.generation = reply.generation_id;
                            client.is_leader = reply.leader == reply.member_id;
                            client.members = reply.members.iter().map(|m| m.member_id.to_string()).collect();
                            if client.member.instance.is_some() {
                                // A static member that came back changes the ids of its generation; checked elsewhere.
                                continue;
                            }
                            let generation = self.generations.entry(reply.generation_id).or_default();
                            let leader = reply.leader.to_string();
                            generation.told.insert(client.member.id.clone());
                            if client.is_leader {
                                generation.known.extend(client.members.iter().cloned());
                                assert!(generation.leader.is_none_or_is(&leader), "two leaders");
                                generation.leader = Some(leader);
                            }
                        }
                        79 => client.member.id = reply.member_id.to_string(),
                        27 => {}
                        _ => client.member.id.clear(),
                    }
                }
                Reply::Sync(reply) => {
                    let Some(client) = client else { continue };
                    client.waits_for = None;
                    match reply.error_code {
                        0 if !reply.assignment.is_empty() => {
                            let text = String::from_utf8(reply.assignment.to_vec()).unwrap();
                            let expected = format!("{}@{}", client.member.id, client.generation);
                            if client.member.instance.is_none() {
                                assert_eq!(text, expected, "an assignment of another member or generation");
                            }
                        }
                        0 | 27 => {}
                        _ => client.member.id.clear(),
                    }
                }
                _ => {}
            }
        }
    }

    fn act(&mut self, random: &mut Random) {
        let index = random.next(self.clients.len() as u64) as usize;
        let client = &mut self.clients[index];
        let id = client.member.id.clone();
        let generation = client.generation;
        match random.next(12) {
            0..4 => {
                if random.next(6) == 0 {
                    let all = [["range"].as_slice(), &["sticky", "range"], &["range", "sticky"]];
                    client.member = client.member.clone().protocols(all[random.next(3) as usize]);
                }
                let member = client.member.clone();
                let ticket = self.h.join(&member);
                self.clients[index].waits_for = Some(ticket);
                self.open.insert(ticket);
            }
            4..7 => {
                let assignments: Vec<_> =
                    client.members.iter().map(|member| (member.clone(), format!("{member}@{generation}"))).collect();
                let assignments: Vec<_> = assignments.iter().map(|(member, text)| (&**member, &**text)).collect();
                let ticket = self.h.sync(&id, generation, if client.is_leader { &assignments } else { &[] });
                self.clients[index].waits_for = Some(ticket);
                self.open.insert(ticket);
            }
            7..9 => {
                self.h.heartbeat(&id, generation);
            }
            9 => {
                self.h.commit(GROUP, &id, generation, "t", random.next(1000) as i64);
            }
            10 if random.next(4) == 0 => {
                self.h.leave(&[(&id, None)]);
                self.clients[index].member.id.clear();
            }
            _ => self.h.advance(random.next(4_000) as i64),
        }
        self.collect();
    }

    /// A stable group is the same for a broker that starts from the log.
    fn check_log(&mut self) {
        let before = self.h.shard.describe_group(&GROUP.into(), 5);
        let offset = self.h.fetch(GROUP, "t");
        if &*before.group_state != "Stable" {
            return;
        }
        let mut copy = Harness::with(self.h.config.clone());
        copy.log = self.h.log.clone();
        copy.now_ms = self.h.now_ms;
        copy.restart();
        assert_eq!(copy.shard.describe_group(&GROUP.into(), 5), before);
        assert_eq!(copy.fetch(GROUP, "t"), offset);
    }
}

trait OptionExt {
    fn is_none_or_is(&self, value: &str) -> bool;
}

impl OptionExt for Option<String> {
    fn is_none_or_is(&self, value: &str) -> bool {
        self.as_deref().is_none_or(|own| own == value)
    }
}

#[test]
fn whatever_clients_do_the_rules_hold() {
    for seed in 0..150 {
        let mut random = Random(seed);
        let delay = [0, 3_000][random.next(2) as usize];
        let max_size = [3, usize::MAX][random.next(2) as usize];
        let config = GroupConfig { initial_rebalance_delay_ms: delay, max_size, ..GroupConfig::default() };
        let clients = (0..5).map(|index| {
            let mut member = if index == 4 { Member::fixed("static") } else { Member::new() };
            member.version = [3, 5, 9][random.next(3) as usize].max(if index == 4 { 5 } else { 0 });
            member.rebalance_ms = 5_000 + random.next(30_000) as i32;
            Client { member, generation: -1, is_leader: false, members: Vec::new(), waits_for: None }
        });
        let clients = clients.collect();
        let mut world =
            World { h: Harness::with(config), clients, generations: BTreeMap::new(), open: BTreeSet::new() };
        for round in 0..400 {
            world.act(&mut random);
            if round % 10 == 0 {
                world.check_log();
            }
        }
        for (number, generation) in &world.generations {
            if generation.leader.is_some() {
                let unknown: Vec<_> = generation.told.difference(&generation.known).collect();
                assert!(unknown.is_empty(), "seed {seed}, generation {number}: the leader does not know {unknown:?}");
            }
        }
        // Everybody goes away; in the end the group is empty and nobody waits.
        world.h.advance(2 * 300_000);
        world.collect();
        assert!(world.open.is_empty(), "seed {seed}: no answer for {:?}", world.open);
        // "Dead": it had no offsets, and was cleaned up.
        assert!(["Empty", "Dead"].contains(&&*world.h.state()), "seed {seed}");
    }
}
