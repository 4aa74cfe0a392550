//! The operator's socket.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use posthaste_mail_cluster::admin::{
    AdminHandler, AdminReply, AdminRequest, AdminSocket, Progress, Refusal, UserRow, VerifyRow, ask,
};
use posthaste_mail_cluster::error::Exit;
use posthaste_mail_cluster::status::StatusReport;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::util::{Cluster, cluster};

/// A member that keeps users in a list.
#[derive(Default)]
struct Member {
    users: Mutex<Vec<(String, String)>>,
}

#[async_trait]
impl AdminHandler for Member {
    async fn handle(&self, request: AdminRequest, progress: Progress) -> AdminReply {
        match request {
            AdminRequest::Status => {
                let report = StatusReport { reporter: "a".into(), quorum: true, ..StatusReport::default() };
                AdminReply::Status { report: Box::new(report) }
            }
            AdminRequest::UserAdd { name, password, .. } => {
                self.users.lock().unwrap().push((name.clone(), password));
                AdminReply::done(format!("{name} is made"))
            }
            AdminRequest::UserList => {
                let users = self.users.lock().unwrap();
                AdminReply::Users {
                    users: users
                        .iter()
                        .map(|(name, _)| UserRow { name: name.clone(), volume: "vol1".into() })
                        .collect(),
                }
            }
            AdminRequest::Drain { node, .. } => {
                progress.say("moving vol1");
                progress.say("moving vol2");
                AdminReply::done(format!("{node} is drained"))
            }
            AdminRequest::Replace { member } => AdminReply::done(format!("{member} is replaced")),
            AdminRequest::Verify { .. } => {
                let row = |volume: &str, differing| VerifyRow {
                    volume: volume.into(),
                    compared: 1 << 20,
                    replicas: vec!["a".into(), "b".into()],
                    differing,
                    error: None,
                };
                AdminReply::Verified { volumes: vec![row("vol1", 0), row("vol2", 3)] }
            }
            AdminRequest::UserDel { .. } => AdminReply::refused(Refusal::NoQuorum, "b and w are not heard"),
            AdminRequest::UserPasswd { .. } => panic!("as asked"),
        }
    }
}

struct Served {
    cluster: Cluster,
    member: Arc<Member>,
}

async fn serve() -> Served {
    let cluster = cluster();
    let path = cluster.config("a").admin_socket();
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let member = Arc::new(Member::default());
    let socket = AdminSocket::bind(&path).await.unwrap();
    tokio::spawn(socket.serve(Arc::clone(&member) as Arc<dyn AdminHandler>));
    Served { cluster, member }
}

impl Served {
    fn path(&self) -> std::path::PathBuf {
        self.cluster.config("a").admin_socket()
    }

    /// Runs the command as an operator would.
    async fn posthaste(&self, args: &str, stdin: &str) -> Output {
        let config = self.cluster.layout.member("a").unwrap().config.clone();
        let args: Vec<String> = args.split(' ').map(str::to_owned).collect();
        let stdin = stdin.to_owned();
        let run = move || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_posthaste"));
            command.args(args).env("POSTHASTE_CONFIG", config);
            let mut child =
                command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            std::io::Write::write_all(&mut child.stdin.take().unwrap(), stdin.as_bytes()).unwrap();
            child.wait_with_output().unwrap()
        };
        tokio::task::spawn_blocking(run).await.unwrap()
    }
}

fn texts(output: &Output) -> (String, String) {
    (String::from_utf8_lossy(&output.stdout).into(), String::from_utf8_lossy(&output.stderr).into())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_gets_progress_lines_and_one_reply() {
    let served = serve().await;
    let mut lines = Vec::new();
    let drain = AdminRequest::Drain { node: "a".into(), on: true };
    let reply = ask(&served.path(), drain, |line| lines.push(line.to_owned())).await.unwrap();
    assert_eq!(reply, AdminReply::done("a is drained"));
    assert_eq!(lines, ["moving vol1", "moving vol2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handler_that_panics_is_a_refusal_and_the_socket_goes_on() {
    let served = serve().await;
    let passwd = AdminRequest::UserPasswd { name: "x@example.org".into(), password: "y".into() };
    let reply = ask(&served.path(), passwd, |_| ()).await.unwrap();
    assert!(matches!(reply, AdminReply::Refused { why: Refusal::Failed, .. }), "{reply:?}");
    assert!(ask(&served.path(), AdminRequest::Status, |_| ()).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_commands_show_answers_and_end_with_the_documented_codes() {
    let served = serve().await;
    let output = served.posthaste("user add alice@example.org", "open sesame\n").await;
    assert_eq!((output.status.code(), texts(&output).0.as_str()), (Some(0), "alice@example.org is made\n"));
    assert_eq!(*served.member.users.lock().unwrap(), [("alice@example.org".into(), "open sesame".into())]);
    let output = served.posthaste("user list", "").await;
    assert_eq!(texts(&output).0, "USER               VOLUME\nalice@example.org  vol1\n");
    let output = served.posthaste("status", "").await;
    assert!(texts(&output).0.contains("seen from a: quorum"), "{output:?}");
    let output = served.posthaste("status --json", "").await;
    assert!(serde_json::from_slice::<StatusReport>(&output.stdout).unwrap().quorum);
    let output = served.posthaste("drain b", "").await;
    assert_eq!(texts(&output), ("b is drained\n".into(), "moving vol1\nmoving vol2\n".into()));
    let output = served.posthaste("verify", "").await;
    assert_eq!(output.status.code(), Some(Exit::Failed as i32));
    assert!(
        texts(&output).0.contains("3 blocks differ") && texts(&output).1.contains("identical: vol2"),
        "{output:?}"
    );
    let output = served.posthaste("user del alice@example.org", "").await;
    assert_eq!(
        (output.status.code(), texts(&output).1.as_str()),
        (Some(Exit::NoQuorum as i32), "posthaste: no quorum: b and w are not heard\n")
    );
    assert_eq!(
        served.posthaste("user add bob@example.org", "").await.status.code(),
        Some(Exit::Failed as i32),
        "no password"
    );
    assert_eq!(served.posthaste("frobnicate", "").await.status.code(), Some(Exit::Usage as i32));
    let output = served.posthaste("status --config /nowhere.toml", "").await;
    assert_eq!(output.status.code(), Some(Exit::Config as i32));
    let witness = served.cluster.layout.member("w").unwrap().config.display().to_string();
    let output = served.posthaste(&format!("status --config {witness}"), "").await;
    assert_eq!(output.status.code(), Some(Exit::Unreachable as i32));
    assert!(texts(&output).1.contains("not running"), "{output:?}");
    let output = served.posthaste(&format!("node --config {witness}"), "").await;
    assert_eq!(output.status.code(), Some(Exit::Config as i32));
    assert!(texts(&output).1.contains("start it with `posthaste witness`"), "{output:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_socket_is_its_owners_and_replaces_only_a_dead_one() {
    let served = serve().await;
    let path = served.path();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let error = AdminSocket::bind(&path).await.unwrap_err().to_string();
    assert!(error.contains("another posthaste is running"), "{error}");
    let dead = path.with_file_name("dead.sock");
    drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
    assert!(dead.exists());
    drop(AdminSocket::bind(&dead).await.unwrap());
    assert!(!dead.exists());
}

async fn raw(path: &Path, line: &[u8]) -> String {
    let mut stream = UnixStream::connect(path).await.unwrap();
    stream.write_all(line).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_request_and_rubbish_are_refused_with_a_reason() {
    let served = serve().await;
    let newer = raw(&served.path(), b"{\"version\":2,\"request\":{\"do\":\"dance\"}}\n").await;
    assert!(newer.contains("knows up to 1"), "{newer}");
    let rubbish = raw(&served.path(), b"hello\n").await;
    assert!(rubbish.contains("no JSON line"), "{rubbish}");
    let mut long = vec![b' '; 70 << 10];
    long.push(b'\n');
    let mut stream = UnixStream::connect(served.path()).await.unwrap();
    // It may stop reading before we have sent all.
    let _ = stream.write_all(&long).await;
    assert!(ask(&served.path(), AdminRequest::Status, |_| ()).await.is_ok());
}
