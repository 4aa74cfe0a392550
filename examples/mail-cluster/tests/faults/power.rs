//! Power cuts: SIGKILL on the test disk, which forgets what was not flushed.

use std::time::Duration;

use posthaste_mail_cluster::demo::cluster::{A, B, WITNESS};
use posthaste_mail_cluster::demo::load::{EventKind, Load, LoadPlan};
use posthaste_mail_cluster::demo::operator::Goal;

use crate::house::{House, block_on, until};

const LOAD: LoadPlan =
    LoadPlan { name: "load", senders: 3, readers: 1, pause: Duration::from_millis(15), bytes: 2_000 };

/// Waits until the load has got so many further letters acknowledged.
async fn goes_on(load: &Load, letters: u64) {
    let begin = load.delivered();
    until("the load to go on", async || load.delivered() >= begin + letters).await;
}

#[test]
fn every_acknowledged_message_survives_power_cuts_of_one_node_and_of_all() {
    block_on(async {
        let mut house = House::start(64).await;
        let load = Load::start(&house.world().clone(), LOAD);
        // In turn, so that what one had to itself is only on the other's disk next.
        for node in [A, B, A] {
            goes_on(&load, 25).await;
            let at = std::time::Instant::now();
            house.kill(node);
            until("mail on the dead node's address and volume", async || {
                load.has(at, node, node, EventKind::Delivered)
            })
            .await;
            house.run(node);
            house.wait(Goal::InSync).await;
        }
        // All at once: what was acknowledged is on the disks or nowhere.
        for _ in 0..2 {
            goes_on(&load, 25).await;
            for member in [A, B, WITNESS] {
                house.kill(member);
            }
            for member in [A, B, WITNESS] {
                house.run(member);
            }
            house.wait(Goal::AtHome).await;
        }
        goes_on(&load, 10).await;
        let result = load.stop().await;
        assert_eq!(result.faults, [""; 0]);
        let (acknowledged, _) = house.world().ledger.acknowledged_and_open();
        let compared = house.audit().await;
        assert!(compared >= 2 * acknowledged && acknowledged >= 135, "{compared}, {acknowledged}");
        house.verify().await;
    });
}

#[test]
fn sigterm_moves_everything_away_and_ends_with_0_and_a_restart_comes_home() {
    block_on(async {
        let mut house = House::start(32).await;
        let load = Load::start(
            &house.world().clone(),
            LoadPlan { senders: 2, pause: Duration::from_millis(30), ..LOAD },
        );
        goes_on(&load, 10).await;
        house.world().take_failures();
        for node in [A, B] {
            house.cluster.terminate(node).expect("it runs");
            let status = house.end_of(node).await;
            assert_eq!(status.code(), Some(0), "{}", house.log(node));
            house.logged(node, &["everything has moved"]).await;
            house.wait(Goal::AllOn(1 - node)).await;
            assert_eq!(house.world().take_failures(), [""; 0], "a command failed");
            goes_on(&load, 10).await;
            house.run(node);
            house.wait(Goal::AtHome).await;
            house.world().take_failures();
        }
        assert_eq!(load.stop().await.faults, [""; 0]);
        house.audit().await;
        house.cluster.terminate(WITNESS).expect("it runs");
        assert_eq!(house.end_of(WITNESS).await.code(), Some(0));
    });
}
