//! Looks at the cluster again and again.
//!
//! Rule: the network is looked at every [`NETWORK`], what the brokers say every [`BROKERS`], each by a thread of its own, so
//! that brokers that hang delay nothing. Topics that somebody asks for are looked at for [`INTEREST`], from the first
//! question on; many first questions are one to the brokers.
//!
//! Edges:
//! - bootstrap servers are looked at as they are given, brokers as they advertise themselves;
//! - of topics that were asked for [`TOPICS`] are remembered, those that were asked for last;
//! - what brokers said last is kept, with its age, while they say nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::judge::Server;
use crate::kafka::{BrokerInfo, Checkup, Connection, TopicCheck};

const NETWORK: Duration = Duration::from_secs(2);
const BROKERS: Duration = Duration::from_secs(5);
const INTEREST: Duration = Duration::from_secs(600);

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(2);

/// A broker that is not listed any more is remembered this long, and longer where replicas name it.
const REMEMBERED: Duration = Duration::from_secs(900);

const TOPICS: usize = 1_000;

/// First questions are gathered this long.
const GATHER: Duration = Duration::from_millis(50);

/// How long an answer waits for a topic's first check.
const FIRST: Duration = Duration::from_millis(500);

/// The threads that look; they end when this is dropped.
pub struct Checker {
    checks: Arc<Checks>,
    _stop: Sender<()>,
}

/// What they saw.
pub struct Checks {
    bootstrap: Vec<String>,
    /// The application's own topics.
    watched: Vec<String>,
    seen: Mutex<Seen>,
    wake: Sender<()>,
    /// Counts the looks at topics.
    looked: watch::Sender<u64>,
}

#[derive(Default)]
struct Seen {
    reachable: BTreeMap<String, bool>,
    network_at: Option<Instant>,
    /// By id, with the time when the cluster listed it last.
    brokers: BTreeMap<i32, (String, Instant)>,
    /// When the brokers said that, and why they did not the last time.
    brokers_at: Option<Instant>,
    error: Option<String>,
    topics: BTreeMap<String, (TopicCheck, Instant)>,
    /// Topics that somebody asked for, and when.
    asked: BTreeMap<String, Instant>,
}

/// A copy of it at one moment.
#[derive(Clone, Debug)]
pub struct View {
    pub servers: Vec<Server>,
    /// Age of what is said of servers; `None`: they have not been looked at yet.
    pub age: Option<Duration>,
    pub error: Option<String>,
    pub topics: Vec<(TopicCheck, Duration)>,
}

// === impl Checker ===

impl Checker {
    /// Starts to look. `watched` are looked at all the time.
    pub fn start(connection: &Connection, watched: Vec<String>) -> std::io::Result<Self> {
        let (wake, woken) = channel();
        let checks = Arc::new(Checks {
            bootstrap: servers_of(connection.bootstrap()),
            watched,
            seen: Mutex::default(),
            wake,
            looked: watch::Sender::new(0),
        });
        let (stop, stopped) = channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let of_network = Arc::clone(&checks);
        std::thread::Builder::new()
            .name("health-network".to_owned())
            .spawn(move || {
                loop {
                    runtime.block_on(of_network.look_at_network());
                    if stopped.recv_timeout(NETWORK) != Err(RecvTimeoutError::Timeout) {
                        return;
                    }
                }
            })?;
        let of_brokers = Arc::downgrade(&checks);
        let connection = connection.clone();
        std::thread::Builder::new()
            .name("health-brokers".to_owned())
            .spawn(move || {
                let mut checkup = None;
                while let Some(checks) = of_brokers.upgrade() {
                    checks.look_at_brokers(&connection, &mut checkup);
                    drop(checks);
                    wait(&woken);
                }
            })?;
        Ok(Self { checks, _stop: stop })
    }

    pub fn checks(&self) -> Arc<Checks> {
        Arc::clone(&self.checks)
    }
}

/// Until it is time for the next look, or somebody asks for something new.
fn wait(woken: &Receiver<()>) {
    if woken.recv_timeout(BROKERS).is_ok() {
        let until = Instant::now() + GATHER;
        while woken
            .recv_timeout(until.saturating_duration_since(Instant::now()))
            .is_ok()
        {}
    }
}

/// `HOST:PORT` of each, without a protocol; 9092 where no port is given.
fn servers_of(bootstrap: &str) -> Vec<String> {
    let servers = bootstrap.split(',').map(str::trim).filter(|server| !server.is_empty());
    let server = |server: &str| {
        let address = server.split_once("://").map_or(server, |(_, address)| address);
        let has_port = address
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        match has_port {
            true => address.to_owned(),
            false => format!("{address}:9092"),
        }
    };
    servers.map(server).collect()
}

// === impl Checks ===

impl Checks {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn look_at_network(&self) {
        let mut servers: BTreeSet<String> = self.bootstrap.iter().cloned().collect();
        servers.extend(self.lock().brokers.values().map(|(address, _)| address.clone()));
        let mut looks = tokio::task::JoinSet::new();
        for server in servers {
            looks.spawn(async move {
                let connected = tokio::time::timeout(CONNECT, tokio::net::TcpStream::connect(&server)).await;
                (server, matches!(connected, Ok(Ok(_))))
            });
        }
        let reachable = looks.join_all().await.into_iter().collect();
        let mut seen = self.lock();
        seen.reachable = reachable;
        seen.network_at = Some(Instant::now());
    }

    fn look_at_brokers(&self, connection: &Connection, checkup: &mut Option<Checkup>) {
        let began = Instant::now();
        let topics: Vec<String> = {
            let mut seen = self.lock();
            seen.asked.retain(|_, at| at.elapsed() < INTEREST);
            let asked: Vec<String> = seen.asked.keys().cloned().collect();
            seen.topics
                .retain(|topic, _| asked.contains(topic) || self.watched.contains(topic));
            self.watched.iter().cloned().chain(asked).collect()
        };
        let found = look(connection, checkup, &topics);
        let mut seen = self.lock();
        match found {
            Ok((brokers, topics)) => {
                seen.error = None;
                seen.brokers_at = Some(began);
                for BrokerInfo { id, address } in brokers {
                    seen.brokers.insert(id, (address, began));
                }
                seen.topics
                    .extend(topics.into_iter().map(|topic| (topic.topic.clone(), (topic, began))));
                let named = seen.named();
                seen.brokers
                    .retain(|id, (_, at)| named.contains(id) || at.elapsed() < REMEMBERED);
            }
            Err(why) => seen.error = Some(why),
        }
        drop(seen);
        self.looked.send_modify(|count| *count += 1);
    }

    /// What is known now.
    pub fn view(&self) -> View {
        let seen = self.lock();
        let watched = self.watched.iter().filter_map(|topic| seen.topics.get(topic));
        View {
            servers: match seen.network_at {
                Some(_) => seen.servers(&self.bootstrap),
                None => Vec::new(),
            },
            age: seen.network_at.map(|at| at.elapsed()),
            error: seen.error.clone(),
            topics: watched.map(|(check, at)| (check.clone(), at.elapsed())).collect(),
        }
    }

    /// One topic with the age of what is known of it. Waits for a first check, but not for long.
    pub async fn topic(&self, topic: &str) -> Option<(TopicCheck, Duration)> {
        let mut looked = self.looked.subscribe();
        let find = |seen: &Seen| {
            let (check, at) = seen.topics.get(topic)?;
            Some((check.clone(), at.elapsed()))
        };
        {
            let mut seen = self.lock();
            let is_new = !self.watched.iter().any(|watched| watched == topic) && seen.ask(topic);
            let found = find(&seen);
            if found.is_some() {
                return found;
            }
            if is_new {
                // A thread that is gone shows as an answer that does not come.
                let _ = self.wake.send(());
            }
        }
        let first = async {
            loop {
                looked.changed().await.ok()?;
                let found = find(&self.lock());
                if found.is_some() {
                    return found;
                }
            }
        };
        tokio::time::timeout(FIRST, first).await.ok().flatten()
    }
}

fn look(
    connection: &Connection,
    checkup: &mut Option<Checkup>,
    topics: &[String],
) -> Result<(Vec<BrokerInfo>, Vec<TopicCheck>), String> {
    let said = |error: crate::kafka::ConnectError| error.to_string();
    let client = match checkup.take() {
        Some(client) => client,
        None => Checkup::new(connection).map_err(said)?,
    };
    let client = checkup.insert(client);
    // The name of a topic that brokers must not create is as good as any.
    let first = topics.first().map_or("__consumer_offsets", String::as_str);
    let brokers = client.brokers(first).map_err(said)?;
    let topics = client.topics(topics).map_err(said)?;
    Ok((brokers, topics))
}

// === impl Seen ===

impl Seen {
    /// Brokers that hold replicas.
    fn named(&self) -> BTreeSet<i32> {
        let topics = self.topics.values().filter_map(|(check, _)| check.partitions.as_ref());
        let partitions = topics.filter_map(|partitions| partitions.as_ref().ok()).flatten();
        partitions
            .flat_map(|partition| partition.replicas.iter().copied())
            .collect()
    }

    fn servers(&self, bootstrap: &[String]) -> Vec<Server> {
        let is_up = |address: &str| self.reachable.get(address).copied().unwrap_or(false);
        let mut servers: Vec<Server> = bootstrap
            .iter()
            .filter(|address| !self.brokers.values().any(|(broker, _)| broker == *address))
            .map(|address| Server {
                server: address.clone(),
                id: None,
                reachable: is_up(address),
            })
            .collect();
        // While nobody answers, who is listed is not known.
        let is_listed = |at: Instant| self.error.is_some() || Some(at) >= self.brokers_at;
        servers.extend(self.brokers.iter().map(|(id, (address, at))| Server {
            server: address.clone(),
            id: Some(*id),
            reachable: is_up(address) && is_listed(*at),
        }));
        servers
    }

    /// Remembers that somebody asked; `true` where nobody had.
    fn ask(&mut self, topic: &str) -> bool {
        let now = Instant::now();
        if let Some(at) = self.asked.get_mut(topic) {
            *at = now;
            return false;
        }
        if self.asked.len() >= TOPICS
            && let Some(oldest) = self
                .asked
                .iter()
                .min_by_key(|(_, at)| **at)
                .map(|(topic, _)| topic.clone())
        {
            self.asked.remove(&oldest);
        }
        self.asked.insert(topic.to_owned(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bootstrap_servers_are_addresses_with_a_port_and_without_a_protocol() {
        assert_eq!(
            servers_of("a:1, SASL_SSL://b:2,c,[::1]:3,"),
            ["a:1", "b:2", "c:9092", "[::1]:3"]
        );
    }

    fn seen(now: Instant) -> Seen {
        Seen {
            reachable: BTreeMap::from([("a:1".to_owned(), true), ("b:1".to_owned(), true)]),
            network_at: Some(now),
            brokers: BTreeMap::from([(1, ("a:1".to_owned(), now)), (2, ("b:1".to_owned(), now))]),
            brokers_at: Some(now),
            ..Seen::default()
        }
    }

    #[test]
    fn a_broker_that_the_cluster_does_not_list_any_more_is_not_reachable_though_it_takes_connections() {
        let now = Instant::now();
        let mut seen = seen(now);
        let up = |seen: &Seen| -> Vec<bool> {
            let servers = seen.servers(&["a:1".to_owned()]);
            servers.iter().map(|server| server.reachable).collect()
        };
        assert_eq!(up(&seen), [true, true]);
        let later = now + Duration::from_secs(5);
        seen.brokers_at = Some(later);
        seen.brokers.insert(1, ("a:1".to_owned(), later));
        assert_eq!(up(&seen), [true, false]);
        // Nobody answers: only the network is known.
        seen.error = Some("no answer".to_owned());
        assert_eq!(up(&seen), [true, true]);
    }

    #[test]
    fn a_bootstrap_server_that_is_no_broker_s_address_is_one_more_server() {
        let seen = seen(Instant::now());
        let servers = seen.servers(&["kafka:9092".to_owned()]);
        let names: Vec<(&str, Option<i32>)> = servers
            .iter()
            .map(|server| (server.server.as_str(), server.id))
            .collect();
        assert_eq!(names, [("kafka:9092", None), ("a:1", Some(1)), ("b:1", Some(2))]);
    }

    #[test]
    fn of_topics_that_were_asked_for_the_last_thousand_are_remembered() {
        let mut seen = Seen::default();
        assert!(seen.ask("first"));
        assert!(!seen.ask("first"));
        for number in 0..TOPICS {
            assert!(seen.ask(&format!("topic-{number}")));
        }
        assert_eq!(seen.asked.len(), TOPICS);
        assert!(seen.ask("first"));
    }
}
