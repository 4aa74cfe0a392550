//! Without a majority of the voters nothing is acknowledged.

use std::time::{Duration, Instant};

use posthaste_mail_cluster::admin::{self, AdminRequest};
use posthaste_mail_cluster::demo::client::Delivery;
use posthaste_mail_cluster::demo::cluster::{A, B, WITNESS};
use posthaste_mail_cluster::demo::operator::Goal;

use crate::house::{House, ON_FIRST, ON_SECOND, block_on, place, until_some};

/// For how long the lonely node is asked to take mail, at least: several leases and suspicions.
const LONELY: Duration = Duration::from_secs(3);

#[test]
fn with_two_of_three_voters_gone_nothing_is_acknowledged_status_says_why_and_it_recovers_by_itself() {
    block_on(async {
        let mut place = place();
        place.patience.command = Duration::from_secs(2);
        let mut house = House::lay_at(place, 32);
        house.begin().await;
        house.deliver(A, "before", ON_FIRST).await;
        // The witness first: between the two kills there still is a majority.
        house.kill(WITNESS);
        house.kill(B);
        lonely(&house).await;
        house.run(B);
        house.run(WITNESS);
        house.wait(Goal::AtHome).await;
        for (via, to) in [(A, ON_FIRST), (B, ON_FIRST), (A, ON_SECOND), (B, ON_SECOND)] {
            house.deliver(via, &format!("after-{via}-{to}"), to).await;
        }
        house.audit().await;
    });
}

#[test]
fn a_member_whose_quorum_store_fails_ends_with_code_6_and_says_why_and_takes_part_again_after_a_restart() {
    block_on(async {
        let mut house = House::start(32).await;
        house.deliver(A, "before", ON_FIRST).await;
        for member in [A, WITNESS] {
            let broken = house.data(member).join("quorum").join("broken");
            std::fs::write(&broken, "").expect("it can be written");
            // Every command to the quorum is written by every voter.
            let (socket, person) = (house.data(B).join("admin.sock"), house.person(ON_SECOND));
            let (name, password) = (person.address.clone(), person.password.clone());
            let _ = admin::ask(&socket, AdminRequest::UserPasswd { name, password }, |_| {}).await;
            let status = house.end_of(member).await;
            let said = house.log(member);
            assert_eq!(status.code(), Some(6), "{said}");
            let line = said.lines().find(|line| line.starts_with("posthaste: ")).unwrap_or_default();
            assert!(line.contains("quorum store has failed") && line.contains("broken"), "{said}");
            house.deliver(B, &format!("without-{member}"), ON_FIRST).await;
            std::fs::remove_file(&broken).expect("it is there");
            house.run(member);
            house.wait(Goal::AtHome).await;
        }
        house.deliver_by_both("after").await;
        house.audit().await;
    });
}

/// Node a alone.
async fn lonely(house: &House) {
    let (alone, mut attempts, mut heard) = (Instant::now(), 0, 0);
    while alone.elapsed() < LONELY || heard == 0 {
        for (via, to) in [(A, ON_FIRST), (A, ON_SECOND), (B, ON_SECOND)] {
            attempts += 1;
            match house.send(via, &format!("lonely-{attempts}"), b"\r\nx\r\n", to).await {
                Delivery::Accepted => panic!("a node without a majority acknowledged lonely-{attempts}"),
                Delivery::Refused(error) => {
                    let text = error.to_string();
                    assert!(text.contains(": 4"), "not a refusal for now: {text}");
                    heard += 1;
                }
                Delivery::NotSent(_) | Delivery::ReplyLost(_) => heard += 1,
            }
        }
        tokio::task::yield_now().await;
    }
    let said = until_some("status to say that there is no quorum", async || {
        let output = house.command(A, &["status"]).await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&output.stderr));
        said.contains("NO QUORUM: nothing is acknowledged").then_some(said)
    })
    .await;
    let waits: Vec<&str> = said.lines().filter(|line| line.starts_with("waiting: ")).collect();
    assert!(waits.iter().any(|w| w.contains('b') && w.contains('w')), "nobody is named: {said}");
    assert!(said.contains("no lease"), "{said}");
    let output = house.command(A, &["user", "list"]).await;
    assert_eq!(output.status.code(), Some(5), "{output:?}");
}
