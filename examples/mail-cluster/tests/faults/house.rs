//! A cluster for one test.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use posthaste_mail_cluster::demo::DemoArgs;
use posthaste_mail_cluster::demo::client::{Delivery, ImapClient, Security, SmtpClient};
use posthaste_mail_cluster::demo::cluster::{A, B, Cluster, NAMES, WITNESS};
use posthaste_mail_cluster::demo::courier::World;
use posthaste_mail_cluster::demo::ledger::{Audit, UserIndex};
use posthaste_mail_cluster::demo::operator::Goal;
use posthaste_mail_cluster::demo::people::Person;
use posthaste_mail_cluster::demo::place::Place;
use posthaste_mail_cluster::demo::process::{Process, last_lines};
use posthaste_mail_cluster::demo::story::audit_all;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// How long a state may take to come about. Generous: the machine may be busy with other tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How often a state is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Who sends.
pub(crate) const SENDER: &str = "sender@client.example";

/// A user whose mail is on the first volume, which is at home on node a.
pub(crate) const ON_FIRST: UserIndex = 0;
/// A user whose mail is on the second volume, which is at home on node b.
pub(crate) const ON_SECOND: UserIndex = 1;

/// A laid out cluster, and what runs of it. Everything goes when it is dropped; the last lines of its
/// logs are shown if that is because the test fails.
pub(crate) struct House {
    pub(crate) cluster: Cluster,
}

impl House {
    /// Lays a cluster out, with volumes of so many MiB. Nothing runs yet.
    pub(crate) fn lay(volume_mib: u64) -> Self {
        Self::lay_at(place(), volume_mib)
    }

    /// As [`House::lay`], at a given place.
    pub(crate) fn lay_at(place: Place, volume_mib: u64) -> Self {
        let args = DemoArgs { users: 4, test_disk: true, ..DemoArgs::default() };
        let mut cluster = Cluster::lay_sized(&args, place, volume_mib << 20).expect("a cluster is laid out");
        cluster.use_program(posthaste());
        Self { cluster }
    }

    /// A cluster that runs, with four users.
    pub(crate) async fn start(volume_mib: u64) -> Self {
        let mut house = Self::lay(volume_mib);
        house.begin().await;
        house
    }

    /// Starts all members and makes the users.
    pub(crate) async fn begin(&mut self) {
        self.cluster.start_all().await.expect("the cluster starts");
        self.cluster.add_users().await.expect("users are made");
    }

    pub(crate) fn world(&self) -> &Arc<World> {
        self.cluster.world()
    }

    pub(crate) fn person(&self, user: UserIndex) -> &Person {
        &self.world().people[user]
    }

    /// A member's configuration file.
    pub(crate) fn config(&self, member: usize) -> &Path {
        &self.cluster.members()[member].config
    }

    /// A member's data directory.
    pub(crate) fn data(&self, member: usize) -> PathBuf {
        self.cluster.members()[member].dir.join("data")
    }

    /// Replaces text in the configuration of a member.
    pub(crate) fn edit_config(&self, member: usize, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.config(member)).expect("a configuration");
        assert!(text.contains(from), "{from:?} is not in the configuration:\n{text}");
        std::fs::write(self.config(member), text.replace(from, to)).expect("it can be written");
    }

    /// All that a member has logged.
    pub(crate) fn log(&self, member: usize) -> String {
        read_log(&self.cluster.log(member))
    }

    pub(crate) fn run(&mut self, member: usize) {
        self.cluster.start(member).expect("the program starts");
    }

    pub(crate) fn kill(&mut self, member: usize) {
        self.cluster.kill(member).expect("the member runs");
    }

    /// Waits until a member has ended by itself.
    pub(crate) async fn end_of(&mut self, member: usize) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.cluster.take_ended(member) {
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "{} has not ended", NAMES[member]);
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Waits for a state of the cluster.
    pub(crate) async fn wait(&mut self, goal: Goal) {
        self.cluster.wait(goal, PATIENCE).await.unwrap_or_else(|why| panic!("{why}"));
    }

    /// Waits until a member's log has a line with all of these.
    pub(crate) async fn logged(&self, member: usize, parts: &[&str]) -> String {
        let line =
            || self.log(member).lines().find(|l| parts.iter().all(|p| l.contains(p))).map(str::to_owned);
        until_some(&format!("{} to log {parts:?}", NAMES[member]), async || line()).await
    }

    /// `posthaste <args> --config <the member's>`.
    pub(crate) async fn command(&self, member: usize, args: &[&str]) -> Output {
        let mut command = tokio::process::Command::new(posthaste());
        command.args(args).arg("--config").arg(self.config(member)).kill_on_drop(true);
        let ended = tokio::time::timeout(PATIENCE, command.output()).await;
        ended.expect("it ends by itself").expect("the program starts")
    }

    /// Sends one letter, once, and enters what became of it in the book.
    pub(crate) async fn send(&self, via: usize, id: &str, message: &[u8], to: UserIndex) -> Delivery {
        let world = self.world();
        let bytes = world.ledger.enter(id, message, vec![to], via);
        let mut client = match SmtpClient::connect(&world.doors.smtp(via, Security::Plain)).await {
            Ok(client) => client,
            Err(error) => return Delivery::NotSent(error),
        };
        let delivery = client.deliver(SENDER, &[&world.people[to].address], &bytes).await;
        match &delivery {
            Delivery::Accepted => world.ledger.acknowledged(id),
            Delivery::ReplyLost(_) => world.ledger.reply_lost(id),
            _ => {}
        }
        delivery
    }

    /// Sends one letter, which must get its 250; a busy machine may need more than one attempt.
    pub(crate) async fn deliver(&self, via: usize, id: &str, to: UserIndex) {
        let mut attempt = 0;
        until(&format!("the 250 of {id}"), async || {
            attempt += 1;
            let delivery = self.send(via, &format!("{id}-{attempt}"), b"Subject: x\r\n\r\nx\r\n", to).await;
            matches!(delivery, Delivery::Accepted)
        })
        .await;
    }

    /// One letter by each address: then both are really served again, whatever was decided before.
    pub(crate) async fn deliver_by_both(&self, id: &str) {
        for via in [A, B] {
            self.deliver(via, &format!("{id}-{via}"), ON_FIRST).await;
        }
    }

    /// A session of a user, by an address.
    pub(crate) async fn login(&self, via: usize, user: UserIndex) -> ImapClient {
        let (target, person) = (self.world().doors.imap(via, Security::Plain), self.person(user));
        ImapClient::login(&target, &person.address, &person.password).await.expect("a session")
    }

    /// Reads every mailbox by both addresses: each letter with a 250 is there, whole, once. Mail for
    /// users of both volumes may rest in the spool for a while (R13).
    pub(crate) async fn audit(&self) -> usize {
        let (mut compared, started) = (0, Instant::now());
        for via in [A, B] {
            let mut audit = self.read(via).await;
            while !audit.missing.is_empty() && started.elapsed() < PATIENCE {
                audit = self.read(via).await;
            }
            assert_eq!(audit.faults(), [""; 0]);
            compared += audit.compared;
        }
        assert_eq!(self.world().ledger.contradictions(), [""; 0]);
        compared
    }

    /// Compares the copies of every volume, once each has another one in step. What the members tell just after
    /// a restart may be from before it.
    pub(crate) async fn verify(&mut self) {
        let started = Instant::now();
        loop {
            self.wait(Goal::InSync).await;
            match self.cluster.verify().await {
                Ok((bytes, faults)) if faults.is_empty() => return assert!(bytes > 0),
                Ok((_, faults)) if !faults.iter().all(|f| f.contains("in step") || f.contains("broke")) => {
                    panic!("{faults:?}")
                }
                early => assert!(started.elapsed() < PATIENCE, "{early:?}"),
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn read(&self, via: usize) -> Audit {
        audit_all(self.world(), via).await.unwrap_or_else(|why| panic!("{why}"))
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for member in [A, B, WITNESS] {
            let lines = last_lines(&self.cluster.log(member));
            eprintln!("{} logged at last:\n{lines}", NAMES[member]);
        }
    }
}

/// Free addresses on the loopback, and clients that do not wait for long.
pub(crate) fn place() -> Place {
    let mut place = Place::loopback().expect("free addresses");
    place.patience.command = Duration::from_secs(20);
    place
}

/// The program under test.
pub(crate) fn posthaste() -> PathBuf {
    env!("CARGO_BIN_EXE_posthaste").into()
}

/// Runs a member that is not one of a house.
pub(crate) fn run_member(role: &str, config: &Path, log: &Path) -> Process {
    let mut command = Command::new(posthaste());
    command.arg(role).arg("--config").arg(config).arg(format!("--die-with-parent={}", std::process::id()));
    Process::start(command, log).expect("the program starts")
}

/// All that is in a log.
pub(crate) fn read_log(log: &Path) -> String {
    std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// Waits until `done`, by looking often.
pub(crate) async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    until_some(what, async || done().await.then_some(())).await;
}

/// Waits for a value.
pub(crate) async fn until_some<T>(what: &str, mut found: impl AsyncFnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(value) = found().await {
            return value;
        }
        assert!(started.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}, in vain");
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Runs a test's future on the test's own thread: its processes die with it.
pub(crate) fn block_on<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(test)
}

/// An SMTP connection where every line is the test's own.
pub(crate) struct Dialogue(BufReader<TcpStream>);

impl Dialogue {
    /// Connects and says EHLO.
    pub(crate) async fn open(house: &House, via: usize) -> Self {
        let target = house.world().doors.smtp(via, Security::Plain).address;
        let mut dialogue = Self(BufReader::new(TcpStream::connect(target).await.expect("a connection")));
        assert!(dialogue.reply().await.starts_with("220 "));
        assert!(dialogue.ask("EHLO client.example").await.starts_with("250 "));
        dialogue
    }

    /// Sends a line (or many) and returns the last line of the reply.
    pub(crate) async fn ask(&mut self, text: &str) -> String {
        self.0.write_all(format!("{text}\r\n").as_bytes()).await.expect("the connection is open");
        self.reply().await
    }

    async fn reply(&mut self) -> String {
        loop {
            let mut line = String::new();
            let read = tokio::time::timeout(PATIENCE, self.0.read_line(&mut line)).await;
            assert_ne!(read.expect("a reply in time").expect("the connection is open"), 0, "it was closed");
            if line.as_bytes().get(3) == Some(&b' ') {
                return line.trim_end().to_owned();
            }
        }
    }
}
