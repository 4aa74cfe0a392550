//! A member whose disk was lost comes back with an empty one, and is replaced.

use std::fs;

use posthaste_mail_cluster::demo::cluster::{A, B, WITNESS};
use posthaste_mail_cluster::demo::operator::Goal;

use crate::house::{House, ON_FIRST, ON_SECOND, block_on, until};

/// Takes a member's disk away and gives it an empty one.
async fn lose(house: &mut House, member: usize) {
    house.kill(member);
    fs::remove_dir_all(house.data(member)).expect("it was there");
    house.run(member);
    house.logged(member, &["ERROR", "quorum store does not", "posthaste replace"]).await;
}

async fn replace(house: &House, via: usize, member: &str) -> String {
    let mut said = String::new();
    until(&format!("{member} to be replaced"), async || {
        let output = house.command(via, &["replace", member]).await;
        said = String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.success()
    })
    .await;
    said
}

#[test]
fn a_node_that_lost_its_disk_is_accepted_by_replace_filled_and_can_stand_alone_again() {
    block_on(async {
        let mut house = House::start(32).await;
        for to in [ON_FIRST, ON_SECOND] {
            house.deliver(A, &format!("before-{to}"), to).await;
        }
        lose(&mut house, B).await;
        house.deliver(A, "without-b", ON_SECOND).await;
        let said = replace(&house, A, "b").await;
        for part in ["its new store votes", "copy of vol1 is filled", "copy of vol2 is filled"] {
            assert!(said.contains(part), "{said}");
        }
        house.wait(Goal::AtHome).await;
        let again = house.command(A, &["replace", "b"]).await;
        assert_eq!(again.status.code(), Some(1), "{again:?}");
        // The vote of b and the copies on b are all that is left.
        house.kill(A);
        house.wait(Goal::AllOn(B)).await;
        house.deliver_by_both("by-b").await;
        assert!(house.audit().await >= 10);
    });
}

#[test]
fn a_node_that_lost_one_copy_and_a_witness_that_lost_its_disk_are_replaced() {
    block_on(async {
        let mut house = House::start(32).await;
        house.deliver(A, "before", ON_FIRST).await;
        lose(&mut house, WITNESS).await;
        let said = replace(&house, A, "w").await;
        assert!(said.contains("its new store votes") && !said.contains("vol"), "{said}");
        house.kill(A);
        fs::remove_dir_all(house.data(A).join("volumes").join("vol1")).expect("it was there");
        house.run(A);
        until("status to say what to do", async || {
            let output = house.command(A, &["status"]).await;
            String::from_utf8_lossy(&output.stdout)
                .contains("vol1: the copy on a is new; `posthaste replace a`")
        })
        .await;
        let said = replace(&house, B, "a").await;
        assert!(said.contains("copy of vol1 is filled") && !said.contains("vol2"), "{said}");
        house.wait(Goal::AtHome).await;
        house.kill(B);
        house.wait(Goal::AllOn(A)).await;
        house.deliver_by_both("by-a").await;
        assert!(house.audit().await >= 6);
    });
}
